"""The state table: a row of one's own, and no numbers of another in it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.sessions.table import ZERO, Table

SHAPES = {"h": (2,), "c": (2, 3)}


def filled(value: float, count: int = 1) -> dict[str, np.ndarray]:
    return {name: np.full((count, *shape), value, np.float32) for name, shape in SHAPES.items()}


def is_all(state: dict[str, np.ndarray], value: float) -> bool:
    return all((array == value).all() for array in state.values())


def test_a_new_row_is_zero_even_where_another_was_freed() -> None:
    table = Table(SHAPES)
    first = table.allocate()
    table.scatter(np.array([first]), filled(7))
    table.free(first)
    assert table.used == 0
    again = table.allocate()
    assert again == first  # so that what follows says something
    assert is_all(table.gather(np.array([again])), 0)


def test_rows_are_all_different_and_none_is_the_zero_row() -> None:
    table = Table(SHAPES, capacity=4)
    taken = [table.allocate() for _ in range(20)]
    assert len({*taken, ZERO}) == 21
    assert table.used == 20


def test_growing_keeps_what_the_rows_hold_and_the_zero_row_zero() -> None:
    table = Table(SHAPES, capacity=2)
    taken = []
    for value in range(1, 10):
        taken.append(table.allocate())
        table.scatter(np.array(taken[-1:]), filled(value))
    for value, row in enumerate(taken, start=1):
        assert is_all(table.gather(np.array([row])), value)
    assert is_all(table.gather(np.array([ZERO])), 0)


def test_each_row_that_is_given_back_makes_a_new_generation() -> None:
    table = Table(SHAPES)
    rows = [table.allocate() for _ in range(3)]
    assert table.generation == 0
    for freed, row in enumerate(rows, start=1):
        table.free(row)
        assert table.generation == freed


def test_a_row_that_is_given_back_stands_at_nothing() -> None:
    table = Table(SHAPES)
    row, other = table.allocate(), table.allocate()
    columns = list(Table.__annotations__)
    for column in columns:
        getattr(table, column)[[row, other]] = 5
    table.free(row)
    assert [getattr(table, column)[[row, other]].tolist() for column in columns] == [[0, 5]] * len(columns)


def test_growing_keeps_how_the_rows_stand() -> None:
    table = Table(SHAPES, capacity=2)
    row = table.allocate()
    table.step[row], table.ttl[row] = 2**40, 0.5
    while table.capacity < 16:
        table.allocate()
    assert (table.step[row], table.ttl[row]) == (2**40, 0.5)
    assert len(table.step) == len(table.ttl) == table.capacity


def test_rows_are_gathered_in_the_order_asked_and_as_copies() -> None:
    table = Table(SHAPES)
    one, two = table.allocate(), table.allocate()
    table.scatter(np.array([two, one]), {name: np.concatenate([array, array + 1]) for name, array in filled(1).items()})
    state = table.gather(np.array([one, two, ZERO, one]))
    assert {name: array.shape for name, array in state.items()} == {"h": (4, 2), "c": (4, 2, 3)}
    assert state["c"][:, 0, 0].tolist() == [2, 1, 0, 2]
    state["h"][:] = 9
    assert is_all(table.gather(np.array([one])), 2)


def test_a_row_weighs_the_float32_of_all_its_states() -> None:
    assert Table(SHAPES).row_bytes == 4 * (2 + 6)


def test_a_model_without_state_has_rows_that_weigh_nothing() -> None:
    table = Table({})
    row = table.allocate()
    table.scatter(np.array([row]), {})
    assert (table.gather(np.array([row])), table.row_bytes, table.used) == ({}, 0, 1)


@given(kept=st.sets(st.integers(1, 400)))
def test_memory_of_free_rows_is_given_back_and_no_other_state_changes(kept: set[int]) -> None:
    table = Table({"h": (1024,), "c": (3,)})  # a row of h is a page
    rows = np.array([table.allocate() for _ in range(400)])
    table.birth[rows] = rows
    table.scatter(rows, {"h": np.ones((400, 1024), np.float32), "c": np.ones((400, 3), np.float32)})
    for row in set(rows.tolist()) - kept:
        table.free(row)
    for first in range(0, table.capacity, 200):
        table.give_back(first, 200)
    mine = np.array(sorted(kept), np.int64)
    assert all((array[mine] == 1).all() for array in table.state.values())
    ends = np.unique([0, *sorted(kept), 199, 399, 401])  # each part is looked at alone
    for first in np.flatnonzero(np.diff(ends) > 65):
        assert not table.state["h"][ends[first] + 1 : ends[first + 1]].any(), "its pages were taken from the system"
    again = [table.allocate() for _ in range(400 - len(kept))]
    assert not table.state["h"][again].any()
