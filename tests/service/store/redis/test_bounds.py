"""Bounds over all processes, and what of it is in memory."""

import pytest
import redis

from service.errors import Overloaded, SessionExists
from service.sessions import anywhere
from service.sessions.reach import unused
from service.sessions.snapshots import Rule
from service.store.redis.records import BUCKETS, of_bucket
from tests.service.engine.serving import summed
from tests.service.store.redis.serving import Begin, Shared


def held(client: "redis.Redis") -> tuple[int, int]:
    """Sessions and their bytes, as the server sums them up."""
    buckets = [client.hgetall(of_bucket(bucket, "held")) for bucket in range(BUCKETS)]
    found = [(name, int(count)) for one in buckets for name, count in one.items()]  # type: ignore[union-attr]
    return sum(count for name, count in found if name), sum(count for name, count in found if not name)


async def test_the_sums_follow_every_change(begin: Begin, client: "redis.Redis") -> None:
    one, other = await begin(), await begin()
    session = await one.opened("s")
    await one.opened("r", rule=Rule(2, 3))
    assert held(client) == (2, 4 + 16)
    await one.lifecycle.fork_many(session, 5)
    await one.step(session, 1, 2)
    await one.lifecycle.replace(session, 9, summed(1.0))
    assert held(client) == (7, 40)
    await other.lifecycle.delete(await other.get("r"))
    assert held(client) == (6, 24)
    one.clock.advance(61)
    one.hold_leases(9)
    one.sessions.sweep(100)
    other.store.clock.offset += 61
    for id in await other.sessions.elsewhere.ids("", "", 100):  # type: ignore[union-attr]
        await other.store._handover.end(id)
    assert held(client) == (0, 0)


@pytest.mark.parametrize("bound", [{"most": 5}, {"most_bytes": 20}])
async def test_a_bound_counts_the_sessions_of_all_processes(begin: Begin, bound: dict[str, int]) -> None:
    one, other = await begin(**bound), await begin(**bound)
    for id in "abc":
        await one.opened(id)
    await other.store._upkeep.look()
    session = await other.opened("d")
    with pytest.raises(Overloaded):
        await other.lifecycle.fork_many(session, 2)
    await other.opened("e")
    with pytest.raises(Overloaded):
        await other.opened("f")
    for process, id in ((other, "b"), (one, "b"), (other, "d")):  # a retry of an opening whose answer was lost
        with pytest.raises(SessionExists):
            await unused(process.sessions, id)
    await one.get("b")
    assert other.sessions.statistics().by_state == {"opening": 0, "ending": 0, "open": 2, "elsewhere": 3}
    await one.lifecycle.delete(one.sessions.get("a"))
    await other.store._upkeep.look()
    await other.opened("f")
    third = await begin(**bound)
    with pytest.raises(Overloaded):
        await third.opened("g")


async def resident(process: Shared) -> list[str]:
    await process.store._upkeep.spill()
    return sorted(process.sessions._live)


async def test_sessions_least_recently_called_leave_memory_and_come_back(begin: Begin) -> None:
    one = await begin(resident=1)
    each = one.store.books[one.engine].row_bytes
    one.store._upkeep._resident = 3 * each
    for id in "abcdef":
        await one.step(await one.opened(id), 5)
        one.clock.advance(0.01)
    await one.step(one.sessions.get("a"), 1)
    one.model.hold()
    assert await resident(one) == ["a", "e", "f"]
    one.model.release()
    assert (await one.step(await one.get("b"), 2, step=1)).sums == [7.0]
    assert (await one.step(await one.get("c"), 5, step=0)).sums == [5.0]
    assert (await anywhere.look(one.sessions, "d")).resident is False
    other = await begin()
    assert await other.state(await other.get("d")) == (1, 5.0)
    assert await other.state(await other.get("e")) == (1, 5.0)
    standings, _ = await anywhere.page(one.sessions, "", "", 100)
    assert [(one.id, one.step) for one in standings] == [("a", 2), ("b", 2), ("c", 1), ("d", 1), ("e", 1), ("f", 1)]


async def test_what_waits_or_opens_stays_in_memory(begin: Begin) -> None:
    one = await begin(resident=1)
    session = await one.opened("s")
    step, opening = one.step(session, 1), one.lifecycle.open("new", 60.0)
    assert await resident(one) == ["new", "s"]
    assert (await step).sums == [1.0]
    await opening
    assert await resident(one) == []
    assert (await one.step(await one.get("s"), 1, step=1)).sums == [2.0]
