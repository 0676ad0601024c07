"""Sequences of the Open Inference Protocol: an accumulator driven by `tritonclient`."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.http import aio

from tests.wire.poll import until
from tests.wire.server import Server
from tests.wire.triton import START, infer, refused

Step = Callable[..., float]


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as one:
        yield one


@pytest.fixture
def step(client: Any) -> Step:
    """One step of a sequence → the sum so far."""

    def ask(id: int | str, value: float, *, start: bool = False, end: bool = False) -> float:
        how = {"sequence_id": id, "sequence_start": start, "sequence_end": end}
        return float(infer(client, "sum", [[[value]]], **how).item())

    return ask


@pytest.fixture
def number(name: str) -> int:
    """A sequence id that is new."""
    return int(name[2:18], 16)


@pytest.mark.parametrize("text", [True, False])
def test_nine_steps_add_up(step: Step, number: int, text: bool) -> None:
    id = str(number) if text else number
    sums = [step(id, value, start=value == 1, end=value == 9) for value in range(1, 10)]
    assert sums == [1, 3, 6, 10, 15, 21, 28, 36, 45]
    assert START in refused(lambda: step(id, 1))[0]


def test_several_steps_go_in_one_request(client: Any, number: int) -> None:
    assert infer(client, "sum", [[[1], [2]]], sequence_id=number, sequence_start=True).ravel().tolist() == [1, 3]
    assert infer(client, "sum", [[[3], [4]]], sequence_id=number).ravel().tolist() == [6, 10]
    assert infer(client, "sum", [[5]], sequence_id=number, sequence_end=True).tolist() == [[15]]


def test_an_integer_and_its_text_are_two_sequences(step: Step, number: int) -> None:
    step(number, 1, start=True)
    step(str(number), 10, start=True)
    assert (step(number, 1), step(str(number), 1)) == (2, 11)


@pytest.mark.parametrize("id", ["a b/c?%~'é\n", "x" * 256, 2**64 - 1])
def test_any_id_of_a_client_will_do(step: Step, id: int | str) -> None:
    step(id, 1, start=True)
    assert step(id, 2, end=True) == 3
    assert refused(lambda: step("x" * 257, 1, start=True))[1] == 400


def test_start_and_end_in_one_request_leave_nothing(step: Step, number: int) -> None:
    assert step(number, 5, start=True, end=True) == 5
    assert START in refused(lambda: step(number, 1))[0]
    step(number, 1, start=True)
    assert step(number, 7, start=True, end=True) == 7  # it replaces the live one, and ends it
    assert refused(lambda: step(number, 1))[1] == 400


def test_a_step_without_a_start_is_refused(step: Step, number: int) -> None:
    message, status = refused(lambda: step(number, 1))
    assert (status, START in message) == (400, True)
    assert refused(lambda: step(number, 1, end=True))[1] == 400


def test_a_start_on_a_live_id_replaces_it(step: Step, number: int) -> None:
    step(number, 100, start=True)
    assert step(number, 1, start=True) == 1
    assert step(number, 1) == 2


def test_a_sequence_has_a_batch_of_one(client: Any, number: int) -> None:
    message, status = refused(lambda: infer(client, "sum", [[[1]], [[2]]], sequence_id=number, sequence_start=True))
    assert (status, "batch of 1, not of 2" in message) == (400, True)
    assert START in refused(lambda: infer(client, "sum", [[[1]]], sequence_id=number))[0]


def test_a_refused_request_changes_nothing(client: Any, step: Step, number: int) -> None:
    step(number, 1, start=True)
    refused(lambda: infer(client, "sum", [[[1, 2]]], sequence_id=number))
    refused(lambda: infer(client, "sum", [[[1], [np.inf]]], sequence_id=number, sequence_start=True))
    assert step(number, 1) == 2


@pytest.mark.parametrize("id", [0, ""])
def test_without_an_id_a_request_starts_from_nothing_and_keeps_nothing(step: Step, server: Server, id: Any) -> None:
    assert [step(id, 1, start=True), step(id, 1)] == [1, 1]
    told = {"inputs": [{"name": "input", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}
    for flags in ({"sequence_start": True}, {"sequence_id": id, "sequence_end": True}):
        answer = httpx.post(f"{server.url}/v2/models/sum/infer", json=told | {"parameters": flags})
        assert answer.status_code == 400
        assert answer.json().keys() == {"error"}


def test_models_have_sequences_of_their_own(client: Any, step: Step, number: int) -> None:
    infer(client, "lstm", [[[1, 2, 3]]], sequence_id=number, sequence_start=True)
    assert START in refused(lambda: step(number, 1))[0]
    assert refused(lambda: infer(client, "lstm", [[[1, 2, 3]]], model_version="1", sequence_id=number))[1] == 422


def test_a_model_that_needs_the_whole_takes_only_whole_sequences(client: Any, number: int) -> None:
    how = {"sequence_id": number, "sequence_start": True}
    assert refused(lambda: infer(client, "bidirectional", [[[1, 2, 3]]], **how))[1] == 422
    assert infer(client, "bidirectional", [[[1, 2, 3]]], sequence_end=True, **how).shape == (1, 1, 2)


def test_a_sequence_is_a_session_that_v1_can_look_at_and_end(step: Step, server: Server, number: int) -> None:
    step(number, 1, start=True)
    step("camera 7", 1, start=True)
    step("site/7", 1, start=True)
    for id in (f"sum~{number}", "sum~'camera%2520%37'", "sum~'site%252F7'"):
        told = httpx.get(f"{server.url}/v1/sessions/{id}").json()
        assert (told["model"], told["step"]) == ("sum", 1), told
        assert httpx.delete(f"{server.url}/v1/sessions/{id}").status_code == 204
    assert START in refused(lambda: step(number, 1))[0]


def test_an_idle_sequence_is_told_as_expired(launch: Callable[..., Server]) -> None:
    server = launch(default_ttl_seconds=2).wait_until_ready()  # and so long is it remembered
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        infer(client, "sum", [[1]], sequence_id=7, sequence_start=True)
        until(lambda: server.metric("carousel_sessions_expired_total"), what="expiry")
        message, status = refused(lambda: infer(client, "sum", [[1]], sequence_id=7))
        assert (status, "idle beyond its TTL of 2 s" in message, START in message) == (410, True, True)
        assert infer(client, "sum", [[1]], sequence_id=7, sequence_start=True) == 1


def test_five_thousand_sequences_from_sixteen_threads_never_mix(server: Server, number: int) -> None:
    faults: list[str] = []

    def drive(thread: int) -> None:
        rng = np.random.default_rng(thread)
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            live: dict[int, list[float]] = {}  # id → its sum, steps that are left
            for id in range(number % 2**60 + thread * 10_000, number % 2**60 + thread * 10_000 + 313):
                live[id] = [0.0, float(rng.integers(1, 5))]
                while live and (len(live) > 20 or id % 10_000 == 312 or rng.random() < 0.7):
                    mine = int(rng.choice([*live]))
                    total, left = live[mine]
                    value = float(rng.integers(-1000, 1000))
                    end = left == 1 and mine % 7 > 0  # some are never ended
                    how = {"sequence_id": mine, "sequence_start": mine not in begun, "sequence_end": end}
                    begun.add(mine)
                    got = infer(client, "sum", [[value]], **how).item()
                    if got != total + value:
                        faults.append(f"{mine}: {got}, not {total + value}")
                    live[mine] = [total + value, left - 1]
                    if left == 1:
                        del live[mine]

    begun: set[int] = set()
    threads = [threading.Thread(target=drive, args=(thread,)) for thread in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(begun) > 4900
    assert not faults, faults[:5]


async def test_a_client_that_leaves_harms_no_sequence(server: Server, number: int) -> None:
    async with aio.InferenceServerClient(f"127.0.0.1:{server.port}", conn_timeout=0.02) as hasty:
        given = aio.InferInput("input", [1, 30_000, 1], "FP32")
        given.set_data_from_numpy(np.ones((1, 30_000, 1), np.float32))
        with pytest.raises(Exception):  # noqa: B017  # whatever its HTTP library says of a timeout
            for _ in range(20):
                await hasty.infer("sum", [given], sequence_id=number, sequence_start=True)
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:

        def total() -> float:
            return float(infer(client, "sum", [[0]], sequence_id=number).item())

        until(lambda: total() == 30_000, what="the step that was accepted")
