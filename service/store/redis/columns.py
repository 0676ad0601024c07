"""What a process notes of the sessions of one engine that it owns: columns by table row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from service.engine.engine import Engine
    from service.models.model import Index

COLUMNS: dict[str, DTypeLike] = {
    "epoch": np.uint64,
    "count": np.int64,
    "snapped": np.int64,
    "noted": np.float64,
    "indexed": np.float64,
    "lost": np.bool_,
    "seed": np.uint64,
    "place": np.int64,
}
_OVERHEAD = 400  # bytes about: the id and the columns of a session


class Columns:
    """Invariant: a row with an epoch is owned, or `lost`; columns of a free row are 0."""

    epoch: NDArray[np.uint64]
    count: Index  # answers kept so far, of all processes
    snapped: Index  # snapshots likewise
    noted: NDArray[np.float64]  # the deadline in the store
    indexed: NDArray[np.float64]  # the deadline in the index
    lost: NDArray[np.bool_]  # owned by another process, or unknown: dropped when its calls have ended
    seed: NDArray[np.uint64]  # of its seals
    place: Index  # of its server in the list of them

    def __init__(self, engine: Engine) -> None:
        self.engine, self._table = engine, engine.table
        self.keys: list[bytes] = []
        self._capacity = 0
        self.fit()

    def fit(self) -> None:
        """Have as many rows as the table."""
        if self._capacity < self._table.capacity:
            self._grow()

    def forget(self, row: int) -> None:
        """A session is no more, or not here."""
        for name in COLUMNS:
            getattr(self, name)[row] = 0
        self.keys[row] = b""

    def owned(self) -> Index:
        """The rows of all sessions that are."""
        return np.flatnonzero((self.epoch > 0) & ~self.lost)

    @property
    def row_bytes(self) -> int:
        """About what a session in memory takes."""
        return self._table.row_bytes + self.engine.answers.row_bytes + _OVERHEAD

    @property
    def used_bytes(self) -> int:
        """About what the sessions in memory take."""
        kept = sum(len(snapshots) for _, snapshots in self.engine.rewinds.rows.values())
        return self._table.used * self.row_bytes + kept * self._table.row_bytes

    def idle(self, most: int) -> list[tuple[float, int]]:
        """When sessions on which nothing waits were called, and their rows: at most so many, the first to leave."""
        table, count = self._table, self._capacity
        rows = np.flatnonzero((self.epoch > 0) & ~self.lost & (table.last[:count] == 0) & (table.waiting[:count] == 0))
        used = table.deadline[rows] - table.ttl[rows]
        if len(rows) > most:
            rows, used = rows[(first := np.argpartition(used, most)[:most])], used[first]
        return list(zip(used.tolist(), rows.tolist(), strict=True))

    def _grow(self) -> None:
        capacity = self._table.capacity
        for name, kind in COLUMNS.items():
            grown: NDArray[Any] = np.zeros(capacity, kind)
            if self._capacity:
                grown[: self._capacity] = getattr(self, name)
            setattr(self, name, grown)
        self.keys += [b""] * (capacity - self._capacity)
        self._capacity = capacity
