"""What is done from time to time: sessions are counted, expired ones end, idle ones leave memory, and so on."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from service.errors import CarouselError
from service.store.redis.link import LostError
from service.store.redis.operations import Operation, freed, grouped
from service.store.redis.records import BUCKETS, id_of, of_bucket, pairs

if TYPE_CHECKING:
    from service.store.redis.book import Book
    from service.store.redis.handover import Handover
    from service.store.redis.store import RedisStore

_EVERY = 0.5  # seconds
_AT_ONCE = 500  # sessions of one command that is not a commit: some milliseconds of the server
_MOST = 10_000  # sessions that leave memory in one turn
_STAYS = 60.0  # seconds that a version stays loaded after its last session: others may not know yet that it goes

_log = logging.getLogger("carousel.store")


class Upkeep:
    """Invariant: `_held` counts the sessions of the store by version, as they were within the last `_EVERY` seconds."""

    def __init__(self, store: RedisStore, handover: Handover, resident: int, clock: Callable[[], float]) -> None:
        """`resident` is how many bytes of sessions may stay in memory."""
        self._store, self._handover, self._resident, self._clock = store, handover, resident, clock
        self._held = Counter[str]()
        self._seen: dict[str, float] = {}  # by version: when it had sessions last
        self._bucket = 0

    async def run(self) -> None:
        """Do it all, again and again; sessions that expired end a bucket at a time."""
        await self._store.recovered_once.wait()
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self.note_touched()
                await self.spill()
                await self.look()
                self._bucket = (self._bucket + 1) % BUCKETS
                late = of_bucket(self._bucket, "expiry"), "-inf", self._store.clock.seconds(), "LIMIT", 0, _AT_ONCE
                for key in await self._store.owner_of(late[0]).link.ask("ZRANGEBYSCORE", *late):
                    await self._handover.end(id_of(key))
            except (LostError, CarouselError) as error:
                _log.debug("%r", error)

    # Counts.

    async def look(self) -> None:
        """Count the sessions of the store."""
        keys = [of_bucket(bucket, "held") for bucket in range(BUCKETS)]
        asked = [self._store.owner_of(key).link.ask("HGETALL", key) for key in keys]
        self.count([pairs(flat) for flat in await asyncio.gather(*asked)])

    def count(self, held: Iterable[Mapping[bytes, bytes]]) -> None:
        """Take over what the buckets hold."""
        self._held.clear()
        for bucket in held:
            self._held.update({name.decode(): int(number) for name, number in bucket.items()})
        size = self._held.pop("", 0)
        self._seen |= dict.fromkeys((name for name, number in self._held.items() if number > 0), self._clock())
        self._handover.count, self._handover.bytes = self._store.sessions.others(self._held.total(), size)

    def stored(self) -> set[tuple[str, str]]:
        """Models and versions that have sessions."""
        names = [name.partition("/") for name, number in self._held.items() if number > 0]
        return {(model, version) for model, _, version in names}

    def holds(self, version: tuple[str, str]) -> bool:
        """Whether a version has sessions anywhere, or had some a moment ago."""
        seen = self._seen.setdefault("/".join(version), self._clock())
        return self._clock() - seen < _STAYS

    # Writes.

    async def note_touched(self) -> None:
        """Write the sessions whose idle clocks were restarted without a call: a retry, say."""
        for book in self._store.books.values():
            await self._write(book.touched())

    async def spill(self) -> None:
        """Let sessions leave memory while they take too much of it, least recently called first."""
        books = list(self._store.books.values())
        over = sum(book.used_bytes for book in books) - self._resident
        if over <= 0:
            return
        idle = [(used, row, book) for book in books for used, row in book.idle(_MOST)]
        leaving: list[tuple[Book, int]] = []
        for _, row, book in sorted(idle, key=lambda one: one[:2])[:_MOST]:
            if over > 0 and (book.engine.table.deadline.item(row) > self._clock()):
                over -= book.row_bytes
                leaving.append((book, row))
        await self._give_up(leaving)

    async def give_up(self) -> None:
        """Let any process take all sessions that are here."""
        await self._give_up([(book, row) for book in self._store.books.values() for row in book.owned().tolist()])

    async def _give_up(self, leaving: list[tuple[Book, int]]) -> None:
        """Forget sessions that nothing waits on; a call that comes meanwhile finds them in the store."""
        operations, sessions = list[Operation](), self._store.sessions
        for book, row in leaving:
            session = sessions.find(id_of(book.keys[row])) if book.keys[row] else None
            if session is None or (session.home, session.row) != (book.engine, row) or sessions.opening(session):
                continue
            operations.append(freed(book.keys[row], book.fence(row)))
            sessions.spill(session)
            book.forget(row)
        await self._write(operations)

    async def _write(self, operations: list[Operation]) -> None:
        for owner in (one for one in self._store.owners if one.link.up):
            some = [one for one in operations if self._store.owner_of(one.key) is owner]
            for first in range(0, len(some), _AT_ONCE):
                await owner.commit(grouped(some[first : first + _AT_ONCE]))
