"""Recovered sessions are given back to the table of their engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from service.sessions.rewinds import Snapshot
from service.store.embedded.book import IN_RECORD, Book, unpack
from service.store.embedded.entries import shaped

if TYPE_CHECKING:
    from service.models.model import Index
    from service.sessions.sessions import Sessions
    from service.store.embedded.records import Kept
    from service.store.embedded.recovery import Replayed

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


def _place(found: Replayed, part: slice, book: Book, sessions: Sessions, now: float) -> Index:
    records, engine = found.records[part], book.engine
    deadlines = found.deadlines[part]
    rows = np.array(
        [
            sessions.restore(record.id, engine, record.ttl, deadline - now, record.rule).row
            for record, deadline in zip(records, deadlines, strict=True)
        ]
    )
    table, width, outputs = engine.table, found.state.shape[1], engine.model.outputs
    table.step[rows] = table.ahead[rows] = found.steps[part]
    table.scatter(rows, shaped(found.state[part], book.kind.shapes))
    longest = max(len(record.numbers) for record in records) // 4 - width
    words = np.zeros((len(records), longest), np.uint32)
    for index, record in enumerate(records):
        mine = np.frombuffer(record.numbers, np.uint32)[width:]
        words[index, : len(mine)] = mine
    long = {index: unpack(record.long, outputs) for index, record in enumerate(records) if record.long}
    engine.answers.restore(rows, words.reshape(len(records), longest // (4 + outputs), 4 + outputs), long)
    for row, record, kept in zip(rows.tolist(), records, found.snapshots[part], strict=True):
        engine.rewinds.follow(row, record.rule, (_snapshot(one, book) for one in kept))
    changed = np.where(found.behind[part], IN_RECORD + 1, IN_RECORD)
    book.adopt(rows, records, changed, np.where(found.stored[part], IN_RECORD, 0))
    return rows


def _snapshot(one: Kept, book: Book) -> Snapshot:
    numbers = np.frombuffer(one.state, np.float32)[None]
    return Snapshot(one.step, shaped(numbers, book.kind.shapes), one.stored)
