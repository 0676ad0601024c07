"""The model repository of a real server: versions come and go under live sessions."""

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tritonclient.http as triton

from tests import graphs
from tests.chaos.swaps import reload, swap
from tests.wire.expect import done, refused
from tests.wire.poll import until
from tests.wire.server import Server
from tests.wire.triton import infer
from tests.wire.triton import refused as told
from tests.wire.ws import dial

Launch = Callable[..., Server]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    graphs.running_sum(tmp_path / "models/sum/1/model.onnx")
    return tmp_path / "models"


def put(folder: Path, version: int) -> None:
    shutil.copytree(folder / "sum/1", folder / f"sum/{version}")


@pytest.mark.timeout(600)  # where others want all cores, examinations wait for them
def test_hot_swaps_fail_no_request_and_move_no_session(launch: Launch, folder: Path) -> None:
    server = launch(folder, versions="latest:1").wait_until_ready()
    load = asyncio.run(swap(server, folder, 6))
    assert not load.faults, load.faults[:5]
    assert load.versions >= {str(version) for version in range(2, 8)}
    until(lambda: len([key for key in server.metrics() if key[0] == "carousel_engine_alive"]) == 1, what="one engine")
    assert not server.errors()


@pytest.mark.timeout(600)  # likewise
def test_memory_of_an_unloaded_model_is_given_back(launch: Launch, tmp_path: Path) -> None:
    graphs.write(tmp_path / "models/sum/1/model.onnx", "lstm", features=1, hidden=768)  # 10 MiB of weights
    server = launch(tmp_path / "models").wait_until_ready()
    first, *_, last = reload(server, 6)
    assert last - first < 2 * 10 * 2**20  # the allocator keeps some; five models are 50 MiB


def test_a_triton_client_loads_and_unloads(launch: Launch, folder: Path) -> None:
    server = launch(folder).wait_until_ready()
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert "model_repository" in client.get_server_metadata()["extensions"]
        infer(client, "sum", [[1]], sequence_id=1, sequence_start=True)
        client.unload_model("sum")
        assert not client.is_model_ready("sum")
        assert told(lambda: infer(client, "sum", [[1]], sequence_id=1)) == ("model 'sum' is unloaded", 404)
        assert httpx.get(f"{server.url}/v1/sessions/sum~1").json()["step"] == 1
        client.load_model("sum")
        assert infer(client, "sum", [[1]], sequence_id=1) == 2
        assert told(lambda: client.load_model("sum", config="{}"))[1] == 400
        assert told(lambda: client.load_model("none")) == ("no model 'none'", 404)
        assert told(lambda: client.unload_model("none")) == ("no model 'none'", 404)
        (folder / "sum/2").mkdir()
        (folder / "sum/2/model.onnx").write_bytes(b"no graph")
        message, status = told(lambda: client.load_model("sum"))
        assert (status, message.startswith("model 'sum': version 2: ")) == (400, True)
        assert infer(client, "sum", [[1]], sequence_id=1) == 3


def test_a_watched_folder_is_followed(launch: Launch, folder: Path) -> None:
    server = launch(folder, versions="latest:1", watch_seconds=0.1).wait_until_ready()
    with httpx.Client(base_url=server.url) as http:
        done(http.post("/v1/models/sum/sessions", json={"id": "old"}), 201)
        put(folder, 2)
        until(lambda: http.get("/v1/models/sum").json()["version"] == "2", seconds=30, what="version 2")
        assert done(http.post("/v1/sessions/old/steps", json={"inputs": [[5]]}))["outputs"] == [[5]]
        assert done(http.get("/v1/sessions/old"))["version"] == "1"
        refused(http.post("/v1/models/sum/sessions?version=1", json={}), "version_not_found")
        shutil.rmtree(folder / "sum/2")
        until(lambda: http.get("/v1/models/sum").json()["version"] == "1", seconds=30, what="the rollback")


