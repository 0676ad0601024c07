"""Frames of one session each: taken together, each answered as if it had come alone."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import RunningSum, until
from tests.service.api.sockets import NAN, FakeSocket, Sockets, answered, frame, text
from tests.service.engine.serving import Serving

Serve = Callable[..., Serving]


@pytest.mark.parametrize("steps", [1, 3])
async def test_frames_that_come_in_one_turn_are_one_run(serve: Serve, steps: int) -> None:
    it = serve()
    sockets = Sockets(it)
    lines = [sockets.open(f"s{index}") for index in range(8)]
    for index, line in enumerate(lines):
        line.take(frame(index, (1, [index] * steps)))
    for index, line in enumerate(lines):
        sums = [float(index * count) for count in range(1, steps + 1)]
        assert await answered(line, 1) == {index: {1: (steps, sums)}}
    assert it.model.batches == [[steps] * 8]


async def test_a_frame_alone_is_run_alone(serve: Serve) -> None:
    it = serve()
    line = Sockets(it).open("a")
    for id in range(3):
        line.take(frame(id, (1, [1])))
        await heard(line, id + 1)
    assert it.model.batches == [[1]] * 3


async def test_steps_of_one_channel_are_applied_in_the_order_sent_however_they_are_framed(serve: Serve) -> None:
    line = Sockets(serve()).open("a", "b")
    line.take(frame(1, (1, [1])))
    line.take(frame(2, (1, [10, 10])))
    line.take(frame(3, (1, [100])))
    line.take(frame(4, (2, [5]), (1, [1000])))
    line.take(frame(5, (1, [1])))
    line.take(text(6, 1, [10_000]))
    line.take(frame(7, (1, [1])))
    assert await answered(line, 7) == {
        1: {1: (1, [1])},
        2: {1: (3, [11, 21])},
        3: {1: (4, [121])},
        4: {2: (1, [5]), 1: (5, [1121])},
        5: {1: (6, [1122])},
        6: {1: (7, [11_122])},
        7: {1: (8, [11_123])},
    }


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(9, (1, [NAN])), "invalid_input"),
        (frame(9, (7, [1])), "channel_not_found"),
        (frame(9, (1, [1]))[:-1], "invalid_request"),
        (frame(9, (1, [1])) + bytes(4), "invalid_request"),
        (frame(9, (1, []), (2, [])), "invalid_input"),
        (frame(9, (1, [1]), step=5), "step_conflict"),
        (frame(9, (1, [1]), step=2**63), "step_conflict"),
        (frame(9, (1, [-7])), "non_finite_output"),
    ],
)
async def test_a_frame_at_fault_harms_none_that_came_with_it(serve: Serve, bad: bytes, code: str) -> None:
    sockets = Sockets(serve(RunningSum(nan_on=-7)))
    lines = [sockets.open(id, f"{id}2") for id in "abc"]
    for index, line in enumerate(lines):
        line.take(bad if index == 1 else frame(index, (1, [3]), step=0))
    assert await answered(lines[0], 1) == {0: {1: (1, [3])}}
    assert await answered(lines[1], 1) == {9: code}
    assert await answered(lines[2], 1) == {2: {1: (1, [3])}}
    lines[1].take(frame(1, (1, [4]), step=0))
    assert (await answered(lines[1], 2))[1] == {1: (1, [4])}, "its state has not moved"


async def test_the_others_of_a_turn_run_together_though_one_is_not_finite(serve: Serve) -> None:
    it = serve()
    sockets = Sockets(it)
    lines = [sockets.open(f"s{index}") for index in range(8)]
    for index, line in enumerate(lines):
        line.take(frame(index, (1, [NAN if index == 3 else 1])))
    for index, line in enumerate(lines):
        assert await answered(line, 1) == {index: "invalid_input" if index == 3 else {1: (1, [1])}}
    assert it.model.batches == [[1] * 7]


async def test_a_repeated_frame_gets_the_kept_answer(serve: Serve) -> None:
    sockets = Sockets(serve())
    lines = [sockets.open(id) for id in "ab"]
    for id in range(2):
        for line in lines:
            line.take(frame(id, (1, [3]), step=0))
        for line in lines:
            assert (await answered(line, id + 1))[id] == {1: (1, [3])}


async def test_two_sockets_may_step_one_session_in_one_turn(serve: Serve) -> None:
    sockets = Sockets(serve())
    one, other = sockets.open("a"), sockets.open("a")
    one.take(frame(1, (1, [1])))
    other.take(frame(2, (1, [10])))
    assert await answered(one, 1) == {1: {1: (1, [1])}}
    assert await answered(other, 1) == {2: {1: (2, [11])}}


async def test_a_full_queue_refuses_no_frame_and_keeps_the_order(serve: Serve) -> None:
    sockets = Sockets(serve(most_rows=2))
    lines = [sockets.open(f"s{index}") for index in range(5)]
    for id in range(4):
        for line in lines:
            line.take(frame(id, (1, [1] * (1 + id % 2))))
    for line in lines:
        read = await answered(line, 4)
        assert [read[id][1][0] for id in range(4)] == [1, 3, 4, 6]


async def test_frames_that_were_read_before_a_stop_are_answered_before_the_close(serve: Serve) -> None:
    sockets = Sockets(serve())
    lines = [sockets.open(id) for id in "ab"]
    for line in lines:
        line.take(frame(1, (1, [1])))
    sockets.streams.stop()
    for line in lines:
        assert line.code == 0
        line.take(frame(2, (1, [1])))
    await sockets.streams.drained()
    for line in lines:
        assert await answered(line, 1) == {1: {1: (1, [1])}}
        assert line.code == 1001


async def test_a_client_that_does_not_read_stops_its_own_frames_alone(serve: Serve) -> None:
    sockets = Sockets(serve())
    slow, other = sockets.open("a"), sockets.open("b")
    slow.reads = False
    sent = turns = 0
    while not slow.held:
        for _ in range(100):
            slow.take(frame(sent, (1, [1])))
            sent += 1
        other.take(frame(turns, (1, [1])))
        turns += 1
        await heard(other, turns)
        assert turns < 1_000
    assert len(slow.answers) < sent
    slow.reads = True
    slow.writable()
    await heard(slow, sent)
    assert not slow.held


frames = st.lists(
    st.tuples(
        st.integers(0, 2),  # the socket
        st.sampled_from(["lone", "many", "text", "turn"]),
        st.lists(st.tuples(st.integers(1, 3), st.lists(st.integers(0, 9), min_size=1, max_size=3)), min_size=1),
    ),
    max_size=30,
)


@given(frames, st.sampled_from([1, 3, 100]))
async def test_whatever_comes_in_whichever_turns_each_session_sees_its_steps_in_order(
    story: list[tuple[int, str, list[tuple[int, list[int]]]]], rows: int
) -> None:
    it = Serving(most_rows=rows)
    it.start()
    sockets = Sockets(it)
    lines = [sockets.open(*(f"{index}-{number}" for number in range(3))) for index in range(3)]
    sums: dict[tuple[int, int], tuple[int, int]] = {}
    expected: list[dict[int, Any]] = [{}, {}, {}]
    for id, (index, kind, items) in enumerate(story):
        if kind == "turn":
            await turn()
            continue
        asked = dict(items[:rows] if kind == "many" else items[:1])
        view = {}
        for channel, values in asked.items():
            step, total = sums.get((index, channel), (0, 0))
            outputs = [float(total + sum(values[: count + 1])) for count in range(len(values))]
            sums[index, channel] = step + len(values), total + sum(values)
            view[channel] = step + len(values), outputs
        expected[index][id] = view
        [*pairs] = asked.items()
        lines[index].take(text(id, *pairs[0]) if kind == "text" else frame(id, *pairs))
    for line, views in zip(lines, expected, strict=True):
        assert await answered(line, len(views)) == views
    await it.stop()


async def heard(line: FakeSocket, count: int) -> None:
    """Wait for so many answers."""
    await until(lambda: len(line.answers) >= count)


async def turn() -> None:
    """Let a turn of the loop pass."""
    line = FakeSocket()
    await until(lambda: (line.answers.append(b""), len(line.answers) > 2)[1])
