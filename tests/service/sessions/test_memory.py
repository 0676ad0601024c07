"""Arrays that grow where they lie, and what is read of them meanwhile."""

import numpy as np

from service.sessions.memory import Rows


def test_rows_that_grow_keep_what_they_held_and_are_zero_behind() -> None:
    rows, held = Rows((3,), np.float32), 0
    for count in (1, 2, 64, 5_000, 200_000):
        array = rows.array(count)
        assert array.shape == (count, 3)
        assert (array[:held] == 7).all()
        assert not array[held:].any()
        array[:] = 7
        held = count
        del array


def test_an_array_that_is_still_read_keeps_its_numbers_while_the_rows_grow() -> None:
    rows = Rows((), np.int64)
    before = rows.array(1_000)
    before[:] = np.arange(1_000)
    after = rows.array(100_000)
    after[0] = -1
    assert before.tolist() == [*range(1_000)]
    assert after[1:1_000].tolist() == [*range(1, 1_000)]


def test_rows_of_nothing_take_no_memory() -> None:
    rows = Rows((2, 0), np.float32)
    assert rows.array(64).shape == (64, 2, 0)
    assert rows.array(0).shape == (0, 2, 0)
