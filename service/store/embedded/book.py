"""The sessions of one engine as the store knows them: their numbers, and which are not in their records yet.

It turns changes into entries and rows into records. It knows the engine's table; not files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import orjson

from service.store.columns import Columns
from service.store.embedded import entries
from service.store.embedded.record import Ended, Kept, Record, pack
from service.store.kind import flat
from service.store.store import Advanced, Change, Copied, Deleted, Moved, Replaced, Snapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.engine.engine import Engine
    from service.models.model import Index
    from service.sessions.snapshots import Snapshot

_LATE = 0.1  # of its TTL that the stored deadline of a session may be behind


class Book(Columns[str]):
    """Columns by table row. Invariant: a row is dirty if `changed` is beyond `written`."""

    _KINDS: ClassVar = {"i8": "changed written epoch", "f8": "noted"}

    changed: Index  # position of the newest entry; 0: none is written
    written: Index  # position that the record has; 0: there is none
    noted: NDArray[np.float64]  # the deadline that the journal or the record tells
    epoch: Index  # how often the session went from one worker to another

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, "")
        self.model = self.kind.file
        self._exact = engine.fitness.bit_equal
        self._seen = 0  # the newest position that `touched` has looked at

    # Entries.

    def entry(self, changes: Sequence[Change]) -> tuple[bytes, bytes]:
        """Body and numbers of an entry."""
        if self._capacity < self._table.capacity:
            self._grow()
        body = [self._change(one) for one in changes]
        numbers = [self._table.birth[_rows(one)].tobytes() for one in changes]
        return (body[0], numbers[0]) if len(changes) == 1 else (b"".join(body), b"".join(numbers))

    def committed(self, changes: Sequence[Change], position: int) -> list[Ended]:
        """Changes are in the journal, and are about to be applied → sessions that ended."""
        ended = []
        for one in changes:
            if isinstance(one, Deleted):
                ended.append(self.forget(one.row))
            else:
                self.changed[_rows(one)] = position
        return ended

    def forget(self, row: int, until: float = 0.0) -> Ended:
        """A session is no more; its id is told as expired until then."""
        ended = Ended(self._table.birth.item(row), self.keys[row], until)
        self._clear(row)
        return ended

    def adopt(self, rows: Index, records: Sequence[Record], written: Sequence[int]) -> None:
        """Sessions were recovered into these rows. `written` are the positions of their records in the store."""
        self.fit()
        self.written[rows], self.noted[rows] = written, self._table.deadline[rows]
        for row, record in zip(rows.tolist(), records, strict=True):
            self.keys[row], self.epoch[row], self.changed[row] = record.id, record.epoch, record.position

    def _change(self, one: Change) -> bytes:
        if isinstance(one, Advanced):
            count, state, outputs = len(one.rows), None, None
            if not self._exact:
                state, outputs = None if one.state is None else flat(one.state, count), one.outputs
            return entries.change(entries.ADVANCED, count, one.starts, one.lengths, one.inputs, outputs, state)
        if isinstance(one, Deleted):
            return entries.change(entries.DELETED, 1)
        state = None if one.state is None else flat(one.state, 1)
        if isinstance(one, Moved):
            self.keys[one.row] = one.id
            return entries.change(entries.REPLACED, 1, starts=np.array([one.step]), state=state, rest=self.encoded)
        if isinstance(one, Replaced | Snapped):
            kind = entries.REPLACED if isinstance(one, Replaced) else entries.SNAPPED
            return entries.change(kind, 1, starts=np.array([one.step]), state=state)
        rows, ids = (one.rows.tolist(), one.ids) if isinstance(one, Copied) else ([one.row], [one.id])
        for row, id in zip(rows, ids, strict=True):
            self.keys[row] = id
        kind = entries.COPIED if isinstance(one, Copied) else entries.OPENED
        rule = self.engine.rewinds.rule(rows[0])
        rest = orjson.dumps([one.ttl, rule and tuple(rule), *ids]) + b"\n" + self.encoded
        return entries.change(kind, len(ids), starts=np.full(len(ids), one.step), state=state, rest=rest)

    # Records.

    def dirty(self) -> Index:
        """Rows whose records are behind."""
        return np.flatnonzero(self.changed > self.written)

    def records(self, rows: Index, offset: float) -> tuple[list[Record], list[tuple[str, int]], list[Snapshot]]:
        """Records of rows [N], ids and numbers of those that have none yet, and snapshots to write.

        `offset` is between the clock of the table's deadlines and that of the store.
        """
        table, rewinds = self._table, self.engine.rewinds
        words, long = self.engine.answers.record(rows)
        state = flat(table.gather(rows), len(rows))
        numbers = np.concatenate([state.view(np.uint32), words.reshape(len(rows), -1)], axis=1)
        told = table.birth, self.changed, table.step, table.deadline, table.ttl, self.epoch
        stands = zip(rows.tolist(), *(column[rows].tolist() for column in told), strict=True)
        records = [
            Record(
                number,
                self.keys[row],
                position,
                step,
                deadline + offset,
                ttl,
                self.encoded,
                numbers[place].tobytes(),
                pack(long[place]) if place in long else b"",
                rewinds.rule(row),
                [_kept(one) for one in rewinds.of(row)],
                epoch,
            )
            for place, (row, number, position, step, deadline, ttl, epoch) in enumerate(stands)
        ]
        fresh = [(self.keys[row], self._table.birth.item(row)) for row in rows[self.written[rows] == 0].tolist()]
        self.noted[rows] = table.deadline[rows]
        return records, fresh, [one for row in rewinds.rows.keys() & set(rows.tolist()) for one in rewinds.of(row)]

    def touched(self, position: int) -> Index:
        """Rows whose idle clock was restarted without an entry, by more than a tenth of their TTL.

        `position` is that of the newest entry that is applied.
        """
        count = self._capacity
        deadline, fresh = self._table.deadline[:count], self.changed > self._seen
        self.noted[fresh] = deadline[fresh]
        self._seen = position
        rows = np.flatnonzero((deadline - self.noted > _LATE * self._table.ttl[:count]) & (self.changed > 0))
        self.noted[rows] = deadline[rows]
        self._again(rows)
        return rows

    def _again(self, rows: Index) -> None:
        """Records of rows are to tell a later deadline."""
        self.written[rows] = np.minimum(self.written[rows], self.changed[rows] - 1)

    def idle(self, most: int) -> Index:
        """Rows of sessions that are as their records have them, least recently called first; at most so many."""
        table, count = self._table, self._capacity
        late = table.deadline[:count] > self.noted
        self._again(np.flatnonzero(late & (self.changed > 0)))
        rows, _ = self._idle((self.changed > 0) & (self.changed <= self.written), most)
        return rows

    def rests(self, row: int) -> bool:
        """Whether a session is as its record has it, and nothing waits on it."""
        table, changed = self._table, self.changed.item(row)
        return 0 < changed <= self.written.item(row) and not (table.last.item(row) or table.waiting.item(row))


def _rows(one: Change) -> Index | slice:
    return one.rows if isinstance(one, Advanced | Copied) else slice(one.row, one.row + 1)


def _kept(one: Snapshot) -> Kept:
    return Kept(one.step, b"" if one.stored else flat(one.state, 1).tobytes(), one.stored)
