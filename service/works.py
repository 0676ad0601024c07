"""The works that are accepted and not done, one index each: which bundle and place it is, and what waits behind it.

It knows bundles; not sessions or their order.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from service.bundle import ALL, Bundle, Part, Places
from service.models.model import Index
from service.rows import every

NOBODY = 0  # no work: the end of a chain
ENDED = -1  # the bundle of a work that is done, or of none


class Works:
    """Columns [capacity], grown on demand. Invariant: a work that is done has the bundle ENDED; its index is used
    again once nobody holds it.
    """

    bundle: Index  # number of its bundle
    place: Index  # in the bundle
    next: Index  # the work behind it in its session

    _COLUMNS = ("bundle", "place", "next")

    def __init__(self, capacity: int = 256) -> None:
        for name in self._COLUMNS:
            setattr(self, name, np.zeros(capacity, np.int64))
        self.bundle[NOBODY] = ENDED
        self._free = np.arange(capacity - 1, NOBODY, -1)
        self._count = len(self._free)
        self.bundles: dict[int, Bundle] = {}
        self.suspect = False  # some work may have ended while it is queued or runs

    def __repr__(self) -> str:
        return f"<Works {len(self.next) - 1 - self._count} of {len(self.next)}, {len(self.bundles)} bundles>"

    def enter(self, bundle: Bundle, places: Places = ALL) -> Index:
        """Indices of new works for these places of a bundle."""
        which = np.arange(len(bundle.rows)) if isinstance(places, slice) else places
        ids = bundle.ids = self.take(len(which))
        self.bundles[bundle.number] = bundle
        self.bundle[ids], self.place[ids] = bundle.number, which
        return ids

    def take(self, count: int) -> Index:
        """Indices of that many new works."""
        while self._count < count:
            self._grow()
        self._count -= count
        return self._free[self._count : self._count + count].copy()

    def give(self, ids: Index) -> None:
        """Nobody holds these any more."""
        self._free[self._count : self._count + len(ids)] = ids
        self._count += len(ids)

    def end(self, ids: Index) -> None:
        """These are done."""
        self.bundle[ids] = ENDED

    def is_alive(self, work: int) -> bool:
        """Whether it is not done."""
        return bool(self.bundle[work] != ENDED)

    def at(self, work: int) -> tuple[Bundle, int]:
        """The bundle of a work that is not done, and its place there."""
        return self.bundles[int(self.bundle[work])], int(self.place[work])

    def parts(self, ids: Index) -> list[Part]:
        """These works, none of which is done, by runs of one bundle."""
        numbers = self.bundle[ids]
        bundle = self.bundles[int(numbers[0])]
        whole = len(ids) == len(bundle.ids) == len(bundle.rows) == bundle.left  # else an index may be another's now
        if whole and (ids is bundle.ids or every(ids == bundle.ids)):
            return [Part(bundle, ALL, ids)]
        cuts = [0, *((numbers[1:] != numbers[:-1]).nonzero()[0] + 1).tolist(), len(ids)]
        return [
            Part(self.bundles[int(numbers[begin])], self.place[ids[begin:end]], ids[begin:end])
            for begin, end in pairwise(cuts)
        ]

    def unhurt(self, part: Part) -> bool:
        """Whether none of these works has ended since; the index of one that has may be another's."""
        return every(self.bundle[part.ids] == part.bundle.number)

    def alive(self, ids: Index) -> NDArray[np.bool_]:
        """Which of the works are not done."""
        alive: NDArray[np.bool_] = self.bundle[ids] != ENDED
        return alive

    def _grow(self) -> None:
        old = len(self.next)
        for name in self._COLUMNS:
            setattr(self, name, np.concatenate([getattr(self, name), np.zeros(old, np.int64)]))
        wider = np.empty(2 * old, np.int64)
        wider[:old] = np.arange(2 * old - 1, old - 1, -1)
        wider[old : old + self._count] = self._free[: self._count]
        self._free, self._count = wider, old + self._count
