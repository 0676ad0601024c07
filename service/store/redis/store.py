"""The Redis store: each commit is one script that compares owner, epoch and step of its sessions, and writes them.

Everything but `start` is called on the loop's thread. It wires connection, owner, books and hand-over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from redis.exceptions import RedisClusterException, RedisError

from service.engine.call import Operation as Turn
from service.errors import CarouselError, SessionMoved
from service.store.clock import Clock
from service.store.redis.book import Book
from service.store.redis.handover import Handover
from service.store.redis.link import LostError
from service.store.redis.operations import ended, freed, grouped
from service.store.redis.owner import Owner
from service.store.redis.records import id_of, place_of
from service.store.redis.servers import Servers, begin
from service.store.redis.upkeep import Upkeep
from service.store.redis.writer import Writer
from service.store.store import Keeper, StoreRefusedError

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.sessions.session import Session
    from service.sessions.sessions import Sessions
    from service.store.kind import Kind
    from service.store.store import Change, Conflicts

_EPOCH = 40  # bits that count sessions of one process: a number that tells a session apart has 63
_RENEWALS = 5  # of a lease while it holds
_LAST = 1.0  # seconds for connections to close
_BEGIN = 10.0  # seconds that the server may take to be there

_log = logging.getLogger("carousel.store")


class RedisStore(Keeper):
    """Invariant: what was answered is on the server; a session in the table is owned, or `lost` and about to go."""

    def __init__(
        self,
        url: str,
        sessions: Sessions,
        *,
        lease: float = 5.0,
        resident: int = 2**30,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._url, self.sessions, self._lease, self._monotonic, self._wall = url, sessions, lease, monotonic, wall
        self.books: dict[object, Book] = {}
        self._absents: dict[tuple[str, str], Book] = {}  # of sessions whose model is not there
        self._absent: Callable[[str, str], Engine] | None = None
        self.recovered_once = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.leaving: dict[str, asyncio.Future[Any]] = {}  # sessions that are lost or given up: done when they are gone
        self._resident = resident

    # Commits.

    def commit(self, home: object, changes: Sequence[Change]) -> asyncio.Future[Conflicts]:
        """See Store."""
        return self.writer.commit(self.books[home], changes)

    def new_epoch(self) -> int:
        """An epoch that was never used."""
        self._epoch += 1
        return self._epoch

    def owner_of(self, key: bytes) -> Owner:
        """This process as an owner on the server that has a session."""
        return self.owners[place_of(key, len(self.owners))]

    # Sessions that leave the table.

    def _lose(self, key: bytes) -> None:
        """Drop a session that is owned by another process, or unknown, when its calls have ended.

        One that is opening is dropped when that is told: see `Writer`.
        """
        id = id_of(key)
        session = self.sessions.find(id)
        if session is None or (book := self.books[session.home]).keys[session.row] != key:
            return
        book.lost[session.row] = True
        book.engine.calls.end_waiting(session.row, SessionMoved(id))
        if id not in self.leaving and not self.sessions.opening(session):
            self._leave(session)

    def _leave(self, session: Session) -> asyncio.Future[bytes]:
        """Let a session go when its calls have ended → the fence that it had."""
        engine = cast("Engine", session.home)
        book, hidden = self.books[engine], self.sessions.recovering
        gone: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def act() -> bytes:
            if self.sessions.find(session.id) != session:  # deleted before, or it went to another version
                left()
                return b""
            fence = b"" if book.lost[session.row] else book.fence(session.row)
            self.sessions.spill(session)
            book.forget(session.row)
            return fence

        def left(_: object = None) -> None:
            if self.leaving.get(session.id) is gone:
                del self.leaving[session.id]
                hidden.discard(session.id)

        hidden.add(session.id)
        engine.table.generation += 1
        self.leaving[session.id] = gone
        gone.add_done_callback(left)
        engine.operate(Turn(np.array([session.row]), act, gone, stays=True))
        return gone

    async def give_up(self, session: Session) -> None:
        """Finish what a session has accepted, and let another process take it."""
        key = self.books[session.home].keys[session.row]
        fence = await self._leave(session)
        if fence:
            await self.owner_of(key).commit(grouped([freed(key, fence)]))

    def expired(self, session: Session, until: float) -> None:
        """A session was idle beyond its TTL; its id is told as expired until then."""
        book, row = self.books[session.home], session.row
        if book.epoch[row] and not book.lost[row] and (owner := self.owner_of(book.keys[row])).link.up:
            gone = ended(book.keys[row], book.fence(row), told=until - self._monotonic())
            _unheard(owner.commit(grouped([gone])))
        book.forget(row)

    # The beginning.

    def start(self) -> None:
        """See Keeper."""
        try:
            number, alive, held, slots = begin(self._url, _BEGIN)
        except (RedisError, RedisClusterException, OSError, ValueError) as error:
            raise StoreRefusedError(f"CAROUSEL_STORE_URL cannot be used: {error} (docs/durability.md)") from error
        self._epoch = self.sessions.born = number << _EPOCH
        self.clock = Clock(self._monotonic, self._wall, alive)
        self.servers = Servers(self._url, self._lease, slots)
        self.owners = [Owner(self.servers, tag, self.clock, self._lease, self._lose_all) for tag in self.servers.tags]
        self.writer = Writer(self.owners, self._lose, timeout=self._lease, clock=self._monotonic)
        self._handover = Handover(self, 2 * self._lease)
        self._upkeep = Upkeep(self, self._handover, self._resident, self._monotonic)
        self._upkeep.count(held)
        self.sessions.lapsed, self.sessions.elsewhere = self.expired, self._handover

    def _lose_all(self, owner: Owner) -> None:
        """An owner was fenced."""
        place = self.owners.index(owner)
        for book in self.books.values():
            for row in book.owned().tolist():
                if book.place[row] == place:
                    self._lose(book.keys[row])

    def stored(self) -> set[tuple[str, str]]:
        """See Keeper."""
        return self._upkeep.stored()

    def holds(self, home: object) -> bool:
        """See Keeper: other processes may bring some here."""
        return self._upkeep.holds(self.books[home].kind.served_as)

    def release(self, home: object) -> None:
        """See Keeper."""
        self.books.pop(home, None)

    async def recover(self, home: object) -> None:
        """See Keeper. Sessions come when they are called; those that came before their model was there, anew."""
        book = self._book(cast("Engine", home))
        if (absent := self._absents.get(book.kind.served_as)) is not None:
            for row in absent.owned().tolist():
                self._lose(absent.keys[row])
        if not self._tasks:
            links = [owner.link.run() for owner in self.owners]
            works = (self._renew_often(), self._handover.listen(), self._upkeep.run(), *links)
            self._tasks = [asyncio.create_task(one) for one in works]

    async def recovered(self, absent: Callable[[str, str], Engine]) -> None:
        """See Keeper. `absent` makes an engine that refuses the calls of a model version and says why."""
        self._absent = absent
        await asyncio.gather(*(owner.link.risen() for owner in self.owners))
        self.recovered_once.set()

    def book(self, kind: Kind) -> Book:
        """The book of an engine of that kind; of one that refuses all calls if the model is not there."""
        for book in self.books.values():
            if book.encoded == kind.encode():
                return book
        if kind.served_as not in self._absents:
            assert self._absent is not None
            self._absents[kind.served_as] = self._book(self._absent(*kind.served_as))
        return self._absents[kind.served_as]

    def _book(self, engine: Engine) -> Book:
        book = self.books[engine] = Book(engine, self)
        return book

    # While it serves, and the end.

    async def _renew_often(self) -> None:
        while True:
            await asyncio.sleep(self._lease / _RENEWALS)
            await asyncio.gather(*(owner.renew() for owner in self.owners))

    async def close(self) -> None:
        """See Keeper."""
        await self.writer.settled()
        try:
            async with asyncio.timeout(self._lease):
                await self._upkeep.give_up()
                await asyncio.gather(*(one.fence(one.name, dead=True) for one in self.owners if one.name))
        except (TimeoutError, LostError, CarouselError, RedisError) as error:
            _log.error("sessions are not given up, their lease will end: %r", error)
        for task in self._tasks:
            task.cancel()
        self._handover.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST)


def _unheard(asked: asyncio.Future[Any]) -> None:
    """Ignore the outcome: if the command is lost, the deadline of the session still tells."""
    asked.add_done_callback(lambda done: done.exception())
