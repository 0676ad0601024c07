"""Items of accepted frames that cannot run any more, and sessions that end under an open channel."""

import itertools
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from tests.wire import conftest
from tests.wire.binary import UNCHECKED, Item, answer, request, steps_from
from tests.wire.expect import bits, done, problem
from tests.wire.oracle import Oracle
from tests.wire.poll import until
from tests.wire.ws import Socket

ONE = np.array([[1, 1, 1]], np.float32)
NOT_FINITE = np.array([conftest.NOT_FINITE], np.float32)
LONG = np.repeat(ONE, 4_000, axis=0)


def names(name: str, count: int) -> list[str]:
    return [f"{name}-{index}" for index in range(count)]


def steps_of(http: httpx.Client, ids: list[str]) -> list[int]:
    return [done(http.get(f"/v1/sessions/{id}"))["step"] for id in ids]


def failed(told: dict[str, Any], id: int, codes: dict[int, str]) -> None:
    """The answer to a frame of which these channels could not run any more."""
    assert told.keys() == {"id", "channel", "error", "failed"}
    assert told["id"] == id
    assert {one["channel"]: problem(one["error"], codes[one["channel"]])["code"] for one in told["failed"]} == codes
    assert told["channel"] == told["failed"][0]["channel"]
    problem(told["error"], codes[told["channel"]])
    assert told["error"]["failed"] == told["failed"], "for who hands the problem on alone"


def test_an_item_that_cannot_run_fails_alone_and_the_frame_may_be_sent_again(
    stream: Socket, http: httpx.Client, name: str
) -> None:
    ids = names(name, 5)
    stream.open_many("log", ids)
    items = steps_from([0] * 5, [ONE, NOT_FINITE, ONE, np.concatenate([ONE, NOT_FINITE]), ONE])
    for _ in range(3):
        told = stream.ask(request(7, items))
        failed(told, 7, {2: "non_finite_output", 4: "non_finite_output"})
        assert steps_of(http, ids) == [1, 0, 1, 0, 1]
    items[1] = items[3] = Item(0, ONE, 0)
    mended = [item._replace(channel=channel) for channel, item in enumerate(items, 1)]
    answered = stream.step(mended)
    assert answered.steps == dict.fromkeys(range(1, 6), 1)
    assert len({outputs.tobytes() for outputs in answered.outputs.values()}) == 1


def test_a_frame_of_which_nothing_can_run_names_every_item(stream: Socket, http: httpx.Client, name: str) -> None:
    ids = names(name, 100)
    stream.open_many("log", ids)
    told = stream.ask(request(7, steps_from([0] * 100, [NOT_FINITE] * 100)))
    failed(told, 7, dict.fromkeys(range(1, 101), "non_finite_output"))
    assert steps_of(http, ids) == [0] * 100
    assert set(stream.step(steps_from([0] * 100, [ONE] * 100)).steps.values()) == {1}


def test_what_named_a_step_behind_a_failed_item_is_a_conflict_in_its_own_frame(
    stream: Socket, http: httpx.Client, name: str
) -> None:
    """One call is long, so that the frames behind it are accepted before it fails."""
    ids = names(name, 2)
    stream.open_many("log", ids)
    bad = np.concatenate([LONG, NOT_FINITE])
    stream.tell(request(1, [Item(1, bad, 0), Item(2, ONE, 0)]))
    stream.tell(request(2, [Item(1, bad, 0)]))
    stream.tell(request(3, [Item(2, ONE, 1), Item(1, ONE, len(bad))]))
    stream.tell(request(4, [Item(1, ONE, UNCHECKED), Item(2, ONE, UNCHECKED)]))
    stream.tell({"id": 5, "channel": 1, "inputs": ONE.tolist(), "step": len(bad) + 2})
    told: dict[int, Any] = {}
    for content in itertools.islice(stream.connection, 5):
        one = answer(content) if isinstance(content, bytes) else orjson.loads(content)
        told[one.id if isinstance(content, bytes) else one["id"]] = one
    failed(told[1], 1, {1: "non_finite_output"})
    failed(told[2], 2, {1: "non_finite_output"})
    failed(told[3], 3, {1: "step_conflict"})
    assert told[3]["error"]["expected_step"] == 0
    assert told[4].steps == {1: 1, 2: 3}
    problem(told[5]["error"], "step_conflict")
    assert steps_of(http, ids) == [1, 3]


def test_frames_before_a_delete_are_answered_and_frames_behind_it_refused(
    stream: Socket, http: httpx.Client, name: str
) -> None:
    ids = names(name, 3)
    stream.open_many("lstm", ids)
    stream.tell(request(1, steps_from([0] * 3, [LONG] * 3)))
    stream.tell({"id": 2, "close": {"channel": 2, "end": True}})
    stream.tell({"id": 3, "open": {"model": "lstm", "session": ids[1]}})
    stream.tell(request(4, [Item(1, ONE, 4_000), Item(4, ONE, 0)]))
    first, closed, opened = stream.hear_binary(), stream.hear(), stream.hear()["opened"]
    assert first.steps == {1: 4_000, 2: 4_000, 3: 4_000}
    assert closed == {"id": 2, "closed": {"channel": 2}}
    assert (opened["channel"], opened["created"], opened["step"]) == (4, True, 0)
    assert stream.hear_binary().steps == {1: 4_001, 4: 1}
    assert steps_of(http, ids) == [4_001, 1, 4_000]


