"""Forecasts over both doors: outputs fed back where names and horizon allow it."""

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests import graphs
from tests.wire.expect import Array, bits, done, problem, refused
from tests.wire.oracle import Oracle
from tests.wire.poll import until
from tests.wire.server import Server
from tests.wire.test_large import workers
from tests.wire.ws import Socket, dial

NAMES = {
    "features": [{"name": "flow"}, {"name": "level"}],
    "outputs": [{"name": "level", "horizon": 1}, {"name": "flow", "horizon": 1}],
}


@pytest.fixture(scope="module")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Oracle]]:
    """A server of a model whose outputs are its next inputs, in another order, and of one that looks further."""
    folder = tmp_path_factory.mktemp("ahead")
    path = graphs.write(folder / "models/next/1/model.onnx", features=2, outputs=2, metadata=NAMES)
    later = NAMES | {"outputs": [{"name": "level", "horizon": 2}, {"name": "flow", "horizon": 2}]}
    graphs.write(folder / "models/later/1/model.onnx", features=2, outputs=2, metadata=later)
    server = Server(folder / "models", folder / "log").wait_until_ready()
    yield server, Oracle(path)
    assert server.stop() == 0
    assert not server.errors()


@pytest.fixture
def asks(ahead: tuple[Server, Oracle], pool: httpx.Client, name: str) -> Callable[..., httpx.Response]:
    """Ask for a forecast of a session of `next` that has done the given steps."""

    def ask(past: Array | None = None, /, **asked: Any) -> httpx.Response:
        url = f"{ahead[0].url}/v1/sessions/{name}"
        if past is not None:
            done(pool.post(f"{ahead[0].url}/v1/models/next/sessions", json={"id": name}), 201)
            done(pool.post(f"{url}/steps", json={"inputs": past.tolist()}))
        return pool.post(f"{url}/forecast", json=asked)

    return ask


def fed(oracle: Oracle, past: Array, inputs: Array, steps: int) -> Array:
    """The outputs of inputs behind a past, and of as many own outputs, by whole runs of the file."""
    fed = np.concatenate([past, inputs])
    for _ in range(steps):
        fed = np.concatenate([fed, oracle.whole(fed)[-1:, ::-1]])
    return oracle.whole(fed)[len(past) :]


@pytest.mark.parametrize(("count", "steps"), [(1, 0), (3, 0), (1, 4), (3, 4)])
def test_a_copy_is_fed_inputs_and_its_own_outputs_by_name(
    ahead: Any, asks: Any, rng: np.random.Generator, count: int, steps: int
) -> None:
    oracle = ahead[1]
    past, inputs = oracle.inputs(rng, 5), oracle.inputs(rng, count)
    told = done(asks(past, inputs=inputs.tolist(), **({"steps": steps} if steps else {})))
    assert (told.keys(), told["step"]) == ({"outputs", "step"}, 5)
    assert bits(told["outputs"]) == bits(fed(oracle, past, inputs, steps))
    assert done(asks(inputs=inputs.tolist()))["step"] == 5  # it stands where it stood


def test_without_inputs_it_begins_with_the_newest_answer_and_objects_are_answered_by_objects(
    ahead: Any, asks: Any, rng: np.random.Generator
) -> None:
    oracle = ahead[1]
    past = oracle.inputs(rng, 5)
    told = done(asks(past, steps=3))
    first = oracle.whole(past)[-1:, ::-1]
    assert bits(told["outputs"]) == bits(fed(oracle, past, first, 2))
    named = [{"level": float(one[1]), "flow": float(one[0])} for one in first]
    told = done(asks(inputs=named, steps=2))
    assert bits([[one["level"], one["flow"]] for one in told["outputs"]]) == bits(fed(oracle, past, first, 2))


def test_a_large_forecast_is_written_by_the_second_process(ahead: Any, asks: Any, rng: np.random.Generator) -> None:
    until(lambda: not workers(ahead[0]), what="the end of the second process")
    told = done(asks(ahead[1].inputs(rng, 5), steps=17_000))
    assert len(told["outputs"]) == 17_000
    assert workers(ahead[0])


