"""Moves sessions from one worker to another: the supervisor's part. It gives each id to one worker at a time.

A session moves in three steps: its owner finishes what it accepted and lends it, from which moment it answers nothing
about it; the new one writes it to its journal, one epoch higher, and serves it; the old one writes that it is gone. If
a worker dies in between, its journal tells how far it came, before another is started in its place.

What waits for what: a session is lent when what was accepted on it is done. A fork may be among that, which claims its
new id. So claims wait only for sessions that were lent already; else two workers could wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from service.store.embedded.record import STAYS, Lent
from service.store.embedded.settling import Dead, folder_of
from service.workers.channel import Answers, FailedError, LostError

if TYPE_CHECKING:
    from pathlib import Path

    from service.store.embedded.record import Record
    from service.workers.channel import Channel
    from service.workers.slot import Slot

# Seconds that a session stays at least: the call for which it came is accepted by then. The time is random, else two
# workers that want the same two sessions could swap them again and again.
_LEAST = 0.002, 0.004
_AGAIN, _LATER = 0.1, 1.0  # seconds until a worker, or the folder of one that ended, is written to again
_REMEMBERED = 100_000  # ids whose owners are known: 10 MB

_T = TypeVar("_T")
_Locks: TypeAlias = "dict[str, deque[asyncio.Future[None]]]"  # ids that are locked, and what waits for each

_log = logging.getLogger("carousel.workers")


_Process: TypeAlias = "tuple[Slot, Channel | None]"  # the one that was in a slot, by its channel


class Exchange:
    """Invariant: an id is opened, or written by another worker than had it, while its lock is held.

    One worker at a time looks for a session.
    """

    def __init__(self, path: Path, places: Sequence[Slot]) -> None:
        self._path, self._places = path, places
        self._looked_for: _Locks = {}
        self._locks: _Locks = {}
        self._folders = asyncio.Lock()  # of workers that have ended
        self._claimed: dict[Channel, set[str]] = defaultdict(set)
        self._owners: dict[str, Slot] = {}  # of ids that were opened or moved lately, as far as it is known
        self._twice: dict[str, int] = {}  # sessions that their old and their new worker count, and their bytes
        self.answers: Answers = {"take": self._take, "claim": self._claim, "release": self._release}

    def lost(self, channel: Channel) -> None:
        """A worker has ended: the ids that it was about to open are free."""
        for id in self._claimed.pop(channel, ()):
            _unlock(self._locks, id)

    # Ids that are opened.

    async def _claim(self, asker: Slot, ids: list[str]) -> tuple[set[str], int, int]:
        """Lock ids for a worker that opens sessions, until it releases them → those that others have, and count and
        bytes of the sessions of all workers.

        All are asked at once, so that none is missed that moves meanwhile; those that are being opened count.
        """
        channel, locked = asker.channel, list[str]()
        assert channel is not None
        try:
            for id in sorted(ids):
                await _lock(self._locks, id)
                locked.append(id)
            if not all(one.heard for one in self._places):  # else it is asked what it cannot answer until it has begun
                raise _unknown()
            try:
                asked = [self._ask(one, "has", [] if one is asker else ids) for one in self._places]
                twice = [*self._twice.values()]
                told = await asyncio.gather(*asked)
            except (LostError, FailedError) as error:
                raise _unknown() from error
            taken, counts, sizes = zip(*told, strict=True)
            theirs = {id for some in taken for id in some}
            self._note((id for id in ids if id not in theirs), asker)
            if channel is asker.channel:
                self._claimed[channel].update(locked)
                locked = []
            return theirs, sum(counts) - len(twice), sum(sizes) - sum(twice)
        finally:
            for id in locked:
                _unlock(self._locks, id)

    async def _release(self, asker: Slot, ids: list[str]) -> None:
        assert asker.channel is not None
        for id in self._claimed[asker.channel].intersection(ids):
            self._claimed[asker.channel].remove(id)
            _unlock(self._locks, id)

    # Sessions that move.

    async def _take(self, asker: Slot, id: str) -> Any:
        """Bring a session to a worker → True: it has it; or what another says of the id: see `Handover.lend`."""
        channel = asker.channel
        await _lock(self._looked_for, id)
        try:
            told = await self._bring(asker, channel, id)
            if told is None and id in self._locks:
                await _lock(self._locks, id)  # it is being opened: look what came of it
                _unlock(self._locks, id)
                told = await self._bring(asker, channel, id)
            return told
        finally:
            _unlock(self._looked_for, id)

    async def _bring(self, asker: Slot, channel: Channel | None, id: str) -> Any:
        if channel is None or asker.channel is not channel:
            return None  # nobody asks any more
        last = self._owners.get(id, asker)
        others, unknown, told = [one for one in self._places if one not in (asker, last)], False, None
        for some in ([last], others) if last is not asker else (others,):
            there = [(one, one.channel) for one in some if one.heard and one.channel is not None]
            asked = {its.ask("lend", id): (one, its) for one, its in there}
            unknown, waiting = unknown or len(asked) < len(some), set(asked)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for answer in done:
                    if answer.exception() is not None:
                        unknown = True
                    elif isinstance(now := answer.result(), Lent):
                        return await self._lent(asked[answer], (asker, channel), now)
                    else:
                        told = told if now is None else now
        if unknown and told is None:
            raise _unknown()
        return told

    def _note(self, ids: Iterable[str], owner: Slot) -> None:
        """Remember where ids are: that worker is asked first."""
        if len(self._owners) >= _REMEMBERED:
            self._owners.clear()
        self._owners |= dict.fromkeys(ids, owner)

    async def _lent(self, source: _Process, target: _Process, lent: Lent) -> bool:
        """Go on with a session that was lent, if the two are still there."""
        id = lent.record.id
        await _lock(self._locks, id)
        try:
            if source[0].channel is not source[1]:
                raise _unknown()  # the next one in its place has the session, and lent it to nobody
            if target[0].channel is not target[1]:
                self._tell(source[0], "keep", id)
                return False
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            for one, _ in (source, target):
                one.busy.add(task)
                task.add_done_callback(one.busy.discard)
            return await self._move(source[0], target[0], lent)
        finally:
            _unlock(self._locks, id)

    async def _move(self, source: Slot, target: Slot, lent: Lent) -> bool:
        record = lent.record
        try:
            size = await self._ask(target, "put", lent)
        except LostError:
            taken = await self._offline(target, lambda dead: dead.imported.get(record.number) == record.epoch)
            size = 0 if taken else STAYS
        except FailedError:
            size = STAYS
        if size == STAYS:
            self._tell(source, "keep", record.id)
            return False
        self._note([record.id], target)
        await self._forget(source, record, size)
        self._tell(target, "have", record.id)
        return True

    async def _forget(self, source: Slot, record: Record, size: int) -> None:
        """Return when the old owner has written that a session of this size is gone."""
        pause = random.uniform(*_LEAST)
        while True:
            self._twice[record.id] = size
            await asyncio.sleep(pause)
            del self._twice[record.id]
            try:
                await self._ask(source, "forget", record.id, record.number)
                return
            except LostError:
                await self._offline(source, lambda dead: dead.forget([record.number]))
                return
            except FailedError:  # its disk is full, or it is about to end
                pause = _AGAIN

    async def _offline(self, place: Slot, act: Callable[[Dead], _T]) -> _T:
        """Act on the folder of a worker that has ended. The next one starts after that: see `Slot.busy`.

        What fails (the disk is full) is tried again: without it two workers could have the session.
        """

        def in_thread() -> _T:
            with closing(Dead(folder_of(self._path, place.number))) as dead:
                return act(dead)

        while True:
            try:
                async with self._folders:
                    return await asyncio.to_thread(in_thread)
            except Exception as error:
                _log.error("the folder of worker %d cannot be used, and waits for that: %s", place.number, error)
                await asyncio.sleep(_LATER)

    @staticmethod
    def _ask(place: Slot, what: str, *given: Any) -> asyncio.Future[Any]:
        """Ask at once, and before what is asked later. Raises LostError, now or later."""
        if place.channel is None:
            raise LostError
        return place.channel.ask(what, *given)

    @staticmethod
    def _tell(place: Slot, what: str, id: str) -> None:
        if place.channel is not None:
            place.channel.tell(what, id)


async def _lock(locks: _Locks, id: str) -> None:
    waiting = locks.get(id)
    if waiting is None:
        locks[id] = deque()
    else:
        waiting.append(turn := asyncio.get_running_loop().create_future())
        await turn


def _unlock(locks: _Locks, id: str) -> None:
    waiting = locks[id]
    if waiting:
        waiting.popleft().set_result(None)
    else:
        del locks[id]


def _unknown() -> FailedError:
    return FailedError("a worker is being started, which may have the session")
