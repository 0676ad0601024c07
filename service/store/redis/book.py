"""The sessions of one engine as this process owns them: turns changes into operations. Knows the engine's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from service.sessions.digests import Digester
from service.sessions.ring import LongAnswer
from service.store.embedded.entries import flat, shaped
from service.store.embedded.kind import Kind
from service.store.redis.columns import COLUMNS, Columns
from service.store.redis.records import FENCE, Found, Kept, Operation, key_of
from service.store.store import Advanced, Copied, Deleted, Moved, Opened, Replaced, Snapped

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.model import Index, State
    from service.sessions.snapshots import Rule
    from service.store.store import Change

_LATE = 0.1  # of its TTL that a deadline in the store, or in the index, may be behind


class Book(Columns):
    """Turns changes into operations, and sessions that come into rows."""

    def __init__(
        self,
        engine: Engine,
        owner: Callable[[], bytes],
        epoch: Callable[[], int],
        books: Mapping[object, Book],
        *,
        each: int,
        offset: float,
    ) -> None:
        """`each` is how many answers are kept, `offset` how far the store's clock is before that of the table."""
        self._books = books  # of all engines
        super().__init__(engine)
        self._owner, self._epoch = owner, epoch
        self._each, self._offset = each, offset
        self.kind = Kind(
            engine.name,
            engine.version,
            engine.digest,
            {name: array.shape[1:] for name, array in engine.table.state.items()},
            engine.model.outputs,
        )
        self._encoded, self._digester = self.kind.encode(), Digester(engine.model.features)
        self._width = engine.model.outputs

    def operations(self, changes: Sequence[Change], now: float) -> dict[int, Operation]:
        """What changes come to, by row; `now` is the time on the table's clock."""
        self.fit()
        found: dict[int, Operation] = {}
        for one in changes:
            if isinstance(one, Advanced):
                self._advance(one, now, found)
            elif isinstance(one, Deleted):
                found[one.row] = Operation(one.row, self.keys[one.row], self.fence(one.row), clear=True, score=-1.0)
            elif isinstance(one, Snapped):
                rule = self.engine.rewinds.rule(one.row)
                assert rule is not None
                self._snap(found[one.row], rule, one.step, one.state)
            elif isinstance(one, Replaced):
                found[one.row] = self._replace(one, now)
            elif isinstance(one, Moved):
                found[one.left] = self._move(one, now)
            else:
                rows, ids = ([one.row], [one.id]) if isinstance(one, Opened) else (one.rows.tolist(), one.ids)
                for row, id in zip(rows, ids, strict=True):
                    found[row] = self._open(row, id, one, now)
        return found

    def fence(self, row: int) -> bytes:
        """Owner, epoch and step of a session as the store has it."""
        return FENCE.pack(self._owner(), self.epoch.item(row), self._table.step.item(row))

    def written(self, operations: Sequence[Operation]) -> None:
        """Operations are in the store."""
        rows = np.array([one.row for one in operations], np.int64)
        self.count[rows] += np.array([one.answers for one in operations], np.int64)
        for one in operations:
            if one.snapshots:
                self.snapped[one.row] += one.snapshots
            elif not one.new:
                self.forget(one.row)
            elif one.moved is not None:
                one.moved()

    def refused(self, operation: Operation) -> None:
        """An operation is not in the store."""
        if not operation.old:
            self.forget(operation.row)

    def adopt(self, row: int, found: Found, epoch: int) -> None:
        """Put a session that was taken into a row of the table, whose rule for snapshots is there already."""
        self.fit()
        self.keys[row], self.epoch[row] = found.key, epoch
        self.count[row] = found.kept[0].number + 1 if found.kept else 0
        self.noted[row] = self.indexed[row] = found.deadline
        if found.kind.encode() == self._encoded:  # else its model is not there, and it can only be deleted
            rows, state = np.array([row]), np.frombuffer(found.state, np.float32)[None]
            self._table.scatter(rows, shaped(state, self.kind.shapes))
            self._restore(rows, found.kept[: self._each])
            for number, step, kept in found.snapshots:
                self.snapped[row] = number + 1
                self.engine.rewinds.take(row, step, shaped(np.frombuffer(kept, np.float32)[None], self.kind.shapes))

    def _restore(self, rows: Index, kept: Sequence[Kept]) -> None:
        words, long = np.zeros((1, self._each, 4 + self._width), np.uint32), []
        for back, one in enumerate(kept, 1):
            first, second = np.frombuffer(one.digest, np.uint64).tolist()
            if len(one.outputs) == 1:
                words[0, back - 1, :4] = np.array([first ^ one.start + 1, second], np.uint64).view(np.uint32)
                words[0, back - 1, 4:] = one.outputs.view(np.uint32)
            else:
                long.append(LongAnswer(back, one.start, (first, second), one.outputs))
        self.engine.answers.restore(rows, words, {0: long} if long else {})

    @property
    def version(self) -> tuple[str, str]:
        """Model and version of its sessions."""
        return self.kind.model, self.kind.version

    def touched(self) -> list[Operation]:
        """Write the deadlines of sessions whose idle clocks were restarted without a commit."""
        table, count = self._table, self._capacity
        if self.engine.refusal is not None:
            return []
        late = table.deadline[:count] + self._offset - self.noted > _LATE * table.ttl[:count]
        rows = np.flatnonzero(late & (self.epoch > 0) & ~self.lost & (table.last[:count] == 0))
        states = flat(table.gather(rows), len(rows)) if len(rows) else ()
        found = []
        for row, state in zip(rows.tolist(), states, strict=True):
            one = Operation(row, self.keys[row], self.fence(row), self.fence(row))
            self._stand(one, table.deadline.item(row), state.tobytes())
            found.append(one)
        return found

    def _advance(self, one: Advanced, now: float, found: dict[int, Operation]) -> None:
        count, size, rows, table = len(one.rows), self._width * 4, one.rows, self._table
        digests = self._digester.of(one.inputs, one.lengths).tobytes()
        outputs = one.outputs.tobytes()
        stands = zip(rows.tolist(), one.starts.tolist(), one.lengths.tolist(), strict=True)
        columns = zip(self.epoch[rows].tolist(), self.count[rows].tolist(), strict=True)
        owner, each, end, done = self._owner(), self._each, 0, list[Operation]()
        for place, ((row, start, length), (epoch, number)) in enumerate(zip(stands, columns, strict=True)):
            operation = found.get(row)
            if operation is None:
                operation = found[row] = Operation(row, self.keys[row], FENCE.pack(owner, epoch, start))
            begin, end = end, end + size * length
            digest = digests[16 * place : 16 * place + 16]
            operation.put_answer(each, number + operation.answers, start, digest, outputs[begin:end])
            if one.state is not None:
                operation.new = FENCE.pack(owner, epoch, start + length)
                done.append(operation)
        if one.state is None:
            return
        states, ttl = flat(one.state, count).tobytes(), table.ttl[rows]
        width = len(states) // count
        deadlines = now + self._offset + ttl
        late = deadlines - self.indexed[rows] > _LATE * ttl
        self.noted[rows], self.indexed[rows[late]] = deadlines, deadlines[late]
        stood = zip(done, deadlines.tolist(), ttl.tolist(), late.tolist(), strict=True)
        for place, (operation, deadline, lives, scored) in enumerate(stood):
            operation.put_state(deadline, lives, states[width * place : width * (place + 1)])
            if scored:
                operation.score = deadline

    def _open(self, row: int, id: str, one: Opened | Copied, now: float) -> Operation:
        """A session that opens gets its key and its epoch here."""
        self.keys[row], self.epoch[row] = key_of(id), self._epoch()
        return self._whole(row, b"", one, now)

    def _replace(self, one: Replaced, now: float) -> Operation:
        operation, rule = self._whole(one.row, self.fence(one.row), one, now), self.engine.rewinds.rule(one.row)
        for kept in self.engine.rewinds.of(one.row):
            if rule is not None and kept.step <= one.step:
                self._snap(operation, rule, kept.step, kept.state)
        return operation

    def _move(self, one: Moved, now: float) -> Operation:
        """Write a session whole as one of another book, where it is once it is written."""
        there, old = self._books[one.home], self.fence(one.left)
        there.fit()
        there.keys[one.row], there.epoch[one.row] = key, _ = self.keys[one.left], self._epoch()
        operation = there._whole(one.row, old, one, now)
        columns = {name: getattr(there, name).item(one.row) for name in COLUMNS}
        there.forget(one.row)

        def moved() -> None:
            self.forget(one.left)
            there.keys[one.row] = key
            for name, value in columns.items():
                getattr(there, name)[one.row] = value

        operation.row, operation.moved = one.left, moved
        return operation

    def _whole(self, row: int, old: bytes, one: Opened | Copied | Replaced | Moved, now: float) -> Operation:
        """Write a session anew, without answers and snapshots."""
        state = one.state
        if state is None:
            state = {name: np.zeros((1, *shape), np.float32) for name, shape in self.kind.shapes.items()}
        new = FENCE.pack(self._owner(), self.epoch.item(row), one.step)
        operation, rule = Operation(row, self.keys[row], old, new, clear=True), self.engine.rewinds.rule(row)
        operation.put_about(self._table.birth.item(row), rule, self._encoded)
        operation.put_held(self._table.row_bytes * (1 + (rule.keep if rule else 0)), "/".join(self.version))
        self._stand(operation, now + self._table.ttl.item(row), flat(state, 1).tobytes())
        return operation

    def _snap(self, operation: Operation, rule: Rule, step: int, state: State) -> None:
        number = self.snapped.item(operation.row) + operation.snapshots
        operation.put_snapshot(rule.keep, number, step, flat(state, 1).tobytes())

    def _stand(self, one: Operation, deadline: float, state: bytes | memoryview) -> None:
        """Let an operation write state and deadline; the index follows seldom."""
        row, ttl, deadline = one.row, self._table.ttl.item(one.row), deadline + self._offset
        one.put_state(deadline, ttl, state)
        self.noted[row] = deadline
        if deadline - self.indexed.item(row) > _LATE * ttl:
            self.indexed[row] = one.score = deadline
