"""Commits to the servers and their outcomes: written, refused, or read back after the connection was lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from service.errors import CarouselError, CommitUnknown, SessionExists, SessionMoved, SessionNotFound, StoreUnavailable
from service.store.redis.link import FencedError, LostError
from service.store.redis.operations import Group, ended, grouped
from service.store.redis.records import ABSENT, STANDS, Stands, id_of, stands
from service.store.store import Advanced, Copied

if TYPE_CHECKING:
    from service.store.redis.book import Book
    from service.store.redis.owner import Owner
    from service.store.store import Change, Conflicts


_log = logging.getLogger("carousel.store")


@dataclass(eq=False)
class _Commit:
    """A commit in flight, sent in parts."""

    book: Book
    whole: bool  # all of it or nothing
    answer: asyncio.Future[Conflicts]
    conflicts: dict[int, CarouselError] = field(default_factory=dict)  # by row: why it is not written
    waiting: int = 1  # parts whose outcome is unknown, and the one that is being sent
    written: list[tuple[_Part, Group]] = field(default_factory=list)


class _Part(NamedTuple):
    """Groups of a commit that are sent to one server by one command."""

    commit: _Commit
    owner: Owner
    name: bytes  # of the owner, as the fences have it
    groups: list[Group]

    def each(self) -> Iterator[tuple[Group, int]]:
        """Yield group and place in it of each operation, as the server numbers them."""
        return ((group, place) for group in self.groups for place in range(len(group.rows)))

    def all(self, error: CarouselError) -> dict[int, CarouselError]:
        """Give all operations one error."""
        return dict.fromkeys(range(sum(len(group.rows) for group in self.groups)), error)


class Writer:
    """Invariant: a session has one commit under way at most, and does not run before it is known what it came to."""

    def __init__(
        self,
        owners: Sequence[Owner],
        lose: Callable[[bytes], None],
        *,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Call `lose` with sessions of another owner, or whose outcome is unknown after `timeout` seconds."""
        self._owners, self._lose, self._timeout, self._monotonic = owners, lose, timeout, clock
        self._settling: set[asyncio.Task[None]] = set()

    def commit(self, book: Book, changes: Sequence[Change]) -> asyncio.Future[Conflicts]:
        """See Store."""
        if not any(one.link.up for one in self._owners):
            raise StoreUnavailable("the session store cannot be reached")
        commit = _Commit(book, isinstance(changes[0], Copied), asyncio.get_running_loop().create_future())
        together: dict[int, list[Group]] = {}
        apart = all(isinstance(one, Advanced) for one in changes)  # what is of one session is in one group
        for group in book.operations(changes, self._monotonic()):
            for place, some in self._split(commit, group):
                if apart:
                    self._send(commit, self._owners[place], [some])
                else:
                    together.setdefault(place, []).append(some)
        for place, groups in together.items():
            self._send(commit, self._owners[place], groups)
        self._end(commit)
        return commit.answer

    def _send(self, commit: _Commit, owner: Owner, groups: list[Group]) -> None:
        part = _Part(commit, owner, owner.name, groups)
        commit.waiting += 1
        try:
            asked = owner.commit(groups, whole=commit.whole)
        except StoreUnavailable as error:
            self._close(part, part.all(error))
        else:
            asked.add_done_callback(partial(self._heard, part))

    def _split(self, commit: _Commit, group: Group) -> Iterator[tuple[int, Group]]:
        """Split a group by server; leave out sessions that are lost."""
        book, rows = commit.book, group.rows
        lost = book.lost[rows]
        if len(self._owners) == 1 and not lost.any():
            yield 0, group
            return
        for place in np.flatnonzero(lost).tolist():
            commit.conflicts[rows[place]] = SessionMoved(id_of(group.keys[place]))
        servers = np.where(lost, -1, book.place[rows])
        for server in np.unique(servers[~lost]).tolist():
            yield server, group.pick(np.flatnonzero(servers == server).tolist())

    async def settled(self) -> None:
        """Return when it is known what became of all commits."""
        while self._settling:
            await asyncio.wait(self._settling)

    def _heard(self, part: _Part, asked: asyncio.Future[list[Any]]) -> None:
        """Handle the answer to a part, or the loss of its connection."""
        error = asked.exception()
        if error is None:
            told = asked.result()
            refused = dict(zip(told[::2], told[1::2], strict=True))
            errors: dict[int, CarouselError] = {place: _refusal(part, place, now) for place, now in refused.items()}
            self._close(part, part.all(next(iter(errors.values()))) if errors and part.commit.whole else errors)
        elif isinstance(error, FencedError):
            self._later(self._disowned(part))
        elif isinstance(error, LostError):
            self._later(self._settle(part))
        else:
            assert isinstance(error, StoreUnavailable)
            self._close(part, part.all(error))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _disowned(self, part: _Part) -> None:
        """This owner was fenced, so nothing of a commit was written: it is asked again under a new name."""
        await part.owner.renew()
        moved = [SessionMoved(id_of(group.keys[place])) for group, place in part.each()]
        self._close(part, dict(enumerate(moved)))

    async def _settle(self, part: _Part) -> None:
        """Read back what became of a commit. What the lost connection left on its way is refused from now on."""
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._read_back(part)
        except TimeoutError:
            self._close(part, part.all(CommitUnknown()))
            return
        errors: dict[int, CarouselError] = {}
        births = part.commit.book.engine.table.birth
        for number, ((group, place), (now, before, birth)) in enumerate(zip(part.each(), found, strict=True)):
            old, new = group.fences(place)
            same = birth == births.item(group.rows[place])
            if new in (now, before) or (same and old == ABSENT):
                continue
            if old == (now or ABSENT):
                errors[number] = _untaken()
            elif not same:  # there is none, or another one of this id
                errors[number] = _refusal(part, number, b"")
            elif old == before:
                errors[number] = _refusal(part, number, now)
            else:  # it was taken twice, or written whole since: nothing tells what it was taken at
                errors[number] = CommitUnknown()
        self._close(part, errors)

    @staticmethod
    async def _read_back(part: _Part) -> list[Stands]:
        """How each session stands."""
        link, keys = part.owner.link, [group.keys[place] for group, place in part.each()]
        while True:
            await link.risen()
            try:
                told = await asyncio.gather(*(link.ask("HMGET", key, *STANDS) for key in keys))
                return [stands(*fields) for fields in told]
            except LostError:
                continue
            except StoreUnavailable:
                await asyncio.sleep(0.01)

    def _close(self, part: _Part, errors: Mapping[int, CarouselError]) -> None:
        """Settle a part: operations with an error, by number, are not written; all others are."""
        commit, number = part.commit, 0
        for group in part.groups:
            written = group
            if errors:
                good = [place for place in range(len(group.rows)) if number + place not in errors]
                for place, row in enumerate(group.rows):
                    if number + place in errors and row not in commit.conflicts:
                        self._fail(commit, row, group.fences(place)[0], errors[number + place])
                number += len(group.rows)
                written = group.pick(good)
            if written.rows:
                commit.book.written(written)
                commit.written.append((part, written))
        self._end(commit)

    def _end(self, commit: _Commit) -> None:
        """Count a part as settled; answer the commit after the last one."""
        commit.waiting -= 1
        if commit.waiting:
            return
        if commit.whole and commit.conflicts and commit.written:
            self._later(self._undo(commit))
        else:
            commit.answer.set_result(commit.conflicts)
            asyncio.get_running_loop().call_soon(self._told, commit)

    def _told(self, commit: _Commit) -> None:
        """Drop what was written under a name that this owner has no more, now that openings and migrations are told."""
        for part, group in commit.written:
            if part.name != part.owner.name:
                for key in group.keys:
                    self._lose(key)

    def _fail(self, commit: _Commit, row: int, old: bytes, error: CarouselError) -> None:
        """Note why an operation is not written; drop a session that has another fence or an unknown one."""
        commit.conflicts[row] = error
        if old == ABSENT:
            commit.book.forget(row)
        elif isinstance(error, SessionMoved | SessionNotFound | CommitUnknown) and (key := commit.book.keys[row]):
            self._lose(key)

    async def _undo(self, commit: _Commit) -> None:
        """Delete the copies that some servers of a cluster wrote, since another server refused its part."""
        for part, group in commit.written:
            gone = grouped(ended(key, group.fences(place)[1]) for place, key in enumerate(group.keys))
            try:
                await part.owner.commit(gone)
            except (LostError, StoreUnavailable) as error:
                _log.error("copies that were not told are left in the session store: %s", error or "connection lost")
            for row in group.rows:
                self._fail(commit, row, ABSENT, _untaken())
        commit.answer.set_result(commit.conflicts)


def _untaken() -> StoreUnavailable:
    return StoreUnavailable("the session store did not take the call")


def _refusal(part: _Part, number: int, now: bytes) -> CarouselError:
    """Tell why an operation was refused. `now` is the fence of its session; empty: there is no session."""
    group, place = next(islice(part.each(), number, None))
    id = id_of(group.keys[place])
    if group.fences(place)[0] == ABSENT:
        return SessionExists(f"session {id!r} exists")
    return SessionMoved(id) if now else SessionNotFound(f"no session {id!r}")
