"""Calls that were accepted together, as one: a work is a place in a bundle, a part is works of one bundle.

It knows calls; nothing is decided here.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.models.model import Array, Index
from service.replay import Digests
from service.rows import every
from service.work import Call, One

_Number = TypeVar("_Number", np.float32, np.int64)
Places: TypeAlias = Index | slice
ALL = slice(None)


class Part(NamedTuple):
    """Works of one bundle: their indices and their places, ALL where it is the whole bundle."""

    bundle: "Bundle"
    places: Places
    ids: Index


class Round(NamedTuple):
    """The next work of each of these rows of a batch, of one step where there is more than one round."""

    where: Places
    parts: list[Part]

    @property
    def ids(self) -> Index:
        """All of them."""
        return joined([part.ids for part in self.parts])


Batch: TypeAlias = list[Round]  # the first is of all rows


class Bundle:
    """Calls that were accepted together, with one array for all their inputs and one for all their outputs.

    Arrays are [N], the rows of all its calls one behind the other.
    """

    __slots__ = (
        *("arrived", "asked", "calls", "digests", "done", "each", "ids", "inputs", "kept", "left", "lengths"),
        *("number", "outputs", "row", "rows", "starts", "stateless", "_at", "_firsts", "_ones"),
    )

    def __init__(self, calls: Sequence[Call], outputs: int, *, number: int, arrived: float) -> None:
        self.number, self.calls, self.arrived = number, calls, arrived
        self.stateless = calls[0].stateless
        self.kept = calls[0].kept and not self.stateless
        ones = [call for call in calls if isinstance(call, One)]
        self._ones = len(ones) == len(calls)
        if self._ones:
            self.rows = np.array([call.row for call in ones], np.int64)
            self.asked = np.array([call.step for call in ones], np.int64)
            self.lengths = np.array([len(call.inputs) for call in ones], np.int64)
            self.inputs = _stacked([call.inputs for call in ones])
        else:
            self.rows = joined([call.rows for call in calls])
            self.asked = joined([call.asked for call in calls])
            self.lengths = joined([call.lengths for call in calls])
            self.inputs = joined([call.inputs for call in calls])
        self.left = len(self.rows)
        self.each = _common(self.lengths, len(self.inputs))  # steps of each work; 0: they differ
        self.starts = np.zeros(self.left, np.int64)  # the index of each one's first step in its session
        self.row = self.rows  # of the running state: the session's before the first chunk, one's own between chunks
        self.done: Index | None = None  # time steps; None: none of any
        self.digests: Digests | None = None  # of a predict there is none
        self.ids: Index = self.rows[:0]
        self.outputs: Array = np.empty((len(self.inputs), outputs), np.float32)
        self._at: Index | None = None
        self._firsts: list[int] = []
        self._show()

    def _show(self) -> None:
        """Tell the calls where they lie."""
        first = step = 0
        for call in self.calls:
            call.bundle, call.first = self, first
            self._firsts.append(first)
            first += call.left
            if not self._ones:
                call.starts = self.starts[call.first : first]
                call.outputs = self.outputs[step : step + len(call.inputs)]
                step += len(call.inputs)

    def at(self, places: Places) -> Index:
        """Where the steps of works begin in the inputs and outputs."""
        if self._at is None:
            self._at = np.cumsum(self.lengths) - self.lengths
        at: Index = self._at[places]
        return at

    def of(self, place: int) -> tuple[Call, int]:
        """Whose work lies at a place, and which of its rows."""
        call = self.calls[bisect_right(self._firsts, place) - 1]
        return call, place - call.first

    def ahead(self, places: Places) -> Index:
        """How many steps of works are not done."""
        left: Index = self.lengths[places] if self.done is None else self.lengths[places] - self.done[places]
        return left

    def read(self, places: Places, lengths: Index, most: int) -> Array:
        """The next steps of works, [N, most, F], so many of each, padded with zeros."""
        if self.each == most and self.done is None:
            return self.inputs.reshape(len(self.rows), most, -1)[places]
        inputs = np.zeros((len(lengths), most, self.inputs.shape[1]), np.float32)
        for target, (first, end) in zip(inputs, self._spans(places, lengths), strict=True):
            target[: end - first] = self.inputs[first:end]
        return inputs

    def write(self, places: Places, lengths: Index, outputs: Array) -> None:
        """What the model gave for these steps."""
        if self.each == outputs.shape[1] and self.done is None:
            self.outputs.reshape(len(self.rows), self.each, -1)[places] = outputs
            return
        for source, (first, end) in zip(outputs, self._spans(places, lengths), strict=True):
            self.outputs[first:end] = source[: end - first]

    def move(self, places: Places, lengths: Index) -> None:
        """These steps are done, and more are to come."""
        if self.done is None:
            self.done = np.zeros(len(self.rows), np.int64)
        self.done[places] += lengths

    def own(self, place: int, row: int) -> None:
        """A running state gets a row of its own."""
        if self.row is self.rows:
            self.row = self.rows.copy()
        self.row[place] = row

    def answers(self, places: Places) -> list[Array]:
        """What works at these places came to, [T, K] each."""
        if self.each:
            return list(self.outputs.reshape(len(self.rows), self.each, -1)[places])
        begins = self.at(places)
        spans = zip(begins.tolist(), (begins + self.lengths[places]).tolist(), strict=True)
        return [self.outputs[begin:end] for begin, end in spans]

    def end(self, places: Places) -> list[Call]:
        """Works at these places are done → the calls that are done with them."""
        if self._ones:
            return self._answered(places)
        if isinstance(places, slice) or len(self.calls) == 1:
            self.left -= self.left if isinstance(places, slice) else len(places)
            for call in self.calls:
                call.left -= call.left if isinstance(places, slice) else len(places)
            return [call for call in self.calls if not call.left]
        self.left -= len(places)
        owners = np.searchsorted(self._firsts, places, side="right") - 1
        counts, ended = np.bincount(owners), []
        for index in counts.nonzero()[0].tolist():
            self.calls[index].left -= int(counts[index])
            if not self.calls[index].left:
                ended.append(self.calls[index])
        return ended

    def _answered(self, places: Places) -> list[Call]:
        """Calls of one row each are done."""
        ended: list[Call] = []
        each = self.each
        which = range(len(self.calls)) if isinstance(places, slice) else places.tolist()
        for place, start in zip(which, self.starts[places].tolist(), strict=True):
            call = self.calls[place]
            assert isinstance(call, One)
            first = place * each if each else int(self.at(ALL)[place])
            call.outputs = self.outputs[first : first + len(call.inputs)]
            call.start, call.left = start, 0
            ended.append(call)
        self.left -= len(ended)
        return ended

    def _spans(self, places: Places, lengths: Index) -> Iterable[tuple[int, int]]:
        first = self.at(places) if self.done is None else self.at(places) + self.done[places]
        return zip(first.tolist(), (first + lengths).tolist(), strict=True)


def joined(arrays: list[NDArray[_Number]]) -> NDArray[_Number]:
    """One behind the other."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _stacked(inputs: list[Array]) -> Array:
    """Joined, for many small ones: NumPy takes thrice the time."""
    if len(inputs) == 1:
        return inputs[0]
    content = b"".join(inputs)  # type: ignore[arg-type]  # arrays are buffers
    stacked: Array = np.frombuffer(content, np.float32).reshape(-1, inputs[0].shape[1])
    return stacked


def _common(lengths: Index, steps: int) -> int:
    """The length of all, or 0."""
    if steps == len(lengths):
        return 1
    first = int(lengths[0])
    return first if first * len(lengths) == steps and every(lengths == first) else 0
