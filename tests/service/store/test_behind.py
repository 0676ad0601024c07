"""Written behind: steps are answered before they are written, and all else is written first."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from service.errors import StoreUnavailable
from service.sessions.snapshots import Rule
from service.store.embedded.journal import _TAKEN
from service.store.embedded.journal_files import HEAD, files
from tests.fakes import until
from tests.service.engine.serving import TTL, outputs, summed
from tests.service.store.serving import Begin, Durable

NEVER = 3600.0  # seconds


def lose(one: Durable) -> int:
    """Let what is not written be lost → how many entries that are."""
    count = len(one.store._journal._late)
    one.store._journal._late.clear()
    return count


async def test_clients_are_told_how_much_may_be_lost(begin: Begin) -> None:
    one = await begin(behind=0.25)
    assert one.sessions.promises == {"replay": 4, "behind_ms": 250}


async def test_a_crash_costs_the_steps_that_were_not_written_and_nothing_else(begin: Begin) -> None:
    one = await begin(behind=NEVER)
    a, b = one.open("a"), one.open("b")
    await one.step(a, 1, 2)
    await one.step(b, 7)
    await one.store._journal.flushed()
    await one.step(a, 3)
    await one.step(a, 4)
    assert lose(one) == 2
    await one.crash()
    two = await begin(behind=NEVER)
    assert await two.state(two.sessions.get("a")) == (2, 3)
    assert await two.state(two.sessions.get("b")) == (1, 7)
    assert outputs(await two.step(two.sessions.get("a"), 3, step=2)) == [6]


async def test_what_is_no_step_is_written_before_it_is_answered_and_steps_before_it_too(begin: Begin) -> None:
    acts: list[Any] = [
        lambda one, a: one.lifecycle.open("new", TTL),
        lambda one, a: one.lifecycle.fork(a, "new"),
        lambda one, a: one.lifecycle.fork_many(a, ["new", "newer"]),
        lambda one, a: one.lifecycle.replace(a, 9, summed(9)),
        lambda one, a: one.lifecycle.rewind(a, 2),
        lambda one, a: one.lifecycle.delete(one.sessions.get("b")),
    ]
    one = await begin(behind=NEVER)
    a = await one.lifecycle.open("a", TTL, rule=Rule(2, 9))
    one.open("b")
    for act in acts:
        await one.step(a, 1, 1)
        await act(one, a)
        assert lose(one) == 0
        for id in ("new", "newer"):
            if one.sessions.find(id):
                await one.lifecycle.delete(one.sessions.get(id))


async def test_steps_are_written_within_the_window(begin: Begin, tmp_path: Path) -> None:
    one = await begin(behind=0.02)
    a = one.open("a")
    await one.step(a, 1)
    journal = one.store._journal
    assert len(journal._late) == 1
    await asyncio.wait_for(until(lambda: not journal._late), 20)
    assert sum(path.stat().st_size - HEAD for path in files(tmp_path / "store")) > 0


async def test_what_is_much_is_written_at_once_with_what_waits(begin: Begin) -> None:
    one = await begin(behind=NEVER)
    a = one.open("a")
    await one.step(a, 1)
    await one.step(a, *[1.0] * (_TAKEN // 4))
    await one.step(a, 5)
    assert lose(one) == 1
    await one.crash()
    two = await begin(behind=NEVER)
    assert await two.state(two.sessions.get("a")) == (1 + _TAKEN // 4, 1 + _TAKEN // 4)


async def test_a_disk_that_cannot_be_written_stops_new_steps_after_the_window_and_loses_none(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await begin(behind=0.02)
    a = one.open("a")

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        with pytest.raises(StoreUnavailable):
            while True:
                await one.step(a, 1)
                await asyncio.sleep(0)
        step, total = await one.state(a)
        assert step == total >= 1
        with pytest.raises(StoreUnavailable):
            await one.step(a, 1)
    await asyncio.wait_for(until(lambda: not one.store._journal._late), 20)
    assert outputs(await one.step(a, 1)) == [total + 1]
    await one.store._journal.flushed()
    await one.crash()
    two = await begin(behind=NEVER)
    assert await two.state(two.sessions.get("a")) == (step + 1, total + 1)


@pytest.mark.parametrize("sync", [False, True])
async def test_a_clean_stop_loses_nothing(begin: Begin, sync: bool) -> None:
    one = await begin(behind=NEVER, sync=sync)
    await one.step(await one.lifecycle.open("a", TTL), 1, 2)
    await one.step(one.sessions.get("a"), 3)
    await one.end()
    two = await begin()
    assert await two.state(two.sessions.get("a")) == (3, 6)
