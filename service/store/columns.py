"""What a store notes of the sessions of one engine: columns by table row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from service.store.kind import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.engine.engine import Engine
    from service.models.model import Index

_T = TypeVar("_T", str, bytes)

_OVERHEAD = 400  # bytes of a session in memory beside state and kept answers: columns, id, index


class Columns(Generic[_T]):
    """Invariant: columns of a free row are 0, and its key is empty."""

    _KINDS: ClassVar[Mapping[str, str]]  # type → names of its columns

    def __init__(self, engine: Engine, nothing: _T) -> None:
        """`nothing` is the empty key."""
        self.keys: list[_T] = []  # what the store finds a session by
        self._nothing: _T = nothing
        self.engine, self._table = engine, engine.table
        self.kind = Kind.of(engine)
        self.encoded = self.kind.encode()
        self._columns = [(name, kind) for kind, names in self._KINDS.items() for name in names.split()]
        self._capacity = 0
        self._grow()

    def fit(self) -> None:
        """Have as many rows as the table."""
        if self._capacity < self._table.capacity:
            self._grow()

    def _clear(self, row: int) -> None:
        for name, _ in self._columns:
            getattr(self, name)[row] = 0
        self.keys[row] = self._nothing

    @property
    def row_bytes(self) -> int:
        """About what a session in memory takes."""
        return self._table.row_bytes + self.engine.answers.row_bytes + _OVERHEAD

    @property
    def used_bytes(self) -> int:
        """About what the sessions in memory take."""
        kept = sum(len(snapshots) for _, snapshots in self.engine.rewinds.rows.values())
        return self._table.used * self.row_bytes + kept * self._table.row_bytes

    def _idle(self, among: NDArray[np.bool_], most: int) -> tuple[Index, NDArray[np.float64]]:
        """Rows of sessions on which nothing waits, least recently called first, and when that was; at most so many."""
        table, count = self._table, self._capacity
        rows = np.flatnonzero(among & (table.last[:count] == 0) & (table.waiting[:count] == 0))
        used = table.deadline[rows] - table.ttl[rows]
        if len(rows) > most:
            rows, used = rows[(first := np.argpartition(used, most)[:most])], used[first]
        order = np.argsort(used)
        return rows[order], used[order]

    def _grow(self) -> None:
        capacity = self._table.capacity
        for name, kind in self._columns:
            grown: NDArray[Any] = np.zeros(capacity, kind)
            if self._capacity:
                grown[: self._capacity] = getattr(self, name)
            setattr(self, name, grown)
        self.keys += [self._nothing] * (capacity - self._capacity)
        self._capacity = capacity