def test_stored_sessions_find_their_version_again(launch: Launch, folder: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"store": "embedded", "store_path": tmp_path / "sessions", "versions": "latest:1"}
    server = launch(folder, **how).wait_until_ready()
    for id in ("kept", "ended"):
        httpx.post(f"{server.url}/v1/models/sum/sessions", json={"id": id})
        done(httpx.post(f"{server.url}/v1/sessions/{id}/steps", json={"inputs": [[5]]}))
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        infer(client, "sum", [[5]], sequence_id="a b'%", sequence_start=True)
    put(folder, 2)
    assert httpx.post(f"{server.url}/v2/repository/models/sum/load", timeout=100).status_code == 200
    server.kill()
    server = launch(folder, **how).wait_until_ready()
    with httpx.Client(base_url=server.url) as http:
        assert done(http.get("/v1/models/sum"))["version"] == "2"
        assert done(http.post("/v1/sessions/kept/steps", json={"inputs": [[1]]}))["outputs"] == [[6]]
        assert done(http.get("/v1/sessions/kept"))["version"] == "1"
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert infer(client, "sum", [[1]], sequence_id="a b'%", sequence_end=True) == 6
        for id in ("kept", "ended"):
            assert http.delete(f"/v1/sessions/{id}").status_code == 204
        until(lambda: server.metric("carousel_engine_alive", model="sum", version="1") == 0, what="the end of 1")
    assert server.stop() == 0


def test_a_shadow_is_stepped_beside_the_live_version_and_its_differences_are_counted(
    launch: Launch, folder: Path
) -> None:
    graphs.running_sum(folder / "sum/2/model.onnx", whole=False)  # it does not round its inputs
    (folder / "sum/serving.toml").write_text('shadow = "2"')
    server = launch(folder).wait_until_ready()

    def apart(bound: str) -> int:
        return int(server.metric("carousel_shadow_apart_bucket", model="sum", version="1", shadow="2", le=bound))

    with httpx.Client(base_url=server.url) as http:
        assert done(http.get("/v1/models/sum"))["version"] == "1"
        for id in ("a", "b"):
            done(http.post("/v1/models/sum/sessions", json={"id": id, "history": [[1], [2]]}), 201)
            for step in (2, 3, 4):
                done(http.post(f"/v1/sessions/{id}/steps", json={"inputs": [[step]], "step": step}))
            done(http.post(f"/v1/sessions/{id}/steps", json={"inputs": [[4]], "step": 4}))  # a retry
            assert http.delete(f"/v1/sessions/{id}").status_code == 204
        done(http.post("/v1/models/sum/predict", json={"sequences": [[[1], [2]], [[3]]]}))
        until(lambda: apart("+Inf") == 13, what="13 steps beside")
        assert apart("0.0") == 13
        items = [{"session": id, "inputs": [[0.25]]} for id in ("c", "d")]
        told = done(http.post("/v1/models/sum/steps", json={"items": items, "open": True}))["items"]
        assert [one["outputs"] for one in told] == [[[0]], [[0]]]
        until(lambda: apart("+Inf") == 15, what="15 steps beside")
        assert (apart("0.1"), apart("1.0")) == (13, 15)
        (folder / "sum/serving.toml").unlink()
        assert http.post("/v2/repository/models/sum/load", timeout=100).status_code == 200
        assert apart("+Inf") == 0
        assert done(http.get("/v1/models/sum"))["version"] == "2"
        assert done(http.post("/v1/sessions/c/steps", json={"inputs": [[1]]}))["outputs"] == [[1]]
    assert not server.errors()


