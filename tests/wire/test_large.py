"""Large JSON is read and written by a process of its own: the same answers, and no other call waits for it."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from tests.wire.expect import bits, done, problem, refused
from tests.wire.oracle import Oracle
from tests.wire.poll import until
from tests.wire.server import Server
from tests.wire.ws import Socket

STEPS = 20_000  # 3 numbers each, and 2 in the answer: either is large


@pytest.fixture
def long(oracle: Oracle, rng: np.random.Generator) -> Any:
    return oracle.inputs(rng, STEPS)


@pytest.fixture
def alone(launch: Callable[..., Server]) -> Iterator[tuple[Server, httpx.Client]]:
    """A server that gets no other calls, and its client."""
    server = launch().wait_until_ready()
    with httpx.Client(base_url=server.url, timeout=30) as http:
        yield server, http


def worker(server: Server) -> Any:
    """The process that the server has started for large JSON."""
    (child,) = workers(server)
    return child


def workers(server: Server) -> list[Any]:
    return [child for child in psutil.Process(server.process.pid).children() if reads(child)]


def reads(child: Any) -> bool:
    """Whether a child of the server is one for large JSON, and lives."""
    try:
        return child.status() != psutil.STATUS_ZOMBIE and "--multiprocessing-fork" in child.cmdline()
    except psutil.NoSuchProcess:  # it has ended since it was listed
        return False


def objects(inputs: Any) -> list[dict[str, float]]:
    return [{"x2": c, "x0": a, "x1": b} for a, b, c in inputs.tolist()]


def test_a_large_predict_is_answered_in_the_style_asked_bit_for_bit(
    http: httpx.Client, oracle: Oracle, long: Any
) -> None:
    body = {"sequences": [long.tolist(), objects(long), [[1, 2, 3]]]}
    lists, named, short = done(http.post("/v1/models/lstm/predict", json=body))["outputs"]
    assert bits(lists) == bits(oracle.whole(long))
    assert bits([list(step.values()) for step in named]) == bits(oracle.whole(long))
    assert bits(short) == bits(oracle.whole(np.array([[1, 2, 3]], np.float32)))


def test_a_large_history_call_and_item_continue_each_other(
    http: httpx.Client, name: str, oracle: Oracle, long: Any
) -> None:
    before, middle, after = np.split(long, [STEPS // 3, 2 * STEPS // 3])
    done(http.post("/v1/models/lstm/sessions", json={"id": name, "history": before.tolist()}), 201)
    call = {"inputs": middle.tolist(), "step": len(before)}
    outputs = done(http.post(f"/v1/sessions/{name}/steps", json=call))["outputs"]
    items = {"items": [{"session": name, "inputs": after.tolist()}]}
    (item,) = done(http.post("/v1/models/lstm/steps", json=items))["items"]
    assert bits(outputs + item["outputs"]) == bits(oracle.whole(long)[len(before) :])
    assert item["step"] == STEPS


def test_a_fault_in_a_large_body_is_named_and_nothing_was_applied(http: httpx.Client, name: str, long: Any) -> None:
    done(http.post("/v1/models/lstm/sessions", json={"id": name}), 201)
    path, steps = f"/v1/sessions/{name}/steps", long.tolist()
    wrong: tuple[tuple[Any, str], ...] = (
        ([*steps, [1, 2, True]], f"inputs[{STEPS}][2]: not a number"),
        ([*steps, [1, 2]], f"inputs[{STEPS}]: 2 features, the model has 3"),
        ([*objects(long), {"x0": 1, "x1": 2}], f"inputs[{STEPS}]: no 'x2'"),
    )
    for inputs, detail in wrong:
        told = refused(http.post(path, json={"inputs": inputs}), "invalid_input")
        assert told["detail"].startswith(detail)
    refused(http.post(path, json={"inputs": steps, "x": 1}), "invalid_request")
    refused(http.post(path, content=b'{"inputs":' + b"[" * 200_000), "invalid_request")
    assert done(http.get(f"/v1/sessions/{name}"))["step"] == 0


def test_text_frames_are_taken_in_the_order_sent_however_large(
    stream: Socket, name: str, oracle: Oracle, long: Any
) -> None:
    channel = stream.open("lstm", name)["channel"]
    parts = [long[:1], long, long[:2], long]
    for id, inputs in enumerate(parts):
        stream.tell({"id": id, "channel": channel, "inputs": inputs.tolist() if id < 3 else objects(inputs)})
    told = sorted((stream.hear() for _ in parts), key=lambda answer: answer["id"])
    assert [answer["step"] for answer in told] == list(np.cumsum([len(inputs) for inputs in parts]))
    outputs = [step for answer in told[:3] for step in answer["outputs"]]
    outputs += [list(step.values()) for step in told[3]["outputs"]]
    assert bits(outputs) == bits(oracle.whole(np.concatenate(parts)))


def test_a_large_text_frame_that_is_none_is_an_error_and_the_next_one_is_read(
    stream: Socket, name: str, long: Any
) -> None:
    channel = stream.open("lstm", name)["channel"]
    stream.tell('{"id":1,"inputs":' + "[" * 200_000)
    stream.tell({"id": 2, "channel": channel, "inputs": [*long.tolist(), [1]]})
    stream.tell({"id": 3, "channel": channel, "inputs": [[1, 2, 3]], "step": 0})
    first, second, third = (stream.hear() for _ in range(3))
    assert first["id"] is None
    problem(first["error"], "invalid_request")
    assert (second["id"], second["channel"]) == (2, channel)
    assert problem(second["error"], "invalid_input")["detail"].startswith(f"inputs[{STEPS}]: 1 features")
    assert (third["id"], third["step"]) == (3, 1)


def test_a_deadline_counts_from_the_last_byte(http: httpx.Client, long: Any) -> None:
    late = {"X-Request-Timeout-Ms": "0"}
    answer = http.post("/v1/models/lstm/predict", json={"sequences": [long.tolist()]}, headers=late)
    refused(answer, "deadline_exceeded")


def test_nobody_waits_while_a_large_body_is_read(
    alone: tuple[Server, httpx.Client], name: str, oracle: Oracle, long: Any
) -> None:
    server, http = alone
    done(http.post("/v1/models/lstm/sessions", json={"id": name, "history": long.tolist()}), 201)
    reader = worker(server)
    reader.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as other:
        large = other.submit(http.post, f"/v1/sessions/{name}/steps", json={"inputs": long.tolist()})
        with httpx.Client(base_url=server.url) as neighbour:
            small = done(neighbour.post(f"/v1/sessions/{name}/steps", json={"inputs": [[1, 2, 3]], "step": STEPS}))
        reader.send_signal(signal.SIGCONT)
        told = done(large.result())
    assert (small["step"], told["step"]) == (STEPS + 1, 2 * STEPS + 1), "it arrives when it has been read"
    whole = oracle.whole(np.concatenate([long, np.array([[1, 2, 3]], np.float32), long]))
    assert bits(small["outputs"] + told["outputs"]) == bits(whole[STEPS:])


def test_a_reader_that_is_lost_has_a_successor(alone: tuple[Server, httpx.Client], long: Any) -> None:
    server, http = alone
    body = {"sequences": [long.tolist()]}
    first = done(http.post("/v1/models/lstm/predict", json=body))
    worker(server).kill()
    until(lambda: not workers(server), what="the loss of the worker")
    assert done(http.post("/v1/models/lstm/predict", json=body)) == first


@pytest.mark.parametrize("end", [Server.kill, Server.stop])
def test_the_reader_ends_with_the_service_however_that_ends(
    alone: tuple[Server, httpx.Client], long: Any, end: Callable[[Server], Any]
) -> None:
    server, http = alone
    done(http.post("/v1/models/lstm/predict", json={"sequences": [long.tolist()]}))
    reader = worker(server)
    end(server)
    until(lambda: not reader.is_running() or reader.status() == psutil.STATUS_ZOMBIE, what="the end of the reader")
