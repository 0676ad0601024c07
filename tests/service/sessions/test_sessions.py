"""The table of sessions, by a clock of the test's own."""

import asyncio

import numpy as np
import pytest

from service.errors import CarouselError, Overloaded, SessionExists, SessionExpired, SessionNotFound, StateMismatch
from service.sessions import expired_ids as module
from service.sessions.budget import Budget
from service.sessions.replay import Answers
from service.sessions.session import Session
from service.sessions.sessions import Sessions
from service.sessions.snapshots import Rewinds
from service.sessions.table import Table
from tests.fakes import FakeClock, column

TTL = 10.0


class Home:
    """Sessions over rows of 8 bytes, and where they live."""

    name, version, refusal = "model", "1", None

    def __init__(self, most: int = 10, most_bytes: int = 10**6, clock: FakeClock | None = None) -> None:
        self.clock, self.table = clock or FakeClock(), Table({"h": (2,)})
        self.budget = Budget(each=4, most_bytes=10**6)
        self.rewinds = Rewinds()
        self.answers = Answers(self.table, 1, self.budget)
        self.sessions = Sessions(self.budget, most=most, most_bytes=most_bytes, clock=self.clock)

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
    home = Home()
    session = home.hidden("a")
    with pytest.raises(SessionNotFound):
        home.sessions.get("a")
    home.sessions.opened(session)
    assert home.sessions.get("a") == home.sessions.find("a") == session
    home.sessions.delete(session)
    with pytest.raises(SessionNotFound):
        home.sessions.get("a")
    assert (home.table.used, home.live()) == (0, 0)


async def test_many_sessions_are_found_as_each_is_and_none_that_is_not_to_be_called() -> None:
    home, refusing = Home(), Home()
    ids = ["open", "hidden", "ending", "recovering", "refused", "late", "unknown"]
    home.hidden("hidden")
    for id in ("open", "ending", "recovering", "late"):
        home.open(id, ttl=1.0 if id == "late" else TTL)
    home.sessions.ending["ending"] = asyncio.get_running_loop().create_future()
    home.sessions.recovering = {"recovering"}
    refusing.refusal = StateMismatch("another file")  # type: ignore[assignment]
    home.sessions.opened(home.sessions.create("refused", refusing, TTL))
    home.clock.advance(1.0)
    found = home.sessions.here(ids)
    assert found == [(home, home.sessions.get("open").row), *[None] * 6]
    for id in ids[1:]:
        with pytest.raises(CarouselError):
            home.sessions.get(id)
    assert home.sessions.here([]) == []


def test_an_id_is_taken_while_its_session_opens_or_lives_and_free_afterwards() -> None:
    home = Home()
    session = home.hidden("a")
    for _ in range(2):
        with pytest.raises(SessionExists):
            home.hidden("a")
        home.sessions.opened(session)
    home.sessions.delete(session)
    assert home.open("a").step == 0


def test_a_session_tells_how_its_row_stands() -> None:
    home = Home()
    session = home.open("a")
    home.table.step[session.row], home.table.ahead[session.row], home.table.waiting[session.row] = 3, 5, 2
    assert (session.step, session.ahead, session.waiting) == (3, 5, 2)
    assert (session.ttl, session.deadline, repr(session)) == (TTL, home.clock() + TTL, "<Session a of model/1 at 3>")


def test_a_session_belongs_to_its_model_and_version_alone() -> None:
    session = Home().open("a")
    session.belongs("model", None)
    session.belongs("model", "1")
    for model, version in (("other", None), ("model", "2"), ("other", "1")):
        with pytest.raises(StateMismatch):
            session.belongs(model, version)


def test_a_new_session_has_nothing_of_the_one_whose_row_it_got() -> None:
    home = Home()
    first = home.open("a")
    home.table.step[first.row] = home.table.ahead[first.row] = 9
    keep_one(home.answers, first.row)
    home.sessions.delete(first)
    again = home.open("a")
    assert (again.id, again.row) == (first.id, first.row)  # so that what follows says something
    assert again != first
    assert (again.step, again.ahead, home.answers.find(again.row, 0, 1, np.zeros(2, np.uint64))) == (0, 0, None)


def test_ids_of_the_servers_own_are_long_and_different() -> None:
    home = Home()
    ids = {home.open().id for _ in range(10)}
    assert len(ids) == 10
    assert all(len(id) >= 20 for id in ids)