class TestMigrating:
    @pytest.fixture
    def http(self, launch: Launch, tmp_path: Path) -> Iterator[httpx.Client]:
        """Versions 1 and 2 of `m` agree in the shapes of their states, 3 does not, 4 needs the whole sequence."""
        self.models = models = tmp_path / "models"
        for version, how in ((1, {"seed": 1}), (2, {"seed": 2}), (3, {"hidden": 5}), (4, {"cell": "bidirectional"})):
            graphs.write(models / f"m/{version}/model.onnx", **how)  # type: ignore[arg-type]
        graphs.running_sum(models / "sum/1/model.onnx")
        graphs.running_sum(models / "sum/2/model.onnx", whole=False)
        self.how: dict[str, Any] = {"store": "embedded", "store_path": tmp_path / "sessions"}
        self.server = launch(models, **self.how).wait_until_ready()
        self.launch = launch
        with httpx.Client(base_url=self.server.url, timeout=20) as one:
            yield one

    def open(self, http: httpx.Client, model: str, version: str, steps: Any = None) -> None:
        done(http.post(f"/v1/models/{model}/sessions?version={version}", json={"id": "s"}), 201)
        if steps is not None:
            done(http.post("/v1/sessions/s/steps", json={"inputs": steps, "step": 0}))

    def test_a_session_goes_on_with_its_state_and_its_step(self, http: httpx.Client) -> None:
        self.open(http, "sum", "1", [[1], [2]])
        moved = done(http.post("/v1/sessions/s/migrate", json={"version": "2"}))
        assert (moved["version"], moved["step"]) == ("2", 2)
        assert done(http.post("/v1/sessions/s/steps", json={"inputs": [[4]], "step": 2})) == {
            "outputs": [[7]],
            "step": 3,
        }
        assert done(http.post("/v1/sessions/s/migrate", json={"version": "1"}))["version"] == "1"
        assert done(http.post("/v1/sessions/s/steps", json={"inputs": [[1]], "step": 3}))["outputs"] == [[8]]

    def test_it_is_where_it_went_after_a_crash(self, http: httpx.Client) -> None:
        self.open(http, "sum", "1", [[1], [2]])
        done(http.post("/v1/sessions/s/migrate", json={"version": "2"}))
        done(http.post("/v1/sessions/s/steps", json={"inputs": [[4]]}))
        self.server.kill()
        server = self.launch(self.models, **self.how).wait_until_ready()
        with httpx.Client(base_url=server.url) as after:
            assert done(after.get("/v1/sessions/s"))["version"] == "2"
            assert done(after.post("/v1/sessions/s/steps", json={"inputs": [[1]]}))["outputs"] == [[8]]
        assert server.stop() == 0

    def test_states_of_other_shapes_need_a_history(self, http: httpx.Client) -> None:
        steps = [[1, 2, 3], [4, 5, 6]] * 50
        self.open(http, "m", "1", steps)
        refused(http.post("/v1/sessions/s/migrate", json={"version": "3"}), "state_mismatch")
        refused(http.post("/v1/sessions/s/migrate", json={"version": "4"}), "not_streamable")
        refused(http.post("/v1/sessions/s/migrate", json={"version": "5"}), "version_not_found")
        refused(http.post("/v1/sessions/s/migrate", json={"version": "3", "history": [[1]]}), "invalid_input")
        assert done(http.get("/v1/sessions/s"))["version"] == "1"
        done(http.post("/v1/sessions/s/migrate", json={"version": "3", "history": steps}))
        after = done(http.post("/v1/sessions/s/steps", json={"inputs": [[7, 8, 9]], "step": 100}))["outputs"][0]
        whole = done(http.post("/v1/models/m/predict?version=3", json={"sequences": [[*steps, [7, 8, 9]]]}))
        assert after == whole["outputs"][0][100]
        assert httpx.get(f"{self.server.url}/v1/models").status_code == 200
        assert self.server.metric("carousel_sessions", state="open") == 1
        assert self.server.metric("carousel_sessions_opened_total") == 1  # a history takes no place of a session

    def test_a_stream_goes_on_over_its_channel(self, http: httpx.Client) -> None:
        self.open(http, "sum", "1")
        with dial(self.server.stream_url) as stream:
            channel = stream.ask({"id": 1, "open": {"model": "sum", "session": "s"}})["opened"]["channel"]
            for step, version in enumerate(("2", "1", "2")):
                step_told = stream.ask({"id": 2, "channel": channel, "inputs": [[1]], "step": step})
                assert step_told["outputs"] == [[step + 1]], step_told
                done(http.post("/v1/sessions/s/migrate", json={"version": version}))

    def test_migrating_under_load_applies_each_call_once_or_tells(self, http: httpx.Client) -> None:
        self.open(http, "sum", "1")
        sent = 0

        def move(versions: int) -> None:
            with httpx.Client(base_url=self.server.url, timeout=20) as mover:
                for index in range(versions):
                    done(mover.post("/v1/sessions/s/migrate", json={"version": str(2 - index % 2)}))

        mover = threading.Thread(target=move, args=(60,))
        mover.start()
        while mover.is_alive() or sent < 50:
            answer = http.post("/v1/sessions/s/steps", json={"inputs": [[1]], "step": sent})
            if answer.status_code == 503:
                refused(answer, "overloaded")
            else:
                sent += 1
                assert done(answer) == {"outputs": [[sent]], "step": sent}
        mover.join()
        assert done(http.get("/v1/sessions/s"))["step"] == sent
