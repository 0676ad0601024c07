"""Ids in order, for pages of sessions. Nothing is put in order before a page is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from itertools import islice, takewhile

from sortedcontainers import SortedSet

_SORTED = 2_000  # ids that are put in order in one turn of the loop: 4 ms


class Pages:
    """Invariant: once `sort` is done, all live ids are in order."""

    def __init__(self, live: Collection[str]) -> None:
        self._live = live
        self._sorted: SortedSet[str] | None = None
        self._unsorted: list[str] = []

    async def sort(self) -> None:
        """Put the ids in order, if they are not; they stay so."""
        if self._sorted is None:
            self._sorted, self._unsorted = SortedSet(), list(self._live)
        while self._unsorted:
            self._sorted.update(id for id in self._unsorted[-_SORTED:] if id in self._live)
            del self._unsorted[-_SORTED:]
            await asyncio.sleep(0)

    def add(self, id: str) -> None:
        """An id is live from now on."""
        if self._sorted is not None:
            self._sorted.add(id)

    def discard(self, id: str) -> None:
        """An id is live no more."""
        if self._sorted is not None:
            self._sorted.discard(id)

    def after(self, id: str, prefix: str, most: int) -> list[str]:
        """The next ids behind one that begin so; `sort` was awaited."""
        assert self._sorted is not None
        first, inclusive = (prefix, True) if prefix > id else (id, False)
        found = self._sorted.irange(first, inclusive=(inclusive, False))
        return list(islice(takewhile(lambda one: one.startswith(prefix), found), most))
