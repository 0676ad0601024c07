"""The order of the works on a session, against a list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.chains import Chains
from service.rows import Rows
from service.works import Works

sessions = st.sets(st.integers(1, 5), min_size=1)
stories = st.lists(
    st.one_of(st.tuples(st.just("append"), sessions), st.tuples(st.just("advance"), sessions)), max_size=30
)


class Chained:
    """Chains of five sessions, rows 1 to 5."""

    def __init__(self) -> None:
        rows = Rows({})
        for _ in range(5):
            rows.allocate()
        self.works = Works()
        self.chains = Chains(rows, self.works)

    def append(self, *sessions: int) -> tuple[list[int], list[int]]:
        """A new work for each of these sessions → the works, and those to start now."""
        ids = self.works.take(len(sessions))
        return ids.tolist(), self.chains.append(ids, np.array(sessions)).tolist()

    def advance(self, ids: list[int], *sessions: int) -> list[int]:
        self.chains.advance(np.array(ids), np.array(sessions))
        return self.chains.heads(np.array(sessions)).tolist()


def test_the_first_work_of_a_session_is_to_be_started_and_the_next_ones_wait() -> None:
    it = Chained()
    first, started = it.append(1, 2)
    assert started == first
    second, started = it.append(2, 3)
    assert started == second[1:]
    assert [it.chains.of(session) for session in (1, 2, 3, 4)] == [first[:1], [first[1], second[0]], second[1:], []]


def test_when_a_head_is_done_the_work_behind_it_is_to_be_started() -> None:
    it = Chained()
    (one, other), _ = it.append(1, 2)
    (behind,), _ = it.append(2)
    assert it.advance([one, other], 1, 2) == [behind]
    assert it.advance([behind], 2) == []
    (fresh,), started = it.append(2)
    assert started == [fresh]


@pytest.mark.parametrize("picked", [[0, 1, 2], [0, 2], [1], []], ids=str)
def test_a_replaced_chain_holds_what_it_was_given_and_goes_on_behind_it(picked: list[int]) -> None:
    it = Chained()
    chain = [it.append(1)[0][0] for _ in range(3)]
    left = [chain[index] for index in picked]
    it.chains.replace(1, left)
    (last,), started = it.append(1)
    assert it.chains.of(1) == [*left, last]
    assert started == ([] if left else [last])


@given(stories)
def test_each_session_has_its_works_in_the_order_they_came(story: list[tuple[str, set[int]]]) -> None:
    it = Chained()
    truth: dict[int, list[int]] = {session: [] for session in range(1, 6)}
    for what, asked in story:
        busy = [session for session in asked if truth[session]]
        if what == "append":
            ids, started = it.append(*asked)
            assert started == [id for id, session in zip(ids, asked, strict=True) if session not in busy]
            for id, session in zip(ids, asked, strict=True):
                truth[session].append(id)
        elif busy:
            heads = it.advance([truth[session].pop(0) for session in busy], *busy)
            assert heads == [truth[session][0] for session in busy if truth[session]]
        assert {session: it.chains.of(session) for session in truth} == truth
