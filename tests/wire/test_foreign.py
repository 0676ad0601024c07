"""Files of other people over the wire: constants and first states of a session, one answer a sequence, reasons."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from carousel_client import Client
from tests import graphs
from tests.service.models import foreign
from tests.service.models.test_rewrite import COUNTS
from tests.wire.expect import done, refused
from tests.wire.server import Server
from tests.wire.ws import dial

# y = s + rate · x, and s is the next one
RATED = """
g (float[batch, 1] x, float[batch, 1] s, float rate) => (float[batch, 1] y, float[batch, 1] s_out)
{ part = Mul(x, rate)
  y = Add(part, s)
  s_out = Identity(y) }
"""
LAST = """
g (float[batch, time, 1] x, float[batch, 1] s) => (float[batch, 1] y, float[batch, 1] s_out)
<int64[1] one = {1}>
{ part = ReduceSum<keepdims = 0>(x, one)
  y = Add(part, s)
  s_out = Identity(y) }
"""
TOKENS = "g (int64[batch, time] token) => (float[batch, time] y) { y = Cast<to = 1>(token) }"


@pytest.fixture(scope="module")
def foreigners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("foreign")
    foreign.write(folder / "rated/1/model.onnx", RATED, "[constants]\nrate = 2\n[initial]\ns = 100")
    foreign.write(folder / "tokens/1/model.onnx", TOKENS)
    foreign.write(folder / "last/1/model.onnx", LAST)
    foreign.write(folder / "counts/1/model.onnx", COUNTS)
    graphs.write(folder / "lstm/1/model.onnx", "lstm")
    graphs.write(folder / "both/1/model.onnx", "bidirectional")
    log = tmp_path_factory.mktemp("server") / "log"
    server = Server(folder, log, store="embedded", store_path=log.parent / "sessions").wait_until_ready()
    yield server
    assert server.stop() == 0, server.log


@pytest.fixture
def client(foreigners: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=foreigners.url, timeout=20) as one:
        yield one


def opened(client: httpx.Client, model: str = "rated", **asked: object) -> str:
    return str(done(client.post(f"/v1/models/{model}/sessions", json=asked), 201)["id"])


def step(client: httpx.Client, session: str, *values: float) -> list[float]:
    answer = client.post(f"/v1/sessions/{session}/steps", json={"inputs": [[value] for value in values]})
    return [output for (output,) in done(answer)["outputs"]]


def test_the_description_shows_what_was_inferred(client: httpx.Client) -> None:
    told = done(client.get("/v1/models/rated"))["signature"]
    assert told["states"] == [
        {
            "port": {"name": "s", "kind": "float32", "shape": [1], "batch": 0, "time": None},
            "output": "s_out",
            "told": "name",
            "initial": 100,
        }
    ]
    assert [(one["port"]["name"], one["value"]) for one in told["constants"]] == [("rate", 2)]
    assert (told["calls"], told["answers"]) == ("rows × one step", "each step")


def test_a_session_without_beginnings_has_those_of_the_model(client: httpx.Client) -> None:
    assert step(client, opened(client), 1, 1) == [102, 104]
    answer = client.post("/v1/models/rated/predict", json={"sequences": [[[1], [1]], [[2]]]})
    assert done(answer)["outputs"] == [[[102], [104]], [[104]]]


def test_constants_and_first_states_belong_to_their_session(client: httpx.Client) -> None:
    tens, fresh = opened(client, constants={"rate": 10}, initial={"s": [0]}), opened(client, initial={"s": 5})
    assert step(client, tens, 1) == [10]
    assert step(client, fresh, 1) == [7]
    assert step(client, tens, 1) == [20]


def test_a_history_begins_with_them(client: httpx.Client) -> None:
    session = opened(client, history=[[1], [1]], constants={"rate": 10}, initial={"s": 0})
    assert step(client, session, 1) == [30]


def test_forks_and_states_as_bytes_keep_them(client: httpx.Client) -> None:
    session = opened(client, constants={"rate": 10}, initial={"s": 0})
    step(client, session, 1)
    fork = done(client.post(f"/v1/sessions/{session}/fork", json={}), 201)["id"]
    blob = client.get(f"/v1/sessions/{session}/state").content
    done(client.put("/v1/sessions/restored/state", content=blob), 201)
    assert step(client, fork, 1) == step(client, "restored", 1) == [20]


def test_a_history_of_a_migration_begins_with_the_constants_of_the_session(client: httpx.Client) -> None:
    own, plain = opened(client, constants={"rate": 10}), opened(client)
    for id, rate in ((own, 10), (plain, 2)):
        asked = {"version": "1", "history": [[1]]}
        assert client.post(f"/v1/sessions/{id}/migrate", json=asked).status_code == 200
        assert step(client, id, 1) == [100 + 2 * rate]


def test_a_restarted_service_keeps_them(tmp_path: Path) -> None:
    foreign.write(tmp_path / "models/rated/1/model.onnx", RATED, "[constants]\nrate = 2")
    stored = {"store": "embedded", "store_path": tmp_path / "sessions"}
    server = Server(tmp_path / "models", tmp_path / "log", **stored).wait_until_ready()
    with httpx.Client(base_url=server.url) as client:
        cold = opened(client, constants={"rate": 10}, initial={"s": 3})
        warm = opened(client, history=[[1]], constants={"rate": 10})
        assert step(client, cold, 1) == [13]
    server.kill()
    server = Server(tmp_path / "models", tmp_path / "log2", **stored).wait_until_ready()
    with httpx.Client(base_url=server.url) as client:
        assert step(client, cold, 1) == [23]
        assert step(client, warm, 1) == [20]
    assert server.stop() == 0


def test_a_stream_opens_with_them(foreigners: Server) -> None:
    with dial(foreigners.stream_url) as socket:
        asked = {"model": "rated", "constants": {"rate": 3}, "initial": {"s": 1}}
        channel = socket.ask({"id": 1, "open": asked})["opened"]["channel"]
        assert socket.ask({"id": 2, "channel": channel, "inputs": [[1], [1]]})["outputs"] == [[4], [7]]
        refusal = socket.ask({"id": 3, "open": {"model": "rated", "constants": {"speed": 1}}})
        assert refusal["error"]["code"] == "invalid_input"


def test_a_file_of_the_contract_takes_first_states_too(client: httpx.Client) -> None:
    ones, zeros = opened(client, "lstm", initial={"h": [1] * 8}), opened(client, "lstm")
    inputs = {"inputs": [[1, 2, 3]]}
    answers = [done(client.post(f"/v1/sessions/{one}/steps", json=inputs))["outputs"] for one in (ones, zeros)]
    assert answers[0] != answers[1]
    told = refused(client.post("/v1/models/lstm/sessions", json={"initial": {"h": [1, 2]}}), "invalid_input")
    assert told["detail"] == "initial.h: shape [2], not [8]"
    for value in (1e39, [1] * 7 + [-1e39], [True] * 8):
        refused(client.post("/v1/models/lstm/sessions", json={"initial": {"h": value}}), "invalid_input")
    refused(client.post("/v1/models/lstm/sessions", json={"constants": {"rate": 1}}), "invalid_input")
    refused(client.post("/v1/models/lstm/sessions", json={"constants": [1]}), "invalid_request")


def test_a_value_that_the_input_cannot_hold_fails_alone(client: httpx.Client) -> None:
    sessions = [opened(client, "tokens") for _ in range(3)]
    items = [{"session": one, "inputs": [[value]]} for one, value in zip(sessions, (1, 2.5, 3), strict=True)]
    answers = done(client.post("/v1/models/tokens/steps", json={"items": items}))["items"]
    assert [one.get("outputs") for one in answers] == [[[1]], None, [[3]]]
    assert answers[1]["error"]["code"] == "invalid_input"
    assert "token: 2.5 is no int64" in answers[1]["error"]["detail"]


def test_a_model_that_does_not_stream_says_why(client: httpx.Client) -> None:
    reason = "it reads the sequence whole"
    assert reason in done(client.get("/v1/models/both"))["not_streamable"]
    assert reason in refused(client.post("/v1/models/both/sessions", json={}), "not_streamable")["detail"]


def test_a_model_of_one_answer_a_sequence_gives_one_to_a_predict_and_the_answer_so_far_to_a_step(
    client: httpx.Client,
) -> None:
    told = done(client.post("/v1/models/last/predict", json={"sequences": [[[1], [2], [3]], [[4]]]}))
    assert told["outputs"] == [[[6]], [[4]]]
    assert told["last"] is True
    assert step(client, opened(client, "last"), 1, 2, 3) == [1, 3, 6]


def test_the_client_opens_with_them_and_takes_one_answer_a_sequence(foreigners: Server) -> None:
    with Client(foreigners.url) as client:
        assert client.predict("last", [[[1.0], [2.0]]]) == [[[3.0]]]
        with client.session("rated", constants={"rate": 10}, initial={"s": [1.0]}, history=[[1.0]]) as session:
            assert session.step([[1.0]]) == [[21.0]]
        with client.stream() as stream:
            channel = stream.open("rated", constants={"rate": 3}, initial={"s": 0})
            assert channel.step([[1.0]]).tolist() == [[3.0]]


def test_a_value_that_makes_a_model_slow_holds_up_its_own_model_only(foreigners: Server) -> None:
    slow: list[httpx.Response] = []

    def ask(model: str, value: float) -> httpx.Response:
        body = {"sequences": [[[value]]]}
        return httpx.post(f"{foreigners.url}/v1/models/{model}/predict", json=body, timeout=60)

    thread = threading.Thread(target=lambda: slow.append(ask("counts", 5e5)))
    thread.start()
    answered = 0
    while not slow:
        assert done(ask("tokens", 1))["outputs"] == [[[1]]]
        answered += 1
    assert answered > 3  # one that waits for the slow run is the last
    thread.join()
    assert done(slow[0])["outputs"] == [[[5e5]]]
    with httpx.Client(base_url=foreigners.url) as client:
        assert done(client.get("/v1/models/counts"))["in_thread"] is True
