"""The table of sessions, by a clock of the test's own."""

import numpy as np
import pytest
from service.replay import Answers, Budget
from service.rows import Rows
from service.sessions import Session, Sessions

from service import sessions as module
from service.errors import Overloaded, SessionExists, SessionExpired, SessionNotFound, StateMismatch
from tests.fakes import FakeClock, column

TTL = 10.0


class Table:
    """Sessions over rows of 8 bytes, and where they live."""

    name, version = "model", "1"

    def __init__(self, most: int = 10, most_bytes: int = 10**6, clock: FakeClock | None = None) -> None:
        self.clock, self.rows, self.settled = clock or FakeClock(), Rows({"h": (2,)}), 0
        self.budget = Budget(each=4, most_bytes=10**6)
        self.answers = Answers(self.rows, 1, self.budget)
        self.sessions = Sessions(self.budget, most=most, most_bytes=most_bytes, clock=self.clock)

    def settle(self) -> None:
        self.settled += 1

    def hidden(self, id: str | None = None, ttl: float = TTL) -> Session:
        return self.sessions.create(id, self, ttl)

    def open(self, id: str | None = None, ttl: float = TTL) -> Session:
        session = self.hidden(id, ttl)
        self.sessions.opened(session)
        return session

    def live(self) -> int:
        return self.sessions.statistics().live


def keep_one(answers: Answers, row: int) -> None:
    answers.keep_long(np.array([row]), np.array([0]), np.zeros((1, 2), np.uint64), [column(1)])


def test_a_session_is_found_once_it_is_open_until_it_is_deleted() -> None:
    table = Table()
    session = table.hidden("a")
    with pytest.raises(SessionNotFound):
        table.sessions.get("a")
    table.sessions.opened(session)
    assert table.sessions.get("a") == table.sessions.find("a") == session
    table.sessions.delete(session)
    with pytest.raises(SessionNotFound):
        table.sessions.get("a")
    assert (table.rows.used, table.live()) == (0, 0)


def test_an_id_is_taken_while_its_session_opens_or_lives_and_free_afterwards() -> None:
    table = Table()
    session = table.hidden("a")
    for _ in range(2):
        with pytest.raises(SessionExists):
            table.hidden("a")
        table.sessions.opened(session)
    table.sessions.delete(session)
    assert table.open("a").step == 0


def test_a_session_tells_how_its_row_stands_once_what_arrived_is_decided() -> None:
    table = Table()
    session = table.open("a")
    table.rows.step[session.row], table.rows.ahead[session.row], table.rows.waiting[session.row] = 3, 5, 2
    assert (session.step, session.waiting, session.ttl, session.deadline) == (3, 2, TTL, table.clock() + TTL)
    assert (table.settled, session.ahead, table.settled) == (0, 5, 1)
    assert repr(session) == "<Session a of model/1 at 3, 2 waiting>"


def test_a_session_belongs_to_its_model_and_version_alone() -> None:
    session = Table().open("a")
    session.belongs("model", None)
    session.belongs("model", "1")
    for model, version in (("other", None), ("model", "2"), ("other", "1")):
        with pytest.raises(StateMismatch):
            session.belongs(model, version)


def test_a_new_session_has_nothing_of_the_one_whose_row_it_got() -> None:
    table = Table()
    first = table.open("a")
    table.rows.step[first.row] = table.rows.ahead[first.row] = 9
    keep_one(table.answers, first.row)
    table.sessions.delete(first)
    again = table.open("a")
    assert (again.id, again.row) == (first.id, first.row)  # so that what follows says something
    assert again != first
    assert (again.step, again.ahead, table.answers.find(again.row, 0, 1, np.zeros(2, np.uint64))) == (0, 0, None)


def test_ids_of_the_servers_own_are_long_and_different() -> None:
    table = Table()
    ids = {table.open().id for _ in range(10)}
    assert len(ids) == 10
    assert all(len(id) >= 20 for id in ids)


def test_an_idle_session_expires_at_its_ttl_and_gives_everything_back() -> None:
    table = Table()
    session = table.open("a")
    keep_one(table.answers, session.row)
    held = table.budget.bytes
    table.clock.advance(TTL - 0.5)
    assert table.sessions.get("a") == session
    assert table.sessions.seconds_left(session) == 0.5
    table.clock.advance(0.5)
    with pytest.raises(SessionExpired):
        table.sessions.get("a")
    assert (table.rows.used, table.sessions.statistics().expired) == (0, 1)
    assert table.budget.bytes < held


