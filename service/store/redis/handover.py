"""How sessions come to this process when they are needed, and go to another that asks for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.errors import CarouselError, StoreUnavailable
from service.store.lookups import Lookups
from service.store.redis import scripts
from service.store.redis.link import FencedError, LostError
from service.store.redis.operations import Operation, ended, grouped
from service.store.redis.owner import dead
from service.store.redis.records import BUCKETS, FENCE, UNOWNED, Found, decode, key_of, mark_of, of_bucket, pairs

if TYPE_CHECKING:
    from service.sessions.session import Standing
    from service.store.redis.store import RedisStore

_ANSWER = 0.2  # seconds until an owner is asked again
_KEPT = 0.002  # seconds that a session stays at least: the call for which it came is accepted by then

_T = TypeVar("_T")

_log = logging.getLogger("carousel.store")


class Handover:
    """Brings sessions here by lookups, and gives sessions up that other processes ask for."""

    def __init__(self, store: RedisStore, timeout: float) -> None:
        self._store, self._timeout = store, timeout
        self._lookups = Lookups(store.sessions, self._look, timeout)
        self.fetch = self._lookups.fetch
        self._freed: dict[str, asyncio.Event] = {}  # by id: its owner has given it up
        self._going: dict[str, asyncio.Task[None]] = {}
        self.count = self.bytes = 0  # see Elsewhere

    # Sessions that come: see Elsewhere.

    def owned(self) -> None:
        """See Elsewhere."""
        for owner in self._store.owners:
            owner.check()

    async def ids(self, after: str, prefix: str, most: int) -> list[str]:
        """See Elsewhere."""
        first = b"[:" + prefix.encode() if prefix > after else b"(:" + after.encode()
        rest = (b"[:" + prefix.encode() + b"\xff", "LIMIT", 0, most)
        keys = [of_bucket(bucket, "ids") for bucket in range(BUCKETS)]
        asked = [self._store.owner_of(key).link.ask("ZRANGEBYLEX", key, first, *rest) for key in keys]
        return sorted(id[1:].decode() for ids in await _known(asyncio.gather(*asked)) for id in ids)[:most]

    async def standing(self, id: str) -> Standing | None:
        """See Elsewhere."""
        found, *_ = await _known(self._read(id))
        now = self._store.clock.seconds()
        if found is None or found.deadline <= now:
            return None
        return found.stands(id, now, resident=False)

    async def _look(self, id: str) -> None:
        while not await self._attempt(id):
            pass

    async def _attempt(self, id: str) -> bool:
        """Look a session up, and take it or have it given up → whether it is known what became of it."""
        store = self._store
        await store.recovered_once.wait()  # else its model may not be there yet
        if (left := store.leaving.get(id)) is not None:
            await asyncio.wait([left])
        if store.sessions.find(id) is not None:
            return True
        owner = store.owner_of(key_of(id))
        try:
            found, lives, is_dead = await self._read(id)
            if found is None:
                return True
            if found.owner not in (UNOWNED, owner.name) and not await self._free(id, found, lives, is_dead):
                return False
            return await self._take(id, found)
        except FencedError:
            await owner.renew()
            return False
        except LostError:
            return False

    async def end(self, id: str) -> None:
        """End a session that has expired, if it has no owner."""
        store = self._store
        if store.sessions.find(id) is None and id not in self._lookups.running:
            found, lives, is_dead = await self._read(id)
            if found is None or lives or found.deadline > store.clock.seconds():
                return
            owner = store.owner_of(found.key)
            if found.owner in (UNOWNED, owner.name) or await owner.fence(found.owner, dead=is_dead):
                await self._take(id, found)

    async def _read(self, id: str) -> tuple[Found | None, bool, bool]:
        """A session as the server has it, whether its owner lives, and whether that is known to be dead."""
        key = key_of(id)
        owner = self._store.owner_of(key)
        keys = (owner.owners, owner.processes, key, mark_of(key))
        flat, told, lease, process = await owner.link.ask("EVAL", scripts.READ, 4, *keys, owner.lease)
        if told > 0:
            self._store.sessions.expired.remember(id, self._store.sessions.now() + told / 1000)
        elif not flat:
            self._store.sessions.expired.forget(id)  # it was deleted elsewhere since
        try:
            is_dead = dead(process)
            return decode(key, pairs(flat)) if flat else None, bool(lease) and not is_dead, is_dead
        except ValueError as error:
            _log.error("session %r is refused: %s", id, error)
            return None, False, False

    async def _free(self, id: str, found: Found, lives: bool, is_dead: bool) -> bool:
        """Free a session of its owner: ask it, or fence it if it is dead → whether it is fenced."""
        owner = self._store.owner_of(found.key)
        if lives:
            freed = self._freed.setdefault(id, asyncio.Event())
            asked = b"%b %b" % (owner.name.hex().encode(), id.encode())
            await owner.link.ask("PUBLISH", _channel(found.owner), asked)
            with suppress(TimeoutError):
                await asyncio.wait_for(freed.wait(), _ANSWER)
            self._freed.pop(id, None)
            return False
        return await owner.fence(found.owner, dead=is_dead)

    async def _take(self, id: str, found: Found) -> bool:
        store, now, owner = self._store, self._store.clock.seconds(), self._store.owner_of(found.key)
        if found.deadline <= now:
            until = found.deadline + found.ttl
            gone = ended(found.key, found.fence, told=until - now)
            await owner.commit(grouped([gone]))
            return False  # what is there now is read
        book = store.book(found.kind)
        epoch = store.new_epoch()
        fence = FENCE.pack(owner.name, epoch, found.step)
        taken = Operation(-1, found.key, found.fence, fence)
        taken.put_before(found.fence)
        taken.put_state(found.deadline, found.ttl, found.state)
        if await owner.commit(grouped([taken])):
            return False  # another was sooner
        session = store.sessions.restore(found.stands(id, now, resident=True), book.engine, found.rule, found.birth)
        book.adopt(session.row, found, epoch)
        store.sessions.restored([id])
        return True

    # Sessions that go.

    async def listen(self) -> None:
        """Hear what other processes ask of this one, and what they gave up."""
        owners = self._store.owners
        while True:
            rising = [asyncio.ensure_future(one.link.risen()) for one in owners]
            await asyncio.wait(rising, return_when=asyncio.FIRST_COMPLETED)
            first = owners[next(place for place, one in enumerate(rising) if one.done())]
            for one in rising:
                one.cancel()
            names = [one.name for one in owners]
            try:
                client = Redis.from_pool(await self._store.servers.pool(first.owners))
                async with client, client.pubsub() as channel:
                    async with asyncio.timeout(self._timeout):
                        await channel.subscribe(*map(_channel, names))
                    while first.link.up and names == [one.name for one in owners]:
                        told = await channel.get_message(ignore_subscribe_messages=True, timeout=1.0)
                        if told is not None:
                            self._hear(told["data"])
            except (RedisError, OSError) as error:
                _log.debug("%r", error)
                await asyncio.sleep(_ANSWER)

    def _hear(self, told: bytes) -> None:
        asker, _, id = told.decode().partition(" ")
        if not asker:
            if id in self._freed:
                self._freed[id].set()
        elif id not in self._going:
            going = self._going[id] = asyncio.ensure_future(self._give(id, bytes.fromhex(asker)))
            going.add_done_callback(lambda _: self._going.pop(id))

    async def _give(self, id: str, asker: bytes) -> None:
        """Finish what a session has accepted, and give it up."""
        store = self._store
        await asyncio.sleep(_KEPT)
        session = store.sessions.find(id)
        if session is None and id not in self._lookups.running:  # it was lost: nobody here knew where it stood
            await self._attempt(id)
            session = store.sessions.find(id)
        if session is None or store.sessions.opening(session) or id in store.sessions.ending:
            return
        with suppress(CarouselError, LostError):
            if id not in store.leaving:
                await store.give_up(session)
            await store.owner_of(key_of(id)).link.ask("PUBLISH", _channel(asker), b" " + id.encode())

    def close(self) -> None:
        """Stop."""
        for task in [*self._going.values()]:
            task.cancel()


async def _known(asked: Awaitable[_T]) -> _T:
    """What only reads, for a client."""
    try:
        return await asked
    except LostError as error:
        raise StoreUnavailable("the connection to the session store was lost") from error


def _channel(name: bytes) -> bytes:
    return b"carousel:to:" + name.hex().encode()
