"""Works by their indices: whose each is, and that no index is lost or has two owners."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.bundle import ALL
from service.works import Works
from tests.service.works import call, enter, idle


def rows_of(works: Works, ids: np.ndarray) -> list[int]:
    return [row for part in works.parts(ids) for row in part.bundle.rows[part.places].tolist()]


def test_growing_keeps_whose_the_works_are() -> None:
    works = Works(capacity=2)
    entered = [enter(works, call([1], rows=[row])) for row in range(1, 30)]
    assert [rows_of(works, ids) for ids in entered] == [[row] for row in range(1, 30)]
    many = enter(works, call(*[[1]] * 5000, rows=range(1, 5001)))
    assert rows_of(works, many) == list(range(1, 5001))
    assert len({0, *many.tolist(), *(int(ids[0]) for ids in entered)}) == 5030
    for ids in (*entered, many):
        works.give(ids)
    assert idle(works)


def test_works_are_told_apart_by_their_bundles_in_runs() -> None:
    works = Works()
    one, other = (enter(works, call([1], [2], rows=rows)) for rows in ([1, 2], [3, 4]))
    mixed = np.concatenate([one, other[1:]])
    told = [(bundle.rows[places].tolist(), ids.tolist()) for bundle, places, ids in works.parts(mixed)]
    assert told == [([1, 2], one.tolist()), ([4], other[1:].tolist())]


def test_a_whole_bundle_in_its_order_is_known_as_such() -> None:
    works = Works()
    ids = enter(works, call([1], [2], rows=[1, 2]))
    assert [works.parts(some)[0].places is ALL for some in (ids, ids.copy())] == [True, True]
    assert [works.parts(some)[0].places.tolist() for some in (ids[::-1], ids[1:])] == [[1, 0], [1]]


def test_a_bundle_of_which_some_works_run_is_never_whole() -> None:
    works = Works()
    bundle = works.parts(enter(works, call([1], [2], [3], rows=[1, 2, 3])))[0].bundle
    ids = works.enter(bundle, np.array([2, 0]))
    [(_, places, _)] = works.parts(ids)
    assert places.tolist() == [2, 0]


def test_a_bundle_is_not_whole_where_another_has_the_index_of_a_work_that_is_done() -> None:
    works = Works()
    ids = enter(works, call([1], [2], rows=[1, 2]))
    [(bundle, _, _)] = works.parts(ids)
    bundle.end(np.array([1]))
    works.end(ids[1:])
    works.give(ids[1:])
    again = enter(works, call([3], rows=[3]))
    assert again == ids[1:]  # so that what follows says something
    assert rows_of(works, np.concatenate([ids[:1], again])) == [1, 3]


def test_works_are_hurt_by_the_end_of_one_though_another_has_its_index() -> None:
    works = Works()
    ids = enter(works, call([1], [2], rows=[1, 2]))
    [part] = works.parts(ids)
    assert works.unhurt(part)
    works.end(ids[1:])
    assert not works.unhurt(part)
    works.give(ids[1:])
    enter(works, call([3], rows=[3]))
    assert works.alive(ids).all()
    assert not works.unhurt(part)


def test_a_work_is_alive_until_it_ends() -> None:
    works = Works()
    ids = enter(works, call([1], [2], [3], rows=[1, 2, 3]))
    works.end(ids[1:2])
    assert works.alive(ids).tolist() == [works.is_alive(work) for work in ids.tolist()] == [True, False, True]


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