def test_the_stream_forecasts_between_steps(ahead: tuple[Server, Oracle], name: str, rng: np.random.Generator) -> None:
    server, oracle = ahead
    past, inputs = oracle.inputs(rng, 4), oracle.inputs(rng, 2)
    with dial(server.stream_url) as socket:
        stream: Socket = socket
        channel = stream.open("next", name)["channel"]
        stream.tell({"id": 1, "channel": channel, "inputs": past.tolist()})
        stream.tell({"id": 2, "channel": channel, "forecast": {"inputs": inputs.tolist(), "steps": 3}})
        stream.tell({"id": 3, "channel": channel, "inputs": inputs.tolist(), "step": 4})
        stream.tell({"id": 4, "channel": channel, "forecast": {}})
        told = {one["id"]: one for one in (stream.hear() for _ in range(4))}
    assert told[2].keys() == {"id", "channel", "outputs", "step"}
    assert told[2]["step"] == 4
    assert bits(told[2]["outputs"]) == bits(fed(oracle, past, inputs, 3))
    assert bits(told[3]["outputs"]) == bits(oracle.whole(np.concatenate([past, inputs]))[4:])
    problem(told[4]["error"], "invalid_input")
    assert told[4]["channel"] == channel


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        *(({}, "invalid_input"), ({"steps": 0}, "invalid_input"), ({"inputs": []}, "invalid_input")),
        *(({"inputs": [[1]], "steps": 1}, "invalid_input"), ({"steps": "1"}, "invalid_request")),
        *(({"steps": 1, "more": 1}, "invalid_request"), ({"steps": 10**9}, "payload_too_large")),
    ],
)
def test_what_is_no_forecast_is_refused(asks: Any, ahead: Any, rng: Any, asked: Any, code: str) -> None:
    refused(asks(ahead[1].inputs(rng, 1), **asked), code)


@pytest.mark.parametrize(("model", "why"), [("later", "'level' is told 2 steps ahead"), ("lstm", "'x0' is not both")])
def test_outputs_that_are_no_next_inputs_are_not_fed(
    ahead: Any, http: httpx.Client, name: str, model: str, why: str
) -> None:
    pool, url = http, (str(http.base_url) if model == "lstm" else f"{ahead[0].url}/").rstrip("/")
    done(pool.post(f"{url}/v1/models/{model}/sessions", json={"id": name}), 201)
    step = [[1.0] * (3 if model == "lstm" else 2)]
    told = refused(pool.post(f"{url}/v1/sessions/{name}/forecast", json={"inputs": step, "steps": 1}), "invalid_input")
    assert why in told["detail"]
    done(pool.post(f"{url}/v1/sessions/{name}/forecast", json={"inputs": step}))  # these are no outputs


def test_a_session_without_an_answer_has_nothing_to_begin_with(ahead: Any, pool: httpx.Client, name: str) -> None:
    url = ahead[0].url
    done(pool.post(f"{url}/v1/models/next/sessions", json={"id": name, "history": [[1, 2]]}), 201)
    refused(pool.post(f"{url}/v1/sessions/{name}/forecast", json={"steps": 3}), "invalid_input")


def test_a_forecast_ends_with_its_client(ahead: Any, name: str) -> None:
    server, _ = ahead
    with httpx.Client(base_url=server.url) as http:
        done(http.post("/v1/models/next/sessions", json={"id": name}), 201)
        done(http.post(f"/v1/sessions/{name}/steps", json={"inputs": [[1, 2]]}))
    content = b'{"steps":5000000}'  # several minutes
    head = f"POST /v1/sessions/{name}/forecast HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode()

    def waiting() -> float:
        return sum(value for (one, _), value in server.metrics().items() if one == "carousel_waiting_rows")

    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset at its end
        connection.sendall(head + content)
        until(waiting, what="a forecast under way")
    until(lambda: not waiting(), what="the end of the forecast")
    with dial(server.stream_url) as stream:
        channel = stream.open("next", name)["channel"]
        stream.tell({"id": 2, "channel": channel, "forecast": {"steps": 5_000_000}})
        until(waiting, what="a forecast under way")
    until(lambda: not waiting(), what="the end of the forecast")