def test_an_idle_session_expires_at_its_ttl_and_gives_everything_back() -> None:
    home = Home()
    session = home.open("a")
    keep_one(home.answers, session.row)
    held = home.budget.bytes
    home.clock.advance(TTL - 0.5)
    assert home.sessions.get("a") == session
    assert home.sessions.stands(session).left == 0.5
    home.clock.advance(0.5)
    with pytest.raises(SessionExpired):
        home.sessions.get("a")
    assert (home.table.used, home.sessions.statistics().expired) == (0, 1)
    assert home.budget.bytes < held


def test_an_expired_id_is_remembered_for_one_ttl() -> None:
    home = Home()
    home.open("a")
    home.clock.advance(2 * TTL - 1)
    with pytest.raises(SessionExpired):
        home.sessions.get("a")
    home.clock.advance(1)
    with pytest.raises(SessionNotFound):
        home.sessions.get("a")


def test_an_expired_id_may_be_opened_anew_and_is_expired_still_if_that_fails() -> None:
    home = Home()
    home.open("a")
    home.clock.advance(TTL)
    home.sessions.delete(home.hidden("a"))
    with pytest.raises(SessionExpired):
        home.sessions.get("a")
    again = home.open("a")
    assert home.sessions.get("a") == again
    home.sessions.delete(again)
    with pytest.raises(SessionNotFound):
        home.sessions.get("a")


def test_so_many_expired_ids_are_remembered_and_no_more() -> None:
    home = Home(most=module._REMEMBERED + 2)
    for index in range(module._REMEMBERED + 1):
        home.open(str(index))
    home.clock.advance(TTL)
    for index in range(module._REMEMBERED + 1):
        home.sessions.find(str(index))
    with pytest.raises(SessionNotFound):
        home.sessions.get("0")
    with pytest.raises(SessionExpired):
        home.sessions.get("1")


@pytest.mark.parametrize("busy", ["opening", "pending"])
def test_a_session_at_work_does_not_expire(busy: str) -> None:
    home = Home()
    session = home.hidden("a") if busy == "opening" else home.open("a")
    if busy == "pending":
        home.table.last[session.row] = 1
    home.clock.advance(100 * TTL)
    home.sessions.sweep(10)
    assert home.sessions.find("a") == session


@pytest.mark.parametrize(("most", "most_bytes"), [(2, 10**6), (10, 23)])
def test_the_table_is_bounded_in_number_and_bytes(most: int, most_bytes: int) -> None:
    home = Home(most, most_bytes)
    first = home.open("a")
    assert home.sessions.room(1, 8)
    assert not home.sessions.room(2, 8)
    home.open("b")
    with pytest.raises(Overloaded):
        home.open("c")
    assert (home.table.used, home.sessions.statistics().state_bytes) == (2, 16)
    home.sessions.delete(first)
    home.open("c")


def test_idle_sessions_make_room_for_new_ones() -> None:
    home = Home(most=3)
    for id in "abc":
        home.open(id)
    home.clock.advance(TTL)
    home.open("d")
    assert home.live() == 1


def test_idle_sessions_make_room_although_deleted_ones_are_still_to_be_swept() -> None:
    home = Home(most=6)
    gone = [home.open() for _ in range(5)]
    home.open("idle")
    home.sessions.sweep(1)
    for session in gone:
        home.sessions.delete(session)
    home.clock.advance(TTL)
    assert home.sessions.room(6, 8)


def test_a_refused_opening_costs_no_look_at_the_whole_table() -> None:
    class Counting(FakeClock):
        looks = 0

        def __call__(self) -> float:
            self.looks += 1
            return self.now

    clock = Counting()
    home = Home(most=5_000, clock=clock)
    for _ in range(5_000):
        home.open()
    clock.looks = 0
    with pytest.raises(Overloaded):
        home.open()
    assert clock.looks <= 1_000


def test_sweeping_goes_round_all_sessions_and_expires_the_idle_ones() -> None:
    home = Home()
    kept = home.open("kept", ttl=2 * TTL)
    for index in range(5):
        home.open(str(index))
    home.clock.advance(TTL)
    for _ in range(6):
        home.sessions.sweep(1)
    assert (home.live(), home.sessions.get("kept")) == (1, kept)
    assert home.sessions.statistics().expired == 5


def test_statistics_count_what_was_opened_and_deleted_but_not_what_never_opened() -> None:
    home = Home()
    home.sessions.delete(home.open())
    home.open()
    home.sessions.delete(home.hidden())
    told = home.sessions.statistics()
    assert (told.opened, told.deleted, told.live) == (2, 1, 1)
