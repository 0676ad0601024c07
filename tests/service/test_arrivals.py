"""What is accepted together: calls on different sessions, or predicts, that are small enough to share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.arrivals import _ALONE, alike
from service.work import Call, One
from tests.fakes import column
from tests.service.works import call

PREDICT = call([1], [2, 3])


def on(*rows: int, asked: list[int | None] | None = None, **how: bool) -> Call:
    """A call of one step on each of these sessions."""
    return call(*[[1]] * len(rows), rows=rows, asked=asked, **how)


def test_calls_on_different_sessions_are_accepted_together() -> None:
    calls = [on(1, 2), on(3), on(4, 5)]
    assert alike(calls) == [calls]


def test_a_call_on_a_session_that_was_called_on_begins_a_new_group() -> None:
    first, second, third, fourth = on(1, 2), on(3), on(4, 2), on(1)
    assert alike([first, second, third, fourth]) == [[first, second], [third, fourth]]


def test_predicts_are_accepted_together_and_not_with_calls_on_sessions() -> None:
    first, second = call([1]), on(1)
    assert alike([PREDICT, first, second, PREDICT]) == [[PREDICT, first], [second], [PREDICT]]


@pytest.mark.parametrize("what", ["large", "not kept"])
def test_what_is_large_or_not_kept_is_alone(what: str) -> None:
    alone = on(2, kept=what != "not kept")
    alone.size = _ALONE + (what == "large")
    first, last = on(1), on(3)
    assert alike([first, alone, last]) == [[first], [alone], [last]]
    assert alike([alone]) == [[alone]]


def test_nothing_arrived_is_no_group() -> None:
    assert alike([]) == []


def test_calls_on_the_same_rows_again_are_accepted_in_rounds() -> None:
    mine, yours = np.array([1, 2]), np.array([3, 4])
    calls = [on(0) for _ in range(5)]
    for one, rows in zip(calls, (mine, mine, yours, mine, yours), strict=True):
        one.rows, one.stateless = rows, False
    assert alike(calls) == [[calls[0], calls[2]], [calls[1], calls[4]], [calls[3]]]


def test_calls_of_one_row_are_accepted_in_rounds() -> None:
    first, second, third, fourth = (One(row, None, column(1), lambda _: None) for row in (1, 1, 2, 1))
    assert alike([first, second, third, fourth]) == [[first, third], [second], [fourth]]


@given(st.lists(st.lists(st.integers(1, 6), max_size=4, unique=True)))
def test_no_group_has_a_session_twice_and_each_session_keeps_its_order(asked: list[list[int]]) -> None:
    calls = [
        on(*rows) if len(rows) > 1 else One(rows[0], None, column(1), lambda _: None) if rows else call([1])
        for rows in asked
    ]
    groups = alike(calls)
    flat = [one for group in groups for one in group]
    assert sorted(map(id, flat)) == sorted(map(id, calls))
    for group in groups:
        assert len({(type(one), one.stateless) for one in group}) == 1
        rows = [row for one in group for row in sessions(one)]
        assert len(set(rows)) == len(rows)
    for session in range(1, 7):
        mine = [one for one in calls if session in sessions(one)]
        assert [one for one in flat if session in sessions(one)] == mine


def sessions(call: Call) -> list[int]:
    rows = [call.row] if isinstance(call, One) else call.rows.tolist()
    return [row for row in rows if row]
