"""What becomes of a call when it arrives: it runs, repeats another, conflicts, or is split."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from service.engine.call import LAST, UNCHECKED, Call
from service.errors import NonFiniteOutput, StepConflict
from service.sessions.session import Session
from tests.fakes import RunningSum, sums
from tests.service.engine.serving import Serve, Serving, after, answered, call, outcomes, summed
from tests.service.engine.test_frames import many


class Merging:
    """Single steps of many clients in one call; `told` is by tag what each was told."""

    def __init__(self, it: Serving) -> None:
        self.it, self.parts = it, list[Call]()
        self.told: dict[Any, Any] = {}

    def submit(self, *steps: tuple[Session, float, int | None], tags: Sequence[Any] | None = None) -> Call:
        """Each a session, a value and the step that it names; the tags are counted from 0 otherwise."""
        sessions, values, asked = zip(*steps, strict=True)
        rows = [session.row for session in sessions]
        given = list(range(len(rows))) if tags is None else tags
        merged = call(*[[value] for value in values], rows=rows, asked=asked, ended=self.ended, tags=given)
        self.it.engine.submit(merged)
        return merged

    def ended(self, part: Call) -> None:
        """Tell each tag once: the answer and the step after it, or the error."""
        assert part.tags is not None
        self.parts.append(part)
        for tag, answer, step in zip(part.tags, answered(part), after(part), strict=True):
            assert tag not in self.told
            self.told[tag] = answer if isinstance(answer, Exception) else (answer, step)

    def errors(self) -> dict[Any, dict[str, Any]]:
        return {tag: one.extra for tag, one in self.told.items() if isinstance(one, StepConflict)}


async def test_steps_that_fit_on_idle_sessions_run_as_the_call_that_they_came_in(serve: Serve) -> None:
    it = serve(started=False)
    one, other, third = many(it, 3)
    merging = Merging(it)
    merged = merging.submit((one, 1, 0), (other, 2, None), (third, 3, 0))
    assert len(it.engine.calls.order.open) == 1
    it.start()
    await it.quiet()
    assert merging.parts == [merged]
    assert merging.told == {0: ([1], 1), 1: ([2], 1), 2: ([3], 1)}


async def test_steps_on_sessions_that_wait_for_the_same_call_stay_together(serve: Serve) -> None:
    it = serve(started=False)
    sessions = many(it, 4)
    merging = Merging(it)
    for step in range(3):
        merging.submit(*((one, 10**step, step) for one in sessions), tags=[(step, place) for place in range(4)])
    it.start()
    await it.quiet()
    assert it.model.batches == [[3] * 4]
    assert [len(part.rows) for part in merging.parts] == [4, 4, 4]
    assert merging.told == {(step, place): ([[1, 11, 111][step]], step + 1) for step in range(3) for place in range(4)}


async def test_steps_on_sessions_that_wait_for_different_calls_are_told_apart_each_tag_once(serve: Serve) -> None:
    it = serve(started=False, chunk=2)
    idle, busy, slow, other = many(it, 4)
    waiting = [it.step(busy, 5), it.step(slow, *[1] * 9)]
    merging = Merging(it)
    merging.submit((slow, 1, 9), (idle, 2, 0), (busy, 3, 1), (other, 4, None))
    it.start()
    assert await outcomes(*waiting) == [[5], sums(*[1] * 9)]
    await it.quiet()
    assert sorted(part.tags for part in merging.parts if part.tags) == [[0], [1, 3], [2]]
    assert merging.told == {0: ([10], 10), 1: ([2], 1), 2: ([8], 2), 3: ([4], 1)}


async def test_a_step_that_does_not_fit_conflicts_alone_and_at_once(serve: Serve) -> None:
    it = serve(started=False)
    one, other, third = many(it, 3)
    merging = Merging(it)
    merging.submit((one, 1, 7), (other, 2, 0), (third, 3, LAST))
    assert merging.errors() == {0: {"expected_step": 0}, 2: {"expected_step": 0}}
    assert [(session.ahead, session.waiting) for session in (one, other, third)] == [(0, 0), (1, 1), (0, 0)]
    assert (it.engine.admission.rows, it.engine.statistics().refused) == (1, {"step_conflict": 2})
    it.start()
    await it.quiet()
    assert merging.told[1] == ([2], 1)


async def test_a_merged_step_that_repeats_a_kept_or_waiting_one_is_answered_like_it(serve: Serve) -> None:
    it = serve()
    kept, waits, fresh = many(it, 3)
    await it.step(kept, 5, step=0)
    await it.step(kept, 6, step=1)
    merging = Merging(it)
    first = it.step(waits, 1, step=0)
    merging.submit((kept, 5, 0), (waits, 1, 0), (fresh, 3, 0))
    assert merging.told == {0: ([5], 1)}
    await it.quiet()
    assert await outcomes(first) == [[1]]
    assert merging.told == {0: ([5], 1), 1: ([1], 1), 2: ([3], 1)}
    assert (waits.step, kept.step) == (1, 2)


async def test_a_step_repeats_one_that_waits_in_a_merged_call_and_fails_with_it(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), started=False)
    bad, good = many(it, 2)
    merging = Merging(it)
    merging.submit((bad, 13, 0), (good, 2, 0))
    merging.submit((good, 2, 0), (bad, 13, 0), tags=["good again", "bad again"])
    retries = [it.step(bad, 13, step=0), it.step(good, 2, step=0)]
    it.start()
    failed, answer = await outcomes(*retries)
    assert (type(failed), answer) == (NonFiniteOutput, [2])
    assert {tag: one if isinstance(one, tuple) else type(one) for tag, one in merging.told.items()} == {
        **{0: NonFiniteOutput, 1: ([2], 1)},
        **{"bad again": NonFiniteOutput, "good again": ([2], 1)},
    }
    assert [(await it.state(session)) for session in (bad, good)] == [(0, 0), (1, 2)]


async def test_what_fails_in_a_merged_call_fails_alone(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), started=False)
    sessions = many(it, 3)
    merging = Merging(it)
    merging.submit(*((one, value, 0) for one, value in zip(sessions, (1, 13, 3), strict=True)))
    merging.submit(*((one, 5, 1) for one in sessions), tags="abc")
    it.start()
    await it.quiet()
    assert type(merging.told.pop(1)) is NonFiniteOutput
    assert type(merging.told.pop("b")) is StepConflict
    assert merging.told == {0: ([1], 1), 2: ([3], 1), "a": ([6], 2), "c": ([8], 2)}


async def test_a_client_that_calls_again_when_it_is_told_that_its_step_conflicts_is_served(serve: Serve) -> None:
    it = serve(started=False)
    one, other = many(it, 2)
    again = []
    wrong = call([1], [2], rows=[one.row, other.row], asked=[5, 6], tags=[one, other])
    wrong.ended = lambda part: again.append(it.step(part.tags[0], 7, step=0))
    it.engine.submit(wrong)
    it.start()
    assert await outcomes(*again) == [[7], [7]]


async def test_a_call_without_tags_is_refused_whole_by_one_step_that_does_not_fit(serve: Serve) -> None:
    it = serve(started=False)
    sessions = many(it, 3)
    parts: list[Call] = []
    asked = call([1], [2, 3], [4], rows=[one.row for one in sessions], asked=[0, 0, 1], ended=parts.append)
    it.engine.submit(asked)
    assert parts == [asked]
    assert (asked.refused, list(asked.errors)) == (True, [2])
    assert [(session.ahead, session.waiting) for session in sessions] == [(0, 0)] * 3
    assert (it.engine.admission.rows, it.engine.calls.order.open) == (0, {})


async def test_a_call_of_several_lengths_is_told_once_and_counted_once(serve: Serve) -> None:
    it = serve(started=False, chunk=2)
    sessions = many(it, 5)
    lengths, parts = [3, 1, 5, 1, 3], list[Call]()
    asked = call(
        *[[1] * length for length in lengths], rows=[one.row for one in sessions], asked=[0] * 5, ended=parts.append
    )
    it.engine.submit(asked)
    assert (it.engine.admission.rows, it.engine.admission.size) == (5, 13 * 8)
    assert [session.ahead for session in sessions] == lengths
    it.start()
    await it.quiet()
    assert parts == [asked]
    assert (answered(asked), after(asked)) == ([sums(*[1] * length) for length in lengths], lengths)


async def test_a_retry_of_a_call_of_several_lengths_waits_for_its_rows(serve: Serve) -> None:
    it = serve(started=False, chunk=2)
    sessions = many(it, 3)
    rows = [(one, [2] * length, 0) for one, length in zip(sessions, (1, 4, 2), strict=True)]
    frames = [it.frame(*rows), it.frame(*rows), it.frame(*rows[1:], (sessions[0], [5, 5], 1))]
    it.start()
    first, again, mixed = [answered(await one) for one in frames]
    assert first == again == [sums(*[2] * length) for length in (1, 4, 2)]
    assert mixed == [first[1], first[2], [7, 12]]
    assert [session.step for session in sessions] == [3, 4, 2]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_step_from_before_a_replaced_state_is_not_repeated_by_one_from_after_it(
    serve: Serve, waits: bool
) -> None:
    it = serve(started=not waits)
    session = it.open()
    first = it.step(session, 5, step=0)
    if not waits:
        await first
    replaced = it.lifecycle.replace(session, 9, summed(90))
    [wrong] = await outcomes(it.step(session, 5, step=0))
    assert (type(wrong), wrong.extra) == (StepConflict, {"expected_step": 9, "applied": True})
    it.start()
    assert await outcomes(first) == [[5]]
    await replaced


@pytest.mark.parametrize("sequences", [[[1]], [[1], [2]], [[1, 2], [3]]], ids=str)
async def test_a_predict_moves_no_session_and_names_no_step(serve: Serve, sequences: list[list[float]]) -> None:
    it = serve(started=False)
    it.open()
    predict = it.predict(*sequences)
    assert it.engine.calls.order.open == {}
    it.start()
    assert await predict == [sums(*one) for one in sequences]
    assert not it.engine.table.state["sum"].any()


def test_the_parts_of_a_call_have_what_belongs_to_their_rows() -> None:
    whole = call([1, 2], [3], [4, 5, 6], rows=[4, 5, 6], asked=[7, None, 9], tags="abc")
    whole.digests, whole.starts = np.arange(6, dtype=np.uint64).reshape(3, 2), np.array([7, 8, 9])
    part = whole.part(np.array([2, 0]))
    assert (part.rows.tolist(), part.lengths.tolist(), part.asked.tolist()) == ([6, 4], [3, 2], [9, 7])
    assert (part.inputs[:, 0].tolist(), part.starts.tolist(), part.tags) == ([4, 5, 6, 1, 2], [9, 7], ["c", "a"])
    assert part.digests is not None
    assert part.digests.tolist() == [[4, 5], [0, 1]]
    assert whole.asked[1] == UNCHECKED
    assert whole.part(np.arange(3)) is whole


async def test_the_first_step_that_conflicts_ends_the_look_for_repeats(serve: Serve) -> None:
    it, looked = serve(), 0

    class Looked:
        def find(self, *which: Any) -> Any:
            nonlocal looked
            looked += 1
            return it.engine.answers.find(*which)

    sessions = [it.open(f"s{index}") for index in range(50)]
    it.engine._acceptance._answers = cast("Any", Looked())
    refused = await it.frame(*((session, [1], 7) for session in sessions))
    assert (looked, [*refused.errors]) == (1, [0])


def test_where_rows_of_several_lengths_end_is_added_up_once() -> None:
    one = call([1], [2, 3], [4, 5, 6], rows=[1, 2, 3], asked=[None] * 3)
    assert [one.span(index) for index in range(3)] == [slice(0, 1), slice(1, 3), slice(3, 6)]
    ends = one.ends
    assert one.span(2) == slice(3, 6)
    assert one.ends is ends is not None
