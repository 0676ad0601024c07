"""A commit whose connection was lost while another process took the session: it is told as what became of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from service.errors import CommitUnknown, SessionExists, SessionNotFound, StoreUnavailable
from service.sessions.session import Session
from service.store.redis.records import key_of
from tests.fakes import column
from tests.service.engine.serving import call
from tests.service.store.redis.serving import Begin, Shared
from tests.service.store.redis.test_versions import version

Cut = Callable[..., Awaitable[tuple[asyncio.Future[Any], asyncio.Event]]]

sent_or_not = pytest.mark.parametrize("sent", [True, False])


@pytest.fixture
def cut(client: "redis.Redis") -> Cut:
    """Lose the connection of a process while a call on its session is committed, and fence the process."""

    async def lose(
        one: Shared, call: Callable[[], Awaitable[Any]], *, sent: bool
    ) -> tuple[asyncio.Future[Any], asyncio.Event]:
        before, name = client.hget(key_of("s"), "fence"), one.owner().name
        cut = await one.cut_off(call, sent=sent)
        while sent and client.hget(key_of("s"), "fence") == before:  # noqa: ASYNC110  # Redis has it
            await asyncio.sleep(0.001)
        client.hdel(one.owner().owners, name)
        client.delete(one.owner().lease + name)
        return cut

    return lose


@sent_or_not
@pytest.mark.parametrize("steps", [1, 2])
async def test_a_step_runs_once_though_the_session_was_taken_before_it_was_told(
    begin: Begin, cut: Cut, sent: bool, steps: int
) -> None:
    one, other = await begin(lease=20.0), await begin()
    session = await one.opened("s")
    await one.step(session, 1)
    asked, back = await cut(one, lambda: one.step(session, 1), sent=sent)
    for step in range(steps):  # the same step as the one that was cut off
        assert (await other.step(await other.get("s"), 1)).sums == [2 + sent + step]
    back.set()
    assert (await asked).sums == [2 if sent else 2 + steps]
    assert await other.state(await other.get("s")) == (2 + steps, 2 + steps)
    assert (await one.step(await one.get("s"), 1)).sums == [3 + steps]


@sent_or_not
async def test_steps_that_were_committed_together_run_once_each(begin: Begin, cut: Cut, sent: bool) -> None:
    one, other = await begin(lease=20.0), await begin()
    session = await one.opened("s")

    async def together() -> list[list[float]]:
        one.model.hold()
        held, steps = one.predict([1.0]), [one.step(session, 1) for _ in range(3)]
        one.model.release()
        await held
        return [(await step).sums for step in steps]

    asked, back = await cut(one, together, sent=sent)
    assert (await other.step(await other.get("s"), 1)).sums == [4 if sent else 1]
    back.set()
    assert await asked == ([[1], [2], [3]] if sent else [[2], [3], [4]])
    assert (await one.step(await one.get("s"), 1)).sums == [5]


@sent_or_not
async def test_a_step_of_a_session_that_was_taken_twice_is_told_as_unknown(begin: Begin, cut: Cut, sent: bool) -> None:
    one, other, third = await begin(lease=20.0), await begin(), await begin()
    session = await one.opened("s")
    asked, back = await cut(one, lambda: one.step(session, 1), sent=sent)
    for process in (other, third):
        await process.step(await process.get("s"), 1)
    back.set()
    with pytest.raises(CommitUnknown):
        await asked
    assert (await one.step(await one.get("s"), 1)).sums == [3 + sent]


@pytest.mark.parametrize("taken", [True, False])
async def test_a_session_that_was_opened_before_its_process_was_fenced_is_open_and_goes_on_anywhere(
    begin: Begin, cut: Cut, taken: bool
) -> None:
    one, other = await begin(lease=20.0), await begin()
    asked, back = await cut(one, lambda: one.opened("s"), sent=True)
    if taken:
        assert (await other.step(await other.get("s"), 1)).sums == [1]
    back.set()
    await asked
    assert (await one.step(await one.get("s"), 1)).sums == [1 + taken]
    assert (await other.step(await other.get("s"), 1)).sums == [2 + taken]


@sent_or_not
async def test_an_opening_with_a_history_is_told_as_it_went(begin: Begin, cut: Cut, sent: bool) -> None:
    one = await begin(lease=20.0)

    async def opened() -> Session:
        return await one.lifecycle.open_warm("s", 60.0, column(1.0, 2.0))

    asked, back = await cut(one, opened, sent=sent)
    back.set()
    if sent:
        await asked
    else:
        with pytest.raises(StoreUnavailable):
            await asked
        await opened()
    assert await one.state(await one.get("s")) == (2, 3.0)
    assert (await one.step(await one.get("s"), 1, step=2)).sums == [4]


@sent_or_not
async def test_a_step_of_a_session_whose_id_was_opened_anew_finds_none(begin: Begin, cut: Cut, sent: bool) -> None:
    one, other = await begin(lease=20.0), await begin()
    session = await one.opened("s")
    asked, back = await cut(one, lambda: one.step(session, 1), sent=sent)
    await other.lifecycle.delete(await other.get("s"))
    await other.opened("s")
    back.set()
    with pytest.raises(SessionNotFound):
        await asked


async def test_an_opening_of_an_id_that_another_process_opened_meanwhile_is_told_so(begin: Begin, cut: Cut) -> None:
    one, other = await begin(lease=20.0), await begin()
    asked, back = await cut(one, lambda: one.opened("s"), sent=False)
    await other.opened("s")
    back.set()
    with pytest.raises(SessionExists):
        await asked


async def test_copies_are_told_as_they_stood_though_their_process_was_fenced(begin: Begin, cut: Cut) -> None:
    one = await begin(lease=20.0)
    source = await one.opened("t")
    await one.step(source, 1, 1)
    asked, back = await cut(one, lambda: one.lifecycle.fork_many(source, ["s", "u"]), sent=True)
    back.set()
    ids, standing = await asked
    assert (ids, standing.step) == (["s", "u"], 2)
    assert [await one.state(await one.get(id)) for id in ids] == [(2, 2.0)] * 2


async def test_a_delete_whose_process_was_fenced_leaves_its_row_clean(begin: Begin, cut: Cut) -> None:
    one = await begin(lease=20.0)
    session = await one.opened("s")
    asked, back = await cut(one, lambda: one.lifecycle.delete(session), sent=True)
    back.set()
    await asked
    await one.quiet()
    assert (await one.opened("s")).waiting == 0


@pytest.mark.parametrize("taken", [True, False])
async def test_a_session_that_migrated_before_its_process_was_fenced_is_looked_up_anew(
    begin: Begin, cut: Cut, taken: bool
) -> None:
    one, other = await begin(lease=20.0), await begin()
    new, _ = await version(one, "2"), await version(other, "2")
    session = await one.opened("s")
    await one.step(session, 1)
    asked, back = await cut(one, lambda: one.engine.migrations.migrate(session, new), sent=True)

    async def elsewhere() -> None:
        found, done = await other.get("s"), asyncio.get_running_loop().create_future()
        found.home.submit(call([1.0], rows=[found.row], ended=done.set_result))
        assert not (await done).errors

    if taken:
        await elsewhere()
    back.set()
    await asked
    if not taken:
        await elsewhere()
    found = await one.get("s")
    step, state = await found.home.lifecycle.read(found)
    assert (step, float(state["sum"][0, 0])) == (2, 2)
    await found.home.lifecycle.delete(found)


@pytest.mark.parametrize("warm", [True, False])
async def test_an_opening_that_is_answered_together_with_the_news_of_the_fence_is_looked_up_anew(
    begin: Begin, warm: bool
) -> None:
    one, other = await begin(lease=20.0), await begin()
    link, owner = one.owner().link, one.owner()
    history = one.lifecycle.open_warm("s", 60.0, column(1.0)) if warm else one.lifecycle.open("s", 60.0)
    while not link._asked:  # noqa: ASYNC110  # it is written
        await asyncio.sleep(0)
    link.ask("HDEL", owner.owners, owner.name)
    link.ask("DEL", owner.lease + owner.name)
    renewing = asyncio.ensure_future(one.renew())
    await asyncio.sleep(0)
    time.sleep(0.05)  # noqa: ASYNC251  # all answers are read at once
    await asyncio.gather(history, renewing)
    assert (await other.step(await other.get("s"), 1)).sums == [1 + warm]
    assert await one.state(await one.get("s")) == (1 + warm, 1 + warm)
    assert (await one.step(await one.get("s"), 1)).sums == [2 + warm]
