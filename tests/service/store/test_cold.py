"""Sessions that are in the store and not in memory: they come back when they are called, and count like all others."""

from pathlib import Path
from typing import Any

import pytest

from service.errors import Overloaded, SessionExists, SessionExpired, SessionNotFound
from tests.fakes import FakeClock, RunningSum
from tests.service.engine.serving import TTL, outputs
from tests.service.store.serving import Begin, Durable, process


def live(one: Durable) -> tuple[int, int]:
    """How many sessions there are, and how many of them in memory."""
    return one.sessions.statistics().live, one.engine.table.used


async def spilled(begin: Begin, *ids: str, **settings: Any) -> Durable:
    """A process of these sessions, each of which has done a step of 5 and left memory."""
    one = await begin(resident=1, **settings)
    for id in ids:
        await one.step(one.open(id), 5)
    await one.round()
    assert live(one) == (len(ids), 0)
    return one


async def test_a_session_comes_back_on_its_next_call_with_its_kept_answers(begin: Begin) -> None:
    one = await spilled(begin, "a", "b")
    a = one.sessions.get("a")
    assert outputs(await one.step(a, 5, step=0)) == [5]  # a retry
    assert outputs(await one.step(a, 1, step=1)) == [6]
    assert live(one) == (2, 1)
    await one.round()
    assert live(one) == (2, 0)
    assert await one.state(one.sessions.get("a")) == (2, 6)


async def test_what_is_looked_at_stays_where_it_is_and_tells_the_truth(begin: Begin) -> None:
    one = await spilled(begin, "a")
    one.clock.advance(TTL / 4)
    told = one.sessions.look("a")
    assert (told.model, told.version, told.step, told.ttl, told.resident) == ("model", "1", 1, TTL, False)
    assert told.left == pytest.approx(TTL * 3 / 4)
    await one.sessions.pages.sort()
    assert one.sessions.ids("", "", 9) == ["a"]
    assert live(one) == (1, 0)


async def test_ids_of_both_kinds_are_told_in_order(begin: Begin) -> None:
    one = await spilled(begin, "b", "d", "da")
    for id in ("a", "c", "db"):
        one.open(id)
    await one.sessions.pages.sort()
    assert one.sessions.ids("", "", 4) == ["a", "b", "c", "d"]
    assert one.sessions.ids("d", "d", 4) == ["da", "db"]
    assert one.sessions.ids("", "x", 4) == []


async def test_the_sessions_called_least_recently_leave_first(begin: Begin) -> None:
    one = await begin(resident=2**30)
    for id in "abcd":
        await one.step(one.open(id), 5)
        one.clock.advance(1)
    await one.step(one.sessions.get("a"), 1)
    book = one.store._books[one.engine]
    one.store._upkeep._resident = 3 * book.row_bytes
    await one.round()
    assert [one.sessions.resident(id) for id in "abcd"] == [True, False, False, True]


async def test_what_waits_or_is_not_written_stays(begin: Begin) -> None:
    model = RunningSum()
    one = await begin(resident=1, model=model, fitness=None)
    session = one.open("a")
    one.store._books[one.engine].changed[session.row] += 1  # as if it had been called while it was written
    await one.store._upkeep.spill()
    assert live(one) == (1, 1)


async def test_an_id_of_a_session_that_is_not_in_memory_is_taken(begin: Begin) -> None:
    one = await spilled(begin, "a")
    with pytest.raises(SessionExists):
        one.open("a")


async def test_all_sessions_count_wherever_they_are(begin: Begin, tmp_path: Path, wall: FakeClock) -> None:
    one = await spilled(begin, "a", "b", "c")
    await one.end()
    two = await process(most=3).begin(tmp_path / "store", wall, resident=1)
    assert live(two) == (3, 0)
    with pytest.raises(Overloaded):
        two.open("d")
    await two.lifecycle.delete(two.sessions.get("b"))
    two.open("d")
    assert two.sessions.statistics().state_bytes == 3 * two.engine.table.row_bytes
    await two.end()


async def test_a_session_expires_where_it_lies_and_is_told_for_one_ttl(begin: Begin) -> None:
    one = await spilled(begin, "a", "b")
    one.clock.advance(TTL - 1)
    await one.step(one.sessions.get("b"), 1)
    await one.round()
    one.clock.advance(2)
    await one.round()  # nobody asked for it
    assert (live(one)[0], one.sessions.statistics().expired) == (1, 1)
    with pytest.raises(SessionExpired):
        one.sessions.get("a")
    await one.crash()
    two = await begin(resident=1)
    with pytest.raises(SessionExpired):
        two.sessions.get("a")
    two.clock.advance(TTL)
    with pytest.raises(SessionNotFound):
        two.sessions.get("a")


async def test_a_deleted_session_is_gone_before_its_record_is(begin: Begin) -> None:
    one = await spilled(begin, "a", "b")
    await one.lifecycle.delete(one.sessions.get("a"))
    for _ in range(2):
        with pytest.raises(SessionNotFound):
            one.sessions.get("a")
        assert live(one)[0] == 1
        await one.round()
    assert await one.state(one.open("a")) == (0, 0)


async def test_forgotten_ids_leave_nothing_in_the_store(begin: Begin) -> None:
    one = await spilled(begin, *"abc")
    for _ in range(3):
        one.clock.advance(TTL + 2)
        await one.round()
        one.store._upkeep.rounds = 99
    await one.round()
    with one.store._records.snapshot() as txn:
        counts = {
            name: txn.stat(getattr(one.store._records, f"_{name}"))["entries"] for name in ("ids", "ended", "due")
        }
    assert counts == {"ids": 0, "ended": 0, "due": 0}


async def test_a_channel_of_a_session_is_the_same_when_it_is_back(begin: Begin) -> None:
    one = await spilled(begin, "a")
    before = one.sessions.get("a").birth
    await one.round()
    assert (one.sessions.get("a").birth, one.sessions.get("a").step) == (before, 1)


async def test_no_page_is_told_while_sessions_are_being_recovered(begin: Begin) -> None:
    one = await spilled(begin, "a")
    one.sessions.recovering = {"b"}
    await one.sessions.pages.sort()
    with pytest.raises(Overloaded):
        one.sessions.ids("", "", 9)
    one.sessions.recovering = set()
    assert one.sessions.ids("", "", 9) == ["a"]
