"""Accepted works as arrays: a bundle is the calls that were accepted together, `Works` is all works that are not done.

They know calls and rows; nothing is decided here.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from service.errors import CarouselError
from service.replay import Digests
from service.rows import Index
from service.work import Call

NOBODY = 0  # no work: the end of a chain
_NONE = np.zeros(0, np.int64)
ENDED = -1  # the bundle of a work that is done, or of none


class Bundle:
    """Works that were accepted together, [N], with one array for all their inputs and one for all their outputs."""

    __slots__ = (
        *("arrived", "asked", "at", "calls", "ids", "inputs", "kept", "left", "lengths", "number", "outputs", "owner"),
        *("places", "rows", "single", "starts", "stateless"),
    )

    def __init__(self, calls: Sequence[Call], outputs: int, *, number: int, arrived: float) -> None:
        self.number, self.calls, self.arrived = number, calls, arrived
        self.stateless = calls[0].stateless
        self.kept = calls[0].kept and not self.stateless
        if len(calls) == 1:
            call = calls[0]
            self.rows, self.lengths, self.asked, self.inputs = call.rows, call.lengths, call.asked, call.inputs
            self.owner: Index | None = None
        else:
            self.rows = np.concatenate([call.rows for call in calls])
            self.lengths = np.concatenate([call.lengths for call in calls])
            self.asked = np.concatenate([call.asked for call in calls])
            self.inputs = np.concatenate([call.inputs for call in calls])
            self.owner = np.repeat(np.arange(len(calls)), [len(call.rows) for call in calls])
        self.left = len(self.rows)
        steps = len(self.inputs)
        self.single = steps == self.left
        self.at = np.arange(steps) if self.single else np.cumsum(self.lengths) - self.lengths
        self.outputs = np.empty((steps, outputs), np.float32)
        self.starts = np.zeros(self.left, np.int64)
        self.places: Index | None = None  # which rows of its one call are in it; None: all
        self.ids: Index = _NONE
        first = step = 0
        for call in calls:
            call.bundle, call.first = self, first
            first += len(call.rows)
            call.starts = self.starts[first - len(call.rows) : first]
            step += len(call.inputs)
            call.outputs = self.outputs[step - len(call.inputs) : step]

    def narrow(self, places: Index) -> None:
        """Leave out what is answered already: only these rows of its one call run."""
        self.places = places
        self.rows, self.lengths = self.rows[places], self.lengths[places]
        self.asked, self.at, self.left = self.asked[places], self.at[places], len(places)

    def of(self, place: int) -> tuple[Call, int]:
        """Whose work lies at a place, and which of its rows."""
        if self.owner is not None:
            call = self.calls[self.owner[place]]
            return call, place - call.first
        return self.calls[0], place if self.places is None else int(self.places[place])

    def end(self, places: Index) -> list[Call]:
        """Works at these places are done → the calls that are done with them."""
        self.left -= len(places)
        if self.owner is None:
            self.calls[0].left -= len(places)
            return [] if self.calls[0].left else [self.calls[0]]
        ended = np.bincount(self.owner[places], minlength=len(self.calls))
        touched = np.flatnonzero(ended)
        for index, count in zip(touched.tolist(), ended[touched].tolist(), strict=True):
            self.calls[index].left -= count
        return [call for call in map(self.calls.__getitem__, touched.tolist()) if not call.left]

    def begun(self, places: Index, starts: Index) -> None:
        """Note where works that are done began."""
        self.starts[places if self.places is None else self.places[places]] = starts

    def fail(self, place: int, error: CarouselError) -> None:
        """Note that a work ended unapplied."""
        call, index = self.of(place)
        call.errors[index] = error


class Works:
    """The works that are accepted and not done, one index each: columns [capacity], grown on demand.

    Invariant: a work that is done has the bundle ENDED; its index is used again once nobody holds it.
    """

    session: Index  # row of its session; ZERO: a predict
    row: Index  # of its running state: the session's before the first chunk, one of its own between chunks
    bundle: Index  # number of its bundle
    place: Index  # in the bundle
    at: Index  # of its first step in the bundle's inputs and outputs
    steps: Index  # T; 0: a turn
    done: Index  # of them
    start: Index  # index of its first step in the session
    asked: Index  # what the caller named, or UNCHECKED
    next: Index  # the work behind it in its session

    _COLUMNS = ("session", "row", "bundle", "place", "at", "steps", "done", "start", "asked", "next")

    def __init__(self, capacity: int = 256) -> None:
        for name in self._COLUMNS:
            setattr(self, name, np.zeros(capacity, np.int64))
        self.digest: Digests = np.zeros((capacity, 2), np.uint64)
        self._free = np.arange(capacity - 1, NOBODY, -1)
        self._count = len(self._free)
        self.bundles: dict[int, Bundle] = {}
        self.suspect = False  # some work may have ended while it is queued or runs

    def __repr__(self) -> str:
        return f"<Works {len(self.session) - 1 - self._count} of {len(self.session)}, {len(self.bundles)} bundles>"

    def enter(self, bundle: Bundle) -> Index:
        """Indices of new works for all that is in a bundle, at their beginning."""
        ids = self.take(bundle.left)
        self.bundles[bundle.number] = bundle
        self.session[ids] = self.row[ids] = bundle.rows
        self.bundle[ids], self.place[ids] = bundle.number, np.arange(bundle.left)
        self.at[ids], self.steps[ids], self.asked[ids] = bundle.at, bundle.lengths, bundle.asked
        self.done[ids] = self.start[ids] = 0
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

    def by_bundle(self, ids: Index) -> Iterator[tuple[Bundle, slice]]:
        """Runs of works of one bundle within ids, none of which is done."""
        if len(self.bundles) == 1:
            yield next(iter(self.bundles.values())), slice(0, len(ids))
            return
        numbers = self.bundle[ids]
        cuts = [0, *((numbers[1:] != numbers[:-1]).nonzero()[0] + 1).tolist(), len(ids)]
        for begin, end in pairwise(cuts):
            yield self.bundles[int(numbers[begin])], slice(begin, end)

    def alive(self, ids: Index) -> NDArray[np.bool_]:
        """Which of the works are not done."""
        alive: NDArray[np.bool_] = self.bundle[ids] != ENDED
        return alive

    def _grow(self) -> None:
        old = len(self.session)
        for name in self._COLUMNS:
            setattr(self, name, np.concatenate([getattr(self, name), np.zeros(old, np.int64)]))
        self.digest = np.concatenate([self.digest, np.zeros((old, 2), np.uint64)])
        wider = np.empty(2 * old, np.int64)
        wider[:old] = np.arange(2 * old - 1, old - 1, -1)
        wider[old : old + self._count] = self._free[: self._count]
        self._free, self._count = wider, old + self._count
