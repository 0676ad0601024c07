# make demo | demo-reber | demo-voice | results | tables | test | soak | check | serve | smoke URL=… | bench | third-party | chaos — each sets up what it needs in .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
URL ?= http://127.0.0.1:8000

.PHONY: demo demo-reber demo-voice results tables test soak check format serve smoke bench third-party chaos openapi clean

demo: $(READY)  ## train, export, serve, stream six unseen months, print the table, draw the picture
	$(BIN)/python -m demo.metro_traffic

demo-reber: $(READY)  ## memory across a string: train, export, serve, stream 500 unseen strings, score
	$(BIN)/python -m demo.reber

demo-voice: $(READY)  ## a spoken word through a voice-activity model that a public package ships, frame by frame
	$(BIN)/python -m demo.voice

results: $(READY)  ## measure what is missing of docs/results.md, with CAROUSEL_DATA all of it, and write it
	$(BIN)/python -m demo.results

tables: $(READY)  ## init and fit over two dozen public tables out of packages, into docs/recipes.md; some minutes
	$(BIN)/python -m demo.tables

test: $(READY)  ## all tests: a file on each core, then those with real servers, which use all cores themselves
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --ignore tests/wire --ignore tests/chaos
	$(BIN)/python -m pytest tests/wire tests/chaos

soak: $(READY)  ## at length: thousands of stories of calls, stores and failures; 100 000 malformed requests and frames
	$(BIN)/python -m pytest tests/service/engine/test_orders.py tests/service/engine/test_store_refusals.py \
		tests/wire/test_fuzz.py --mutants 3000 --hypothesis-profile=soak --timeout=0

check: $(READY)  ## format, lint, types, arrows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## rewrite the files as `check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

serve: $(READY)  ## the service on port 8000 with the shipped models; sessions are kept in ./sessions
	@echo 'Next, in another terminal:  make smoke'
	@echo '                            curl http://127.0.0.1:8000/v1/models/metro-traffic'
	@echo '                            the Python lines of the README;  http://127.0.0.1:8000/docs in a browser'
	CAROUSEL_STORE=embedded $(BIN)/carousel serve --port 8000 --models models

smoke: $(READY)  ## the client against a running service: make smoke URL=http://127.0.0.1:8000
	$(BIN)/python -m demo.smoke $(URL)

bench: $(READY)  ## every load against its floors and peers, appended to bench/RESULTS.md: make bench ARGS='--only many-S'
	$(BIN)/python -m bench $(ARGS)

third-party: $(READY)  ## serve recurrent models of public packages and compare with ONNX Runtime: the table of docs/models.md
	$(BIN)/python -m tests.third_party

chaos: $(READY)  ## kill and restart a server under load: make chaos ARGS='--kills 200 --seed 7'
	$(BIN)/python -m tests.chaos $(ARGS)

openapi: $(READY)  ## write docs/openapi.json anew
	$(BIN)/carousel openapi > docs/openapi.json

$(READY): pyproject.toml client/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ./client --editable '.[service,training,dev]'
	touch $@

clean:
	rm -rf $(VENV) runs build .mypy_cache .pytest_cache .ruff_cache
