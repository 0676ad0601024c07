"""The order of the calls on one session, and which of them repeat another."""

import pytest

from service.errors import StepConflict
from service.replay import Kept
from service.rows import Rows
from service.sessions import Session
from tests.fakes import column
from tests.service.works import turn, work


def session_at(step: int) -> Session:
    session = Session("s", "model", "1", Rows({}), 60)
    session.step = session.ahead = step
    return session


def test_the_first_item_is_to_be_started_and_the_next_ones_wait() -> None:
    session = session_at(3)
    first, second, third = work(1, 2), turn(step_after=50), work(1)
    assert [session.push(item) for item in (first, second, third)] == [True, False, False]
    assert (first.start, third.start, session.ahead) == (3, 50, 51)


def test_a_call_at_the_next_step_or_at_none_is_new() -> None:
    session = session_at(3)
    assert session.repeated(3, 1, b"x") is None
    assert session.repeated(None, 1, b"x") is None


def test_a_waiting_or_kept_call_is_known_again_by_step_length_and_bits() -> None:
    session = session_at(3)
    kept, waiting = Kept(2, 1, b"kept", column(1)), work(1, 2, digest=b"waiting")
    session.kept.append(kept)
    for item in (turn(), waiting):
        session.push(item)
    assert session.repeated(2, 1, b"kept") is kept
    assert session.repeated(3, 2, b"waiting") is waiting
    for step, steps, digest in ((2, 1, b"other"), (2, 2, b"kept"), (3, 1, b"waiting"), (4, 1, b"kept"), (6, 1, b"")):
        with pytest.raises(StepConflict) as caught:
            session.repeated(step, steps, digest)
        assert caught.value.extra["expected_step"] == 5


def test_numbering_anew_drops_the_checked_calls_that_cannot_be_next_and_moves_the_others_up() -> None:
    session = session_at(3)
    failed, unchecked, checked, last = work(1, 2), work(1), work(1, checked=True), work(1, 2, 3)
    for item in (failed, unchecked, checked, last):
        session.push(item)
    session.pending.remove(failed)
    assert session.renumber() == [(checked, 4)]
    assert session.pending == [unchecked, last]
    assert (unchecked.start, last.start, session.ahead) == (3, 4, 7)


def test_numbering_anew_leaves_what_follows_a_replaced_state_alone() -> None:
    session = session_at(3)
    failed, fallen, replaced, after = work(1), work(1, checked=True), turn(step_after=50), work(1, checked=True)
    for item in (failed, fallen, replaced, turn(), after):
        session.push(item)
    session.pending.remove(failed)
    assert session.renumber() == [(fallen, 3)]
    assert (after.start, session.ahead) == (50, 51)
