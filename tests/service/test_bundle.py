"""Works as arrays: whose each is, where it lies, and that no index is lost or has two owners."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bundle import Bundle, Works
from service.errors import NonFiniteOutput
from service.work import Call
from tests.service.works import call, enter, idle


def bundled(*calls: Call) -> Bundle:
    for one in calls:
        one.left = len(one.rows)
    return Bundle(calls, 1, number=7, arrived=0.0)


def at(*places: int) -> np.ndarray:
    return np.array(places, np.int64)


def test_calls_that_are_accepted_together_lie_one_behind_the_other() -> None:
    calls = [call([1, 2], [3], rows=[4, 5], asked=[0, None]), call([6, 7, 8], rows=[9], asked=[10])]
    bundle = bundled(*calls)
    assert (bundle.rows.tolist(), bundle.lengths.tolist(), bundle.at.tolist()) == ([4, 5, 9], [2, 1, 3], [0, 2, 3])
    assert (bundle.inputs[:, 0].tolist(), bundle.asked.tolist()) == ([1, 2, 3, 6, 7, 8], [0, -1, 10])
    assert [bundle.of(place) for place in range(3)] == [(calls[0], 0), (calls[0], 1), (calls[1], 0)]
    assert (bundle.left, bundle.single, bundle.stateless, bundle.kept) == (3, False, False, True)


def test_what_is_written_to_a_bundle_is_seen_by_its_calls() -> None:
    calls = [call([1, 2], [3], rows=[4, 5]), call([6], rows=[9])]
    bundle = bundled(*calls)
    bundle.outputs[:, 0] = [10, 20, 30, 40]
    bundle.begun(at(0, 2), at(100, 300))
    assert [one.outputs[:, 0].tolist() for one in calls] == [[10, 20, 30], [40]]
    assert [one.starts.tolist() for one in calls] == [[100, 0], [300]]


@pytest.mark.parametrize("how", [{}, {"kept": False}], ids=str)
def test_of_a_predict_and_of_a_call_that_is_not_to_be_kept_nothing_is(how: dict[str, bool]) -> None:
    one = call([1], **how) if not how else call([1], rows=[3], **how)
    assert (bundled(one).kept, bundled(one).single) == (False, True)


def test_a_call_is_done_with_the_last_of_its_works() -> None:
    first, second = call([1], [2], rows=[3, 4]), call([1], rows=[5])
    bundle = bundled(first, second)
    assert bundle.end(at(0, 2)) == [second]
    assert (bundle.left, first.left, second.left) == (1, 1, 0)
    assert bundle.end(at(1)) == [first]
    lone = bundled(first := call([1], [2], rows=[3, 4]))
    assert (lone.end(at(1)), lone.end(at(0))) == ([], [first])


def test_a_work_that_fails_is_noted_with_its_call_at_its_row() -> None:
    first, second = call([1], rows=[3]), call([1], [2], rows=[4, 5])
    error = NonFiniteOutput()
    bundled(first, second).fail(2, error)
    assert (first.errors, second.errors) == ({}, {1: error})


def test_a_narrowed_bundle_runs_some_rows_of_its_call_and_answers_them_in_their_places() -> None:
    one = call([1], [2, 3], [4], rows=[7, 8, 9], asked=[0, 1, 2])
    bundle = bundled(one)
    bundle.narrow(at(1, 2))
    assert (bundle.rows.tolist(), bundle.lengths.tolist(), bundle.at.tolist()) == ([8, 9], [2, 1], [1, 3])
    assert (bundle.asked.tolist(), bundle.left) == ([1, 2], 2)
    assert [bundle.of(place) for place in range(2)] == [(one, 1), (one, 2)]
    bundle.begun(at(0, 1), at(50, 60))
    bundle.fail(1, NonFiniteOutput())
    assert (one.starts.tolist(), list(one.errors)) == ([0, 50, 60], [2])
    bundle.end(at(0, 1))
    assert (one.left, bundle.left) == (1, 0)  # the row that does not run is answered by somebody else


def test_works_that_are_entered_stand_at_their_beginning() -> None:
    works = Works()
    ids = enter(works, call([1, 2], [3], rows=[4, 5], asked=[0, None]))
    works.done[ids] = works.start[ids] = 9
    works.give(ids)
    again = enter(works, call([1, 2], [3], rows=[6, 5], asked=[8, 9]))
    assert sorted(again) == sorted(ids)  # so that what follows says something
    assert works.session[again].tolist() == works.row[again].tolist() == [6, 5]
    assert (works.steps[again].tolist(), works.at[again].tolist()) == ([2, 1], [0, 2])
    assert (works.asked[again].tolist(), works.place[again].tolist()) == ([8, 9], [0, 1])
    assert not (works.done[again].any() or works.start[again].any())


def test_growing_keeps_what_the_works_are() -> None:
    works = Works(capacity=2)
    entered = [enter(works, call([1], rows=[row])) for row in range(1, 30)]
    assert [works.session[ids].tolist() for ids in entered] == [[row] for row in range(1, 30)]
    many = enter(works, call(*[[1]] * 5000, rows=range(1, 5001)))
    assert works.session[many].tolist() == list(range(1, 5001))
    assert len({0, *many.tolist(), *(int(ids[0]) for ids in entered)}) == 5030
    for ids in (*entered, many):
        works.give(ids)
    assert idle(works)


def test_works_are_told_apart_by_their_bundles_in_runs() -> None:
    works = Works()
    one, other = (enter(works, call([1], [2], rows=rows)) for rows in ([1, 2], [3, 4]))
    mixed = np.concatenate([one, other[:1]])
    told = [(bundle.rows.tolist(), mixed[part].tolist()) for bundle, part in works.by_bundle(mixed)]
    assert told == [([1, 2], one.tolist()), ([3, 4], other[:1].tolist())]


def test_a_work_is_alive_until_it_ends() -> None:
    works = Works()
    ids = enter(works, call([1], [2], [3], rows=[1, 2, 3]))
    works.end(ids[1:2])
    assert works.alive(ids).tolist() == [True, False, True]


@given(st.lists(st.integers(1, 40)))
def test_no_index_has_two_owners_and_none_is_lost(counts: list[int]) -> None:
    works = Works(capacity=2)
    held: list[Sequence[int]] = []
    for count in counts:
        held.append(works.take(count).tolist())
        if count % 3 == 0:
            works.give(np.array(held.pop(count % len(held))))
        taken = [id for ids in held for id in ids]
        assert len({0, *taken}) == len(taken) + 1
    for ids in held:
        works.give(np.array(ids))
    assert idle(works)
