"""Calls that were accepted together: whose each work is, where it lies, and when a call is done."""

import numpy as np
import pytest

from service.bundle import ALL, Bundle, Places
from service.work import LAST, Call, One
from tests.fakes import column
from tests.service.works import call


def bundled(*calls: Call) -> Bundle:
    return Bundle(calls, 1, number=7, arrived=0.0)


def lone(*values: float, row: int, step: int | None = None) -> One:
    return One(row, step, column(*values), lambda _: None)


def at(*places: int) -> np.ndarray:
    return np.array(places, np.int64)


def test_calls_that_are_accepted_together_lie_one_behind_the_other() -> None:
    calls = [call([1, 2], [3], rows=[4, 5], asked=[0, None]), call([6, 7, 8], rows=[9], asked=[10])]
    bundle = bundled(*calls)
    assert (bundle.rows.tolist(), bundle.lengths.tolist(), bundle.at(ALL).tolist()) == ([4, 5, 9], [2, 1, 3], [0, 2, 3])
    assert (bundle.inputs[:, 0].tolist(), bundle.asked.tolist()) == ([1, 2, 3, 6, 7, 8], [0, -1, 10])
    assert [bundle.of(place) for place in range(3)] == [(calls[0], 0), (calls[0], 1), (calls[1], 0)]
    assert (bundle.left, bundle.each, bundle.stateless, bundle.kept) == (3, 0, False, True)


def test_what_is_written_to_a_bundle_is_seen_by_its_calls() -> None:
    calls = [call([1, 2], [3], rows=[4, 5]), call([6], rows=[9])]
    bundle = bundled(*calls)
    bundle.outputs[:, 0] = [10, 20, 30, 40]
    bundle.starts[at(0, 2)] = [100, 300]
    assert [one.outputs[:, 0].tolist() for one in calls] == [[10, 20, 30], [40]]
    assert [one.starts.tolist() for one in calls] == [[100, 0], [300]]


@pytest.mark.parametrize("how", [{}, {"kept": False}], ids=str)
def test_of_a_predict_and_of_a_call_that_is_not_to_be_kept_nothing_is(how: dict[str, bool]) -> None:
    one = call([1], **how) if not how else call([1], rows=[3], **how)
    assert (bundled(one).kept, bundled(one).each) == (False, 1)


def test_a_call_is_done_with_the_last_of_its_works() -> None:
    first, second = call([1], [2], rows=[3, 4]), call([1], rows=[5])
    bundle = bundled(first, second)
    assert bundle.end(at(0, 2)) == [second]
    assert (bundle.left, first.left, second.left) == (1, 1, 0)
    assert bundle.end(at(1)) == [first]
    lone = bundled(first := call([1], [2], rows=[3, 4]))
    assert (lone.end(at(1)), lone.end(at(0))) == ([], [first])


def test_calls_of_one_row_are_told_where_they_began_and_what_they_came_to() -> None:
    calls = [lone(1, 2, row=4, step=7), lone(3, row=5), lone(6, row=9, step=2**70)]
    bundle = bundled(*calls)
    assert (bundle.rows.tolist(), bundle.lengths.tolist(), bundle.asked.tolist()) == (
        [4, 5, 9],
        [2, 1, 1],
        [7, -1, LAST],
    )
    bundle.outputs[:, 0], bundle.starts[:] = [10, 20, 30, 40], [7, 0, 5]
    assert bundle.end(at(2)) == [calls[2]]
    assert bundle.end(at(0, 1)) == calls[:2]
    assert [(answer.outputs[:, 0].tolist(), answer.step) for answer in (one.only() for one in calls)] == [
        ([10, 20], 9),
        ([30], 1),
        ([40], 6),
    ]
    assert (bundle.left, [one.left for one in calls]) == (0, [0, 0, 0])


def test_all_of_a_bundle_ends_at_once() -> None:
    for calls in ([call([1], [2], rows=[3, 4]), call([1], rows=[5])], [lone(1, row=3), lone(2, row=4)]):
        bundle = bundled(*calls)
        assert (bundle.end(ALL), bundle.left, [one.left for one in calls]) == (calls, 0, [0, 0])


@pytest.mark.parametrize("lengths", [(1, 1, 1), (2, 2, 2), (1, 3, 2)], ids=str)
@pytest.mark.parametrize("places", [ALL, np.array([2, 0])], ids=["all", "some"])
def test_steps_are_read_and_answered_chunk_by_chunk(lengths: tuple[int, ...], places: Places) -> None:
    calls = [lone(*range(10 * row, 10 * row + length), row=row) for row, length in enumerate(lengths, start=1)]
    bundle = bundled(*calls)
    while (ahead := bundle.ahead(places)).max():
        lengths_now = np.minimum(ahead, 2)
        inputs = bundle.read(places, lengths_now, int(lengths_now.max()))
        bundle.write(places, lengths_now, 100 * inputs)
        bundle.move(places, lengths_now)
    bundle.end(places)
    done = calls if isinstance(places, slice) else [calls[2], calls[0]]
    assert [one.outputs.tolist() for one in done] == [(100 * one.inputs).tolist() for one in done]


def test_the_work_of_a_place_is_that_of_its_call() -> None:
    first, second = call([1], rows=[3]), call([1], [2], rows=[4, 5])
    assert [bundled(first, second).of(place) for place in range(3)] == [(first, 0), (second, 0), (second, 1)]


def test_a_running_state_with_a_row_of_its_own_leaves_the_sessions_alone() -> None:
    bundle = bundled(call([1], [2], rows=[3, 4]))
    bundle.own(1, 9)
    assert (bundle.row.tolist(), bundle.rows.tolist()) == ([3, 9], [3, 4])
