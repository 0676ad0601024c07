"""The sessions of one engine as this process owns them: turns changes into operations. Knows the engine's table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from service.sessions.digests import Digester
from service.store.columns import Columns
from service.store.kind import flat, shaped
from service.store.redis.operations import HEAD_FORM, Group, Operation, ended, grouped, layout
from service.store.redis.records import ABSENT, FENCE, Found, key_of, place_of, seed_of
from service.store.store import Advanced, Copied, Deleted, Moved, Opened, Replaced, Snapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.engine.engine import Engine
    from service.models.model import Index, State
    from service.sessions.snapshots import Rule
    from service.store.redis.store import RedisStore
    from service.store.store import Change

_ENOUGH = 64  # sessions of a group, so that one more is written apart: the server works while it is made
_LATE = 0.1  # of its TTL that a deadline in the store, or in the index, may be behind


class Book(Columns[bytes]):
    """Turns changes into operations, and sessions that come into rows.

    Invariant: a row with an epoch is owned, or `lost`.
    """

    _KINDS: ClassVar = {"u8": "epoch seed", "i8": "count snapped place", "f8": "noted indexed", "?": "lost"}

    epoch: NDArray[np.uint64]
    count: Index  # answers kept so far, of all processes
    snapped: Index  # snapshots likewise
    noted: NDArray[np.float64]  # the deadline in the store
    indexed: NDArray[np.float64]  # the deadline in the index
    lost: NDArray[np.bool_]  # owned by another process, or unknown: dropped when its calls have ended
    seed: NDArray[np.uint64]  # of its seals
    place: Index  # of its server in the list of them

    def __init__(self, engine: Engine, store: RedisStore) -> None:
        super().__init__(engine, b"")
        self._owners, self._epoch, self._books = store.owners, store.new_epoch, store.books
        self._each, self._offset = store.sessions.budget.each, store.clock.offset  # to the store's clock
        self._digester, self._width = Digester(engine.model.features), engine.model.outputs

    def forget(self, row: int) -> None:
        """A session is no more, or not here."""
        self._clear(row)

    def owned(self) -> Index:
        """The rows of all sessions that are."""
        return np.flatnonzero((self.epoch > 0) & ~self.lost)

    def idle(self, most: int) -> list[tuple[float, int]]:
        """When sessions on which nothing waits were called, and their rows: at most so many, the first to leave."""
        rows, used = self._idle((self.epoch > 0) & ~self.lost, most)
        return list(zip(used.tolist(), rows.tolist(), strict=True))

    def operations(self, changes: Sequence[Change], now: float) -> Iterator[Group]:
        """What changes come to; `now` is the time on the table's clock."""
        self.fit()
        others, calls, alike = list[Operation](), list[Advanced](), dict[tuple[int, int], list[list[Advanced]]]()
        for one in changes:
            if isinstance(one, Advanced):
                calls.append(one)
                if one.state is not None:
                    shape = len(calls), one.lengths.item(0)
                    alike.setdefault(shape, []).append(calls)
                    calls = []
                    if sum(len(some[0].rows) for some in alike[shape]) >= _ENOUGH:
                        yield self._steps(alike.pop(shape), now)
            elif isinstance(one, Deleted):
                others.append(ended(self.keys[one.row], self.fence(one.row), row=one.row))
            elif isinstance(one, Snapped):
                others.append(self._snap(one))
            elif isinstance(one, Replaced):
                yield self._replace(one, now)
            elif isinstance(one, Moved):
                yield self._move(one, now)
            else:
                rows, ids = ([one.row], [one.id]) if isinstance(one, Opened) else (one.rows.tolist(), one.ids)
                others += [self._open(row, id, one, now) for row, id in zip(rows, ids, strict=True)]
        yield from (self._steps(some, now) for some in alike.values())
        yield from grouped(others)

    def fence(self, row: int, step: int | None = None, epoch: int | None = None) -> bytes:
        """Owner, epoch and step of a session as the store has it, or as it will be at a step and in an epoch."""
        owner, step = self._owners[self.place.item(row)].name, self._table.step.item(row) if step is None else step
        return FENCE.pack(owner, epoch or self.epoch.item(row), step)

    def written(self, group: Group) -> None:
        """Operations are in the store."""
        self.count[group.rows] += group.answers
        self.snapped[group.rows] += group.snapshots
        if group.moved is not None:
            group.moved()
        elif group.form == HEAD_FORM:
            for row in group.rows:
                self.forget(row)

    def refused(self, row: int, old: bytes) -> None:
        """An operation is not in the store."""
        if old == ABSENT:
            self.forget(row)

    def adopt(self, row: int, found: Found, epoch: int) -> None:
        """Put a session that was taken into a row of the table, whose rule for snapshots is there already."""
        self.fit()
        self._place(row, found.key, epoch)
        self.count[row] = found.kept[0].number + 1 if found.kept else 0
        self.noted[row] = self.indexed[row] = found.deadline
        if found.kind.encode() == self.encoded:  # else its model is not there, and it can only be deleted
            rows, state = np.array([row]), np.frombuffer(found.state, np.float32)[None]
            self._table.scatter(rows, shaped(state, self.kind.shapes))
            for one in reversed(found.kept[: self._each]):
                told = np.array([one.start]), np.frombuffer(one.digest, np.uint64)[None], one.outputs.reshape(1, -1)
                self.engine.answers.keep(rows, *told, len(one.outputs))
            for number, step, kept in found.snapshots:
                self.snapped[row] = number + 1
                self.engine.rewinds.take(row, step, shaped(np.frombuffer(kept, np.float32)[None], self.kind.shapes))

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

    def _steps(self, alike: Sequence[Sequence[Advanced]], now: float) -> Group:
        """Build one group from chains of calls: calls of a chain follow each other on the same sessions; one length."""
        calls = [_joined(those) for those in zip(*alike, strict=True)]
        last, table, each = calls[-1], self._table, self._each
        rows, count, length = last.rows, len(last.rows), last.lengths.item(0)
        laid = layout(table.row_bytes // 4, self._width * length, each, len(calls))
        found, ttl, numbers = laid.rows(count), table.ttl[rows], self.count[rows]
        deadlines = now + self._offset + ttl
        late = deadlines - self.indexed[rows] > _LATE * ttl
        self.noted[rows], self.indexed[rows[late]] = deadlines, deadlines[late]
        found["score"][late] = deadlines[late]
        old, new = found["old"], found["new"]
        old["owner"] = new["owner"] = np.array([one.name for one in self._owners], "V16")[self.place[rows]]
        old["epoch"] = new["epoch"] = self.epoch[rows]
        old["step"], new["step"] = calls[0].starts, last.starts + length
        found["deadline"], found["ttl"], found["state"] = deadlines, ttl, flat(last.state or {}, count)
        for index, call in enumerate(calls):
            answer = found[f"a{index}"]
            answer["name"] = laid.names[(numbers + index) % each]
            answer["number"], answer["start"] = numbers + index, call.starts
            answer["digest"] = self._digester.of(call.inputs, call.lengths)
            answer["outputs"] = call.outputs.reshape(count, -1)
        keys, content = list(map(self.keys.__getitem__, rows.tolist())), laid.seal(found, self.seed[rows].tolist())
        return Group(laid.form, rows.tolist(), keys, content, answers=len(calls))

    def _place(self, row: int, key: bytes, epoch: int) -> None:
        """Give a session a row."""
        self.keys[row], self.epoch[row], self.seed[row] = key, epoch, seed_of(key)
        self.place[row] = place_of(key, len(self._owners))

    def _open(self, row: int, id: str, one: Opened | Copied, now: float) -> Operation:
        """A session that opens gets its key and its epoch here."""
        self._place(row, key_of(id), self._epoch())
        return self._whole(row, ABSENT, self.fence(row, one.step), one, now)

    def _replace(self, one: Replaced, now: float) -> Group:
        """Write a session under a new epoch, by which a read-back knows whether it was written at the same step."""
        rule, epoch = self.engine.rewinds.rule(one.row), self._epoch()
        operation = self._whole(one.row, self.fence(one.row), self.fence(one.row, one.step, epoch), one, now)
        for kept in self.engine.rewinds.of(one.row):
            if rule is not None and kept.step <= one.step:
                self._keep(operation, rule, kept.step, kept.state)

        def moved() -> None:
            self.epoch[one.row] = epoch

        return replace(operation.group(), moved=moved)

    def _move(self, one: Moved, now: float) -> Group:
        """Write a session whole as one of another book, where it is once it is written."""
        there, old = self._books[one.home], self.fence(one.left)
        there.fit()
        there._place(one.row, key := self.keys[one.left], self._epoch())
        operation = there._whole(one.row, old, there.fence(one.row, one.step), one, now)
        columns = {name: getattr(there, name).item(one.row) for name, _ in self._columns}
        there.forget(one.row)

        def moved() -> None:
            self.forget(one.left)
            there.keys[one.row] = key
            for name, value in columns.items():
                getattr(there, name)[one.row] = value

        return replace(operation.group(), rows=[one.left], moved=moved)

    def _whole(
        self, row: int, old: bytes, new: bytes, one: Opened | Copied | Replaced | Moved, now: float
    ) -> Operation:
        """Write a session anew, without answers and snapshots."""
        state = one.state
        if state is None:
            state = {name: np.zeros((1, *shape), np.float32) for name, shape in self.kind.shapes.items()}
        rule = self.engine.rewinds.rule(row)
        operation = Operation(row, self.keys[row], old, new, clear=True)
        operation.put_about(self._table.birth.item(row), rule, self.encoded)
        operation.put_held(self._table.row_bytes * (1 + (rule.keep if rule else 0)), "/".join(self.kind.served_as))
        self._stand(operation, now + self._table.ttl.item(row), flat(state, 1).tobytes())
        return operation

    def _snap(self, one: Snapped) -> Operation:
        """Keep a snapshot of a session that an earlier operation of the commit takes to this step."""
        rule, fence = self.engine.rewinds.rule(one.row), self.fence(one.row, one.step)
        assert rule is not None
        operation = Operation(one.row, self.keys[one.row], fence, fence)
        self._keep(operation, rule, one.step, one.state)
        return operation

    def _keep(self, operation: Operation, rule: Rule, step: int, state: State) -> None:
        number = self.snapped.item(operation.row) + operation.snapshots
        operation.put_snapshot(rule.keep, number, step, flat(state, 1).tobytes())

    def _stand(self, one: Operation, deadline: float, state: bytes | memoryview) -> None:
        """Let an operation write state and deadline; the index follows seldom."""
        row, ttl, deadline = one.row, self._table.ttl.item(one.row), deadline + self._offset
        one.put_state(deadline, ttl, state)
        self.noted[row] = deadline
        if deadline - self.indexed.item(row) > _LATE * ttl:
            self.indexed[row] = one.score = deadline


def _joined(calls: Sequence[Advanced]) -> Advanced:
    """Concatenate calls on different sessions."""
    if len(calls) == 1:
        return calls[0]
    arrays: list[Any] = [np.concatenate([one[place] for one in calls]) for place in range(5)]
    states = [one.state for one in calls if one.state is not None]
    state = {name: np.concatenate([one[name] for one in states]) for name in states[0]} if states else None
    return Advanced._make((*arrays, state))
