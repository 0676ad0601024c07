"""Recovered sessions are given back to the table of their engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from service.sessions.session import Session
from service.sessions.snapshots import Snapshot
from service.store.embedded.record import unpack
from service.store.kind import shaped

if TYPE_CHECKING:
    from service.models.model import Index
    from service.sessions.sessions import Sessions
    from service.store.embedded.book import Book
    from service.store.embedded.record import Kept, Record
    from service.store.embedded.replaying import Replayed
    from service.store.kind import Kind

_SLICE = 2_000  # sessions in one turn of the loop: 10 ms


async def place(found: Replayed, book: Book, sessions: Sessions, seconds: Callable[[], float]) -> None:
    """Make rows of recovered sessions, which are visible once all of them are there."""
    rows = np.zeros(len(found.records), np.int64)
    for first in range(0, len(rows), _SLICE):
        part = slice(first, first + _SLICE)
        rows[part] = _place(found.records[part], found.written[part], book, sessions, seconds())
        await asyncio.sleep(0)
    answers = book.engine.answers
    for kept in found.answers:
        if all(len(one) == 1 for one in kept.outputs):
            answers.keep(rows[kept.places], kept.starts, kept.digests, np.concatenate(kept.outputs))
        else:
            answers.keep_long(rows[kept.places], kept.starts, kept.digests, kept.outputs)
    sessions.restored([record.id for record in found.records])


def place_one(record: Record, book: Book, sessions: Sessions, now: float, *, stored: bool = True) -> Session:
    """A session that is brought back from its record with its snapshots; the store has them as they are if `stored`."""
    (row,) = _place([record], [record.position if stored else 0], book, sessions, now).tolist()
    sessions.restored([record.id])
    return Session(record.id, book.engine, row, record.number)


def _place(records: Sequence[Record], written: Sequence[int], book: Book, sessions: Sessions, now: float) -> Index:
    ahead = sessions.now() - now  # of the store's clock
    rows = sessions.restore_all(
        *(book.engine, [record.id for record in records]),
        rules=[record.rule for record in records],
        births=[record.number for record in records],
        ttls=[record.ttl for record in records],
        steps=[record.step for record in records],
        deadlines=[record.deadline + ahead for record in records],
    )
    book.adopt(rows, records, written)
    if book.engine.refusal is None:
        _fill(records, book, rows)
    return rows


def _fill(records: Sequence[Record], book: Book, rows: Index) -> None:
    """Write states, kept answers and snapshots of sessions to the rows that they have now."""
    engine, kind, width = book.engine, book.kind, 4 * book.kind.width
    state = np.frombuffer(b"".join([record.numbers[:width] for record in records]), np.float32)
    engine.table.scatter(rows, shaped(state.reshape(len(records), -1), kind.shapes))
    longest = (max(len(record.numbers) for record in records) - width) // 4
    words = np.zeros((len(records), longest), np.uint32)
    for index, record in enumerate(records) if longest else ():
        mine = np.frombuffer(record.numbers, np.uint32)[width // 4 :]
        words[index, : len(mine)] = mine
    long = {index: unpack(record.long, kind.outputs) for index, record in enumerate(records) if record.long}
    engine.answers.restore(rows, words.reshape(len(records), longest // (4 + kind.outputs), 4 + kind.outputs), long)
    for row, record in zip(rows.tolist(), records, strict=True):
        if record.rule is not None:
            engine.rewinds.follow(row, record.rule, (_snapshot(one, kind) for one in record.snapshots or ()))


def _snapshot(one: Kept, kind: Kind) -> Snapshot:
    numbers = np.frombuffer(one.state, np.float32)[None]
    return Snapshot(one.step, shaped(numbers, kind.shapes), one.stored)