def test_a_delete_from_another_door_lets_frames_in_flight_end(stream: Socket, http: httpx.Client, name: str) -> None:
    ids = names(name, 2)
    stream.open_many("lstm", ids)
    stream.tell(request(1, steps_from([0, 0], [LONG, ONE])))
    until(lambda: steps_of(http, ids)[1] == 1)
    assert http.delete(f"/v1/sessions/{ids[0]}").status_code == 204
    assert stream.hear_binary().steps == {1: 4_000, 2: 1}
    told = stream.ask(request(2, [Item(2, ONE, 1), Item(1, ONE, UNCHECKED)]))
    assert (told["id"], told["channel"]) == (2, 1)
    problem(told["error"], "session_not_found")
    assert steps_of(http, ids[1:]) == [1]


def test_a_session_that_was_deleted_and_made_anew_is_another_one(
    stream: Socket, http: httpx.Client, name: str, oracle: Oracle
) -> None:
    """The new one may well have the old one's row: the channel must not lead there."""
    ids = names(name, 3)
    stream.open_many("lstm", ids)
    stream.step(steps_from([0] * 3, [ONE] * 3))
    assert http.delete(f"/v1/sessions/{ids[1]}").status_code == 204
    done(http.post("/v1/models/lstm/sessions", json={"id": ids[1]}), 201)
    for channels in ([1, 2, 3], [2]):
        told = stream.ask(request(7, [Item(channel, ONE, UNCHECKED) for channel in channels]))
        assert told["channel"] == 2
        problem(told["error"], "session_not_found")
    assert steps_of(http, ids) == [1, 0, 1]
    assert stream.open("lstm", ids[1])["channel"] == 4
    told_now = stream.step([Item(1, ONE, 1), Item(4, ONE, 0), Item(3, ONE, 1)])
    whole = oracle.whole(np.repeat(ONE, 2, axis=0))
    assert [one.tobytes() for one in told_now.outputs.values()] == [bits(whole[1]), bits(whole[0]), bits(whole[1])]


def test_a_session_that_expired_under_its_channel_says_so_until_it_is_made_anew(
    stream: Socket, http: httpx.Client, name: str
) -> None:
    stream.open("lstm", f"{name}-0")
    stream.open("lstm", f"{name}-1", ttl_seconds=1)
    items = [Item(1, ONE, UNCHECKED), Item(2, ONE, UNCHECKED)]
    assert stream.step(items).steps == {1: 1, 2: 1}
    frame = request(7, items)
    until(lambda: http.get(f"/v1/sessions/{name}-1").status_code == 410)
    told = stream.ask(frame)
    assert told["channel"] == 2
    problem(told["error"], "session_expired")
    done(http.post("/v1/models/lstm/sessions", json={"id": f"{name}-1"}), 201)
    told = stream.ask(frame)
    assert told["channel"] == 2
    problem(told["error"], "session_not_found")
    assert steps_of(http, names(name, 2)) == [1, 0]


def test_a_closed_channel_is_answered_what_it_had_in_flight(stream: Socket, name: str) -> None:
    stream.open_many("lstm", names(name, 2))
    stream.tell(request(1, steps_from([0, 0], [LONG, LONG])))
    stream.tell({"id": 2, "close": {"channel": 1}})
    assert stream.hear() == {"id": 2, "closed": {"channel": 1}}
    assert stream.hear_binary().steps == {1: 4_000, 2: 4_000}


def test_an_end_behind_more_frames_than_may_wait_is_held_back_and_not_refused(
    stream: Socket, http: httpx.Client, name: str
) -> None:
    stream.open("lstm", name)
    for id in range(1_500):
        stream.tell(request(id, [Item(1, ONE, id)]))
    stream.tell({"id": 1_500, "close": {"channel": 1, "end": True}})
    assert [stream.hear_binary().id for _ in range(1_500)] == list(range(1_500))
    assert stream.hear() == {"id": 1_500, "closed": {"channel": 1}}
    assert http.get(f"/v1/sessions/{name}").status_code == 404


@pytest.mark.parametrize("step", [0, 5])
def test_a_state_that_was_replaced_is_where_the_next_frame_goes_on(
    stream: Socket, http: httpx.Client, name: str, oracle: Oracle, step: int
) -> None:
    ids = names(name, 2)
    stream.open_many("lstm", ids)
    if step:
        stream.step([Item(2, np.repeat(ONE, step, axis=0), 0)])
    blob = http.get(f"/v1/sessions/{ids[1]}/state").content
    stream.step([Item(1, np.repeat(ONE, 3, axis=0), 0)])
    done(http.put(f"/v1/sessions/{ids[0]}/state", content=blob))
    told = stream.step(steps_from([step, step], [ONE, ONE]))
    assert told.steps == {1: step + 1, 2: step + 1}
    assert told.outputs[1].tobytes() == told.outputs[2].tobytes()
    assert told.outputs[1].tobytes() == bits(oracle.whole(np.repeat(ONE, step + 1, axis=0))[step])
