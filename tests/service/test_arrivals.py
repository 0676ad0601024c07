"""What is accepted together: calls on different sessions, or predicts, that are small enough to share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.arrivals import _ALONE, alike, misfits
from service.work import Call
from tests.service.works import call

PREDICT = call([1], [2, 3])


def on(*rows: int, asked: list[int | None] | None = None, **how: bool) -> Call:
    """A call of one step on each of these sessions."""
    return call(*[[1]] * len(rows), rows=rows, asked=asked, **how)


def test_calls_on_different_sessions_are_accepted_together() -> None:
    calls = [on(1, 2), on(3), on(4, 5)]
    assert list(alike(calls)) == [calls]


def test_a_call_on_a_session_that_was_called_on_begins_a_new_group() -> None:
    first, second, third, fourth = on(1, 2), on(3), on(4, 2), on(1)
    assert list(alike([first, second, third, fourth])) == [[first, second], [third, fourth]]


def test_predicts_are_accepted_together_and_not_with_calls_on_sessions() -> None:
    first, second = call([1]), on(1)
    assert list(alike([PREDICT, first, second, PREDICT])) == [[PREDICT, first], [second], [PREDICT]]


@pytest.mark.parametrize("what", ["large", "not kept"])
def test_what_is_large_or_not_kept_is_alone(what: str) -> None:
    alone = on(2, kept=what != "not kept")
    alone.size = _ALONE + (what == "large")
    first, last = on(1), on(3)
    assert list(alike([first, alone, last])) == [[first], [alone], [last]]
    assert list(alike([alone])) == [[alone]]


def test_nothing_arrived_is_no_group() -> None:
    assert list(alike([])) == []


@given(st.lists(st.lists(st.integers(1, 6), max_size=4, unique=True)))
def test_groups_keep_the_order_and_no_group_has_a_session_twice(asked: list[list[int]]) -> None:
    calls = [on(*rows) if rows else call([1]) for rows in asked]
    groups = list(alike(calls))
    assert [one for group in groups for one in group] == calls
    for group in groups:
        assert len({one.stateless for one in group}) == 1
        rows = [row for one in group for row in one.rows.tolist() if row]
        assert len(set(rows)) == len(rows)


def test_a_call_fits_that_names_the_next_step_of_each_session_or_none() -> None:
    ahead = np.array([0, 5, 6, 7])
    assert misfits([on(1, 2, asked=[5, None])], ahead) == []
    assert misfits([on(1, 2, asked=[5, None]), on(3, asked=[7])], ahead) == []


@pytest.mark.parametrize("step", [0, 4, 6, 2**62])
def test_a_call_that_names_another_step_does_not_fit_and_the_others_do(step: int) -> None:
    ahead = np.array([0, 5, 6, 7])
    wrong = on(2, 1, asked=[None, step])
    assert misfits([wrong], ahead) == [wrong]
    assert misfits([on(3, asked=[7]), wrong], ahead) == [wrong]
