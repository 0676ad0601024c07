"""The state table: a row of one's own, and nobody else's numbers in it."""

import numpy as np

from service.engine.table import ZERO, Rows

SHAPES = {"h": (2,), "c": (2, 3)}


def filled(value: float, count: int = 1) -> dict[str, np.ndarray]:
    return {name: np.full((count, *shape), value, np.float32) for name, shape in SHAPES.items()}


def is_all(state: dict[str, np.ndarray], value: float) -> bool:
    return all((array == value).all() for array in state.values())


def test_a_new_row_is_zero_even_where_another_was_freed() -> None:
    rows = Rows(SHAPES)
    first = rows.allocate()
    rows.scatter([first], filled(7))
    rows.free(first)
    assert rows.used == 0
    again = rows.allocate()
    assert again == first  # so that what follows says something
    assert is_all(rows.gather([again]), 0)


def test_rows_are_all_different_and_none_is_the_zero_row() -> None:
    rows = Rows(SHAPES, capacity=4)
    taken = [rows.allocate() for _ in range(20)]
    assert len({*taken, ZERO}) == 21
    assert rows.used == 20


def test_growing_keeps_what_the_rows_hold_and_the_zero_row_zero() -> None:
    rows = Rows(SHAPES, capacity=2)
    taken = []
    for value in range(1, 10):
        taken.append(rows.allocate())
        rows.scatter(taken[-1:], filled(value))
    for value, row in enumerate(taken, start=1):
        assert is_all(rows.gather([row]), value)
    assert is_all(rows.gather([ZERO]), 0)


def test_a_row_that_is_given_back_stands_at_nothing() -> None:
    rows = Rows(SHAPES)
    row, other = rows.allocate(), rows.allocate()
    columns = list(Rows.__annotations__)
    for column in columns:
        getattr(rows, column)[[row, other]] = 5
    rows.free(row)
    assert [getattr(rows, column)[[row, other]].tolist() for column in columns] == [[0, 5]] * len(columns)


def test_growing_keeps_how_the_rows_stand() -> None:
    rows = Rows(SHAPES, capacity=2)
    row = rows.allocate()
    rows.step[row], rows.ttl[row] = 2**40, 0.5
    while rows.capacity < 16:
        rows.allocate()
    assert (rows.step[row], rows.ttl[row], len(rows.step), len(rows.ttl)) == (2**40, 0.5, rows.capacity, rows.capacity)


def test_rows_are_gathered_in_the_order_asked_and_as_copies() -> None:
    rows = Rows(SHAPES)
    one, two = rows.allocate(), rows.allocate()
    rows.scatter([two, one], {name: np.concatenate([array, array + 1]) for name, array in filled(1).items()})
    state = rows.gather([one, two, ZERO, one])
    assert {name: array.shape for name, array in state.items()} == {"h": (4, 2), "c": (4, 2, 3)}
    assert state["c"][:, 0, 0].tolist() == [2, 1, 0, 2]
    state["h"][:] = 9
    assert is_all(rows.gather([one]), 2)


def test_a_row_weighs_the_float32_of_all_its_states() -> None:
    assert Rows(SHAPES).row_bytes == 4 * (2 + 6)


def test_a_model_without_state_has_rows_that_weigh_nothing() -> None:
    rows = Rows({})
    row = rows.allocate()
    rows.scatter([row], {})
    assert (rows.gather([row]), rows.row_bytes, rows.used) == ({}, 0, 1)
