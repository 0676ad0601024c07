"""Recovered sessions are given back to the table of their engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from service.sessions.session import Session
from service.sessions.snapshots import Snapshot
from service.store.embedded.record import unpack
from service.store.embedded.replaying import Replayed
from service.store.kind import shaped

if TYPE_CHECKING:
    from service.models.model import Index
    from service.sessions.sessions import Sessions
    from service.store.embedded.book import Book
    from service.store.embedded.record import Kept, Record

_SLICE = 2_000  # sessions in one turn of the loop: 10 ms


async def place(found: Replayed, book: Book, sessions: Sessions, seconds: Callable[[], float]) -> None:
    """Make rows of recovered sessions, which are visible once all of them are there."""
    rows = np.zeros(len(found.records), np.int64)
    for first in range(0, len(rows), _SLICE):
        part = slice(first, first + _SLICE)
        rows[part] = _place(found, part, book, sessions, seconds())
        await asyncio.sleep(0)
    answers = book.engine.answers
    for kept in found.kept:
        if all(len(one) == 1 for one in kept.outputs):
            answers.keep(rows[kept.places], kept.starts, kept.digests, np.concatenate(kept.outputs))
        else:
            answers.keep_long(rows[kept.places], kept.starts, kept.digests, kept.outputs)
    sessions.restored([record.id for record in found.records])


def place_one(
    record: Record, kept: Sequence[Kept], book: Book, sessions: Sessions, now: float, *, stored: bool = True
) -> Session:
    """A session that is brought back from its record, which is `stored` as it is."""
    width = sum(array[0].size for array in book.engine.table.state.values())
    state, there = np.frombuffer(record.numbers, np.float32, width)[None], np.array([stored])
    found = Replayed(
        *([record], np.array([record.step]), state, [record.deadline], ~there, there),
        *(0, [], [list(kept)], record.position),
    )
    (row,) = _place(found, slice(0, 1), book, sessions, now).tolist()
    sessions.restored([record.id])
    return Session(record.id, book.engine, row, record.number)


def _place(found: Replayed, part: slice, book: Book, sessions: Sessions, now: float) -> Index:
    records, engine = found.records[part], book.engine
    ahead = sessions.now() - now  # of the store's clock
    rows = sessions.restore_all(
        *(engine, [record.id for record in records]),
        rules=[record.rule for record in records],
        births=[record.number for record in records],
        ttls=[record.ttl for record in records],
        steps=found.steps[part].tolist(),
        deadlines=[deadline + ahead for deadline in found.deadlines[part]],
    )
    positions = np.array([record.position for record in records])
    changed = np.where(found.behind[part], found.position, positions)
    book.adopt(rows, records, changed, np.where(found.stored[part], positions, 0))
    if engine.refusal is None:
        _fill(found, part, book, rows)
    return rows


def _fill(found: Replayed, part: slice, book: Book, rows: Index) -> None:
    """Write states, kept answers and snapshots of sessions to the rows that they have now."""
    records, engine, width, outputs = found.records[part], book.engine, found.state.shape[1], book.engine.model.outputs
    engine.table.scatter(rows, shaped(found.state[part], book.kind.shapes))
    longest = max(len(record.numbers) for record in records) // 4 - width
    words = np.zeros((len(records), longest), np.uint32)
    for index, record in enumerate(records) if longest else ():
        mine = np.frombuffer(record.numbers, np.uint32)[width:]
        words[index, : len(mine)] = mine
    long = {index: unpack(record.long, outputs) for index, record in enumerate(records) if record.long}
    engine.answers.restore(rows, words.reshape(len(records), longest // (4 + outputs), 4 + outputs), long)
    for row, record, kept in zip(rows.tolist(), records, found.snapshots[part], strict=True):
        if record.rule is not None:
            engine.rewinds.follow(row, record.rule, (_snapshot(one, book) for one in kept))


def _snapshot(one: Kept, book: Book) -> Snapshot:
    numbers = np.frombuffer(one.state, np.float32)[None]
    return Snapshot(one.step, shaped(numbers, book.kind.shapes), one.stored)
