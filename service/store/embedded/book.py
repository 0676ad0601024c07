"""The sessions of one engine as the store knows them: their numbers, and which are not in their records yet.

It turns changes into entries and rows into records. It knows the engine's table; not files.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from service.sessions.replay import LongAnswer
from service.store.embedded import entries
from service.store.embedded.entries import Numbers, flat
from service.store.embedded.records import Ended, Kept, Record
from service.store.store import Advanced, Change, Copied, Deleted, Opened, Replaced, Snapped

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.model import Array, Index
    from service.sessions.rewinds import Snapshot

IN_RECORD = 1  # position of a session that is as its record has it since before this process
_LONG = struct.Struct("<IQQQI")  # back, start, digest, time steps
_LATE = 0.1  # of its TTL that the stored deadline of a session may be behind


class Kind(NamedTuple):
    """What all sessions of an engine have in common. `shapes` are those of the states, in order."""

    model: str
    version: str
    digest: str
    shapes: dict[str, Sequence[int]]
    outputs: int

    def encode(self) -> bytes:
        """The bytes that `Kind(**orjson.loads(…))` reads."""
        return orjson.dumps(self._asdict())


class Book:
    """Columns by table row. Invariant: a row is dirty if `changed` is beyond `written`; columns of a free row are 0."""

    numbers: Numbers  # of the sessions
    changed: Index  # position of the newest entry
    written: Index  # position that the record has; 0: there is none
    noted: NDArray[np.float64]  # the deadline that the journal or the record tells

    def __init__(self, engine: Engine, number: Callable[[], int]) -> None:
        self.engine, self._table, self._number = engine, engine.table, number
        self.kind = Kind(
            engine.name,
            engine.version,
            engine.digest,
            {name: array.shape[1:] for name, array in engine.table.state.items()},
            engine.model.outputs,
        )
        self.model = bytes.fromhex(engine.digest)[:8].ljust(8, b"\0")
        self._exact = engine.fitness.bit_equal
        self._encoded = self.kind.encode()
        self._ids: list[str] = []
        self._seen = 0  # the newest position that `touched` has looked at
        self._capacity = 0
        self._grow()

    # Entries.

    def entry(self, changes: Sequence[Change]) -> tuple[bytes, bytes]:
        """Body and numbers of an entry. A session that opens gets its number here."""
        if self._capacity < self._table.capacity:
            self._grow()
        body = [self._change(one) for one in changes]
        numbers = [self.numbers[_rows(one)].tobytes() for one in changes]
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

    def refused(self, changes: Sequence[Change]) -> None:
        """Changes are not in the journal."""
        for one in changes:
            if isinstance(one, Opened | Copied):
                for row in np.arange(self._capacity)[_rows(one)].tolist():
                    self.forget(row)

    def forget(self, row: int, until: float = 0.0) -> Ended:
        """A session is no more; its id is told as expired until then."""
        ended = Ended(self.numbers.item(row), self._ids[row], until)
        self.numbers[row] = self.changed[row] = self.written[row] = 0
        self.noted[row], self._ids[row] = 0.0, ""
        return ended

    def adopt(self, rows: Index, records: Sequence[Record], changed: Index, written: Index) -> None:
        """Sessions were recovered into these rows."""
        if self._capacity < self._table.capacity:
            self._grow()
        self.numbers[rows] = [record.number for record in records]
        self.changed[rows], self.written[rows], self.noted[rows] = changed, written, self._table.deadline[rows]
        for row, record in zip(rows.tolist(), records, strict=True):
            self._ids[row] = record.id

    def _change(self, one: Change) -> bytes:
        if isinstance(one, Advanced):
            count, state = len(one.rows), None
            if not self._exact and one.state is not None:
                state = flat(one.state, count)
            return entries.change(
                entries.ADVANCED,
                count,
                starts=one.starts,
                lengths=one.lengths,
                inputs=one.inputs,
                outputs=None if self._exact else one.outputs,
                state=state,
            )
        if isinstance(one, Deleted):
            return entries.change(entries.DELETED, 1)
        state = None if one.state is None else flat(one.state, 1)
        if isinstance(one, Replaced | Snapped):
            kind = entries.REPLACED if isinstance(one, Replaced) else entries.SNAPPED
            return entries.change(kind, 1, starts=np.array([one.step]), state=state)
        ids = one.ids if isinstance(one, Copied) else [one.id]
        rows = np.arange(self._capacity)[_rows(one)]
        self.numbers[rows] = [self._number() for _ in ids]
        for row, id in zip(rows.tolist(), ids, strict=True):
            self._ids[row] = id
        kind = entries.COPIED if isinstance(one, Copied) else entries.OPENED
        rule = self.engine.rewinds.rule(rows.item(0))
        rest = orjson.dumps([one.ttl, rule and tuple(rule), *ids]) + b"\n" + self._encoded
        return entries.change(kind, len(ids), starts=np.full(len(ids), one.step), state=state, rest=rest)

    # Records.

    def dirty(self) -> Index:
        """Rows whose records are behind."""
        return np.flatnonzero(self.changed > self.written)

    def records(
        self, rows: Index, position: int, offset: float
    ) -> tuple[list[Record], list[tuple[str, int]], list[Snapshot]]:
        """Records of rows [N] behind an entry, ids and numbers of those that have none yet, and snapshots to write.

        `offset` is between the clock of the table's deadlines and that of the store.
        """
        table, rewinds = self._table, self.engine.rewinds
        words, long = self.engine.answers.record(rows)
        state = flat(table.gather(rows), len(rows))
        numbers = np.concatenate([state.view(np.uint32), words.reshape(len(rows), -1)], axis=1)
        stands = zip(
            rows.tolist(),
            self.numbers[rows].tolist(),
            table.step[rows].tolist(),
            (table.deadline[rows] + offset).tolist(),
            table.ttl[rows].tolist(),
            strict=True,
        )
        records = [
            Record(
                number,
                self._ids[row],
                position,
                step,
                deadline,
                ttl,
                self._encoded,
                numbers[place].tobytes(),
                _pack(long[place]) if place in long else b"",
                rule=rewinds.rule(row),
                snapshots=[_kept(one) for one in rewinds.of(row)],
            )
            for place, (row, number, step, deadline, ttl) in enumerate(stands)
        ]
        fresh = [(self._ids[row], self.numbers.item(row)) for row in rows[self.written[rows] == 0].tolist()]
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
        rows = np.flatnonzero((deadline - self.noted > _LATE * self._table.ttl[:count]) & (self.numbers > 0))
        self.noted[rows] = deadline[rows]
        return rows

    def _grow(self) -> None:
        capacity = self._table.capacity

        def wider(name: str, kind: Any) -> None:
            grown = np.zeros(capacity, kind)
            if self._capacity:
                grown[: self._capacity] = getattr(self, name)
            setattr(self, name, grown)

        for name, kind in (("numbers", np.uint64), ("changed", np.int64), ("written", np.int64), ("noted", float)):
            wider(name, kind)
        self._ids += [""] * (capacity - self._capacity)
        self._capacity = capacity


def _rows(one: Change) -> Index | slice:
    return one.rows if isinstance(one, Advanced | Copied) else slice(one.row, one.row + 1)


def _kept(one: Snapshot) -> Kept:
    return Kept(one.step, b"" if one.stored else flat(one.state, 1).tobytes(), one.stored)


def _pack(answers: Sequence[LongAnswer]) -> bytes:
    return b"".join(
        _LONG.pack(one.back, one.start, *one.digest, len(one.outputs)) + one.outputs.tobytes() for one in answers
    )


def unpack(long: bytes, width: int) -> list[LongAnswer]:
    """The longer kept answers of a record, whose outputs have so many numbers a step."""
    answers, at = [], 0
    while at < len(long):
        back, start, one, other, steps = _LONG.unpack_from(long, at)
        outputs: Array = np.frombuffer(long, np.float32, steps * width, at + _LONG.size).reshape(steps, width)
        answers.append(LongAnswer(back, start, (one, other), outputs))
        at += _LONG.size + outputs.nbytes
    return answers