def test_an_expired_id_is_remembered_for_one_ttl() -> None:
    table = Table()
    table.open("a")
    table.clock.advance(2 * TTL - 1)
    with pytest.raises(SessionExpired):
        table.sessions.get("a")
    table.clock.advance(1)
    with pytest.raises(SessionNotFound):
        table.sessions.get("a")


def test_an_expired_id_may_be_opened_anew_and_is_expired_still_if_that_fails() -> None:
    table = Table()
    table.open("a")
    table.clock.advance(TTL)
    table.sessions.delete(table.hidden("a"))
    with pytest.raises(SessionExpired):
        table.sessions.get("a")
    again = table.open("a")
    assert table.sessions.get("a") == again
    table.sessions.delete(again)
    with pytest.raises(SessionNotFound):
        table.sessions.get("a")


def test_so_many_expired_ids_are_remembered_and_no_more() -> None:
    table = Table(most=module._REMEMBERED + 2)
    for index in range(module._REMEMBERED + 1):
        table.open(str(index))
    table.clock.advance(TTL)
    for index in range(module._REMEMBERED + 1):
        table.sessions.find(str(index))
    with pytest.raises(SessionNotFound):
        table.sessions.get("0")
    with pytest.raises(SessionExpired):
        table.sessions.get("1")


@pytest.mark.parametrize("busy", ["opening", "pending"])
def test_a_session_at_work_does_not_expire(busy: str) -> None:
    table = Table()
    session = table.hidden("a") if busy == "opening" else table.open("a")
    if busy == "pending":
        table.rows.waiting[session.row] = 1
    table.clock.advance(100 * TTL)
    table.sessions.sweep(10)
    assert table.sessions.find("a") == session


@pytest.mark.parametrize(("most", "most_bytes"), [(2, 10**6), (10, 23)])
def test_the_table_is_bounded_in_number_and_bytes(most: int, most_bytes: int) -> None:
    table = Table(most, most_bytes)
    first = table.open("a")
    assert table.sessions.room(1, 8)
    assert not table.sessions.room(2, 8)
    table.open("b")
    with pytest.raises(Overloaded):
        table.open("c")
    assert (table.rows.used, table.sessions.statistics().state_bytes) == (2, 16)
    table.sessions.delete(first)
    table.open("c")


def test_idle_sessions_make_room_for_new_ones() -> None:
    table = Table(most=3)
    for id in "abc":
        table.open(id)
    table.clock.advance(TTL)
    table.open("d")
    assert table.live() == 1


def test_idle_sessions_make_room_although_deleted_ones_are_still_to_be_swept() -> None:
    table = Table(most=6)
    gone = [table.open() for _ in range(5)]
    table.open("idle")
    table.sessions.sweep(1)
    for session in gone:
        table.sessions.delete(session)
    table.clock.advance(TTL)
    assert table.sessions.room(6, 8)


def test_a_refused_opening_costs_no_look_at_the_whole_table() -> None:
    class Counting(FakeClock):
        looks = 0

        def __call__(self) -> float:
            self.looks += 1
            return self.now

    clock = Counting()
    table = Table(most=5_000, clock=clock)
    for _ in range(5_000):
        table.open()
    clock.looks = 0
    with pytest.raises(Overloaded):
        table.open()
    assert clock.looks <= 1_000


def test_sweeping_goes_round_all_sessions_and_expires_the_idle_ones() -> None:
    table = Table()
    kept = table.open("kept", ttl=2 * TTL)
    for index in range(5):
        table.open(str(index))
    table.clock.advance(TTL)
    for _ in range(6):
        table.sessions.sweep(1)
    assert (table.live(), table.sessions.get("kept")) == (1, kept)
    assert table.sessions.statistics().expired == 5


def test_statistics_count_what_was_opened_and_deleted_but_not_what_never_opened() -> None:
    table = Table()
    table.sessions.delete(table.open())
    table.open()
    table.sessions.delete(table.hidden())
    told = table.sessions.statistics()
    assert (told.opened, told.deleted, told.live) == (2, 1, 1)
