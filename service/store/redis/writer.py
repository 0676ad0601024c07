"""Commits to the server, and what became of them: written, refused, or read back after the connection was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from service.errors import CarouselError, CommitUnknown, SessionExists, SessionMoved, SessionNotFound, StoreUnavailable
from service.store.redis.link import FencedError, Link, LostError
from service.store.redis.owner import OWNERS, Owner
from service.store.redis.records import FENCE, Operation, id_of
from service.store.store import Copied

if TYPE_CHECKING:
    from service.store.redis.book import Book
    from service.store.store import Change, Conflicts


class _Commit(NamedTuple):
    """A commit that is under way."""

    book: Book
    operations: list[Operation]
    moved: dict[int, CarouselError]  # by row: why it is not written
    answer: asyncio.Future[Conflicts]


class Writer:
    """Invariant: a session has one commit under way at most, and does not run before it is known what it came to."""

    def __init__(
        self,
        link: Link,
        owner: Owner,
        lose: Callable[[Book, int], None],
        renew: Callable[[], Awaitable[None]],
        *,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lose` is told of sessions that are not ours any more, or of which nobody knows within `patience` seconds.

        `renew` renews the lease, under another name if this owner was fenced.
        """
        self._link, self._owner, self._lose, self._patience, self._monotonic = link, owner, lose, patience, clock
        self._renew = renew
        self._settling: set[asyncio.Task[None]] = set()
        self.sha = b""  # of COMMIT

    def commit(self, book: Book, changes: Sequence[Change]) -> asyncio.Future[Conflicts]:
        """See Store."""
        if not self._link.up:
            raise StoreUnavailable("the session store cannot be reached")
        found = book.operations(changes, self._monotonic())
        moved: dict[int, CarouselError] = {row: SessionMoved(id_of(found[row].key)) for row in found if book.lost[row]}
        operations = [one for row, one in found.items() if row not in moved]
        commit = _Commit(book, operations, moved, asyncio.get_running_loop().create_future())
        if operations:
            whole = isinstance(changes[0], Copied)
            asked = self._link.ask(*self.command(operations, whole=whole))
            asked.add_done_callback(partial(self._heard, commit, whole))
        else:
            commit.answer.set_result(moved)
        return commit.answer

    def command(self, operations: Iterable[Operation], *, whole: bool = False) -> tuple[bytes | int | str, ...]:
        """The command that writes sessions, and tells which have another fence than they should.

        `whole`: none is written if one of them has.
        """
        content = b"".join([part for one in operations for part in one.encode()])
        return "EVALSHA", self.sha, 1, OWNERS, self._owner.name, self._owner.generation, content, int(whole)

    def fence(self, epoch: int, step: int) -> bytes:
        """The fence of a session of this process."""
        return FENCE.pack(self._owner.name, epoch, step)

    async def settled(self) -> None:
        """Return when it is known what became of all commits."""
        if self._settling:
            await asyncio.wait(self._settling)

    def _heard(self, commit: _Commit, whole: bool, asked: asyncio.Future[Any]) -> None:
        """A commit was answered, or the connection was lost."""
        error, book = asked.exception(), commit.book
        if error is None:
            told = iter(asked.result())
            refused = {commit.operations[place].row: next(told) for place in told}
            if refused and whole:
                self._withdraw(commit, [one for one in commit.operations if one.row not in refused])
            self._close_commit(commit, refused)
        elif isinstance(error, FencedError):
            self._later(self._disowned(commit))
        elif isinstance(error, LostError):
            self._later(self._settle(commit))
        else:
            for one in commit.operations:
                book.refused(one)
            commit.answer.set_exception(error)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _disowned(self, commit: _Commit) -> None:
        """This owner was fenced, so nothing of a commit was written: it is asked again under a new name."""
        await self._renew()
        for one in commit.operations:
            commit.moved[one.row] = SessionMoved(id_of(one.key))
            commit.book.refused(one)
        commit.answer.set_result(commit.moved)

    async def _settle(self, commit: _Commit) -> None:
        """Read back what became of a commit. What the lost connection left on its way is refused from now on."""
        try:
            async with asyncio.timeout(self._patience):
                fences = await self._read_back(commit.operations)
        except TimeoutError:
            for one in commit.operations:
                commit.moved[one.row] = CommitUnknown()
                self._lose(commit.book, one.row)
            commit.answer.set_result(commit.moved)
            return
        told = list(zip(commit.operations, fences, strict=True))
        self._withdraw(commit, [one for one, now in told if now == one.old != one.new])
        self._close_commit(commit, {one.row: now for one, now in told if now not in (one.old, one.new)})

    async def _read_back(self, operations: list[Operation]) -> list[bytes]:
        while True:
            await self._link.risen()
            try:
                asked = [self._link.ask("HGET", one.key, b"fence") for one in operations]
                return [told or b"" for told in await asyncio.gather(*asked)]
            except LostError:
                continue
            except StoreUnavailable:
                await asyncio.sleep(0.01)

    @staticmethod
    def _withdraw(commit: _Commit, operations: Iterable[Operation]) -> None:
        """Operations of a commit were not carried out, and their sessions stand as they stood."""
        for one in operations:
            commit.moved[one.row] = StoreUnavailable("the session store did not take the call")
            commit.book.refused(one)

    def _close_commit(self, commit: _Commit, refused: dict[int, bytes]) -> None:
        """Some operations were refused, by row with the fences that their sessions have; the others are written."""
        out = refused.keys() | commit.moved.keys()
        commit.book.written([one for one in commit.operations if one.row not in out] if out else commit.operations)
        conflicts: dict[int, CarouselError] = {}
        for one in commit.operations if refused else ():
            if one.row not in refused:
                continue
            id = id_of(one.key)
            if not one.old:
                conflicts[one.row] = SessionExists(f"session {id!r} exists")
                commit.book.refused(one)
            else:
                conflicts[one.row] = SessionMoved(id) if refused[one.row] else SessionNotFound(f"no session {id!r}")
                self._lose(commit.book, one.row)
        commit.answer.set_result(conflicts | commit.moved)
