"""What a store notes of the sessions of one engine: columns by table row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from service.store.kind import Kind

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from service.engine.engine import Engine
    from service.models.model import Index

_OVERHEAD = 400  # bytes of a session in memory beside state and kept answers: columns, id, index


class Columns:
    """The columns that `_KINDS` names. Invariant: those of a free row are 0."""

    _KINDS: ClassVar[Mapping[str, DTypeLike]]

    def __init__(self, engine: Engine) -> None:
        self.engine, self._table = engine, engine.table
        self.kind = Kind.of(engine)
        self.encoded = self.kind.encode()
        self._capacity = 0
        self._grow()

    def fit(self) -> None:
        """Have as many rows as the table."""
        if self._capacity < self._table.capacity:
            self._grow()

    def _clear(self, row: int) -> None:
        for name in self._KINDS:
            getattr(self, name)[row] = 0

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
        for name, kind in self._KINDS.items():
            grown: NDArray[Any] = np.zeros(capacity, kind)
            if self._capacity:
                grown[: self._capacity] = getattr(self, name)
            setattr(self, name, grown)
        self._capacity = capacity
