"""Stretches → windows, and windows → batches. Knows nothing of what is in them.

Either every window begins with the zero state, or (carried) a batch is a row of lanes, each of which goes on where it
stopped in the batch before: truncated back-propagation through time.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from training.dataset import Stretch
from training.recipe import Training

Floats = NDArray[np.float32]


class Window(NamedTuple):
    """Some steps in a row; an answer that is NaN does not count."""

    x: Floats  # [T, F]
    answers: Floats  # [T, M]


Laned = tuple[Window, int, bool]  # a window, its lane, and whether it begins anew


class Batch(NamedTuple):
    """Windows side by side, the shorter ones padded."""

    x: Tensor  # [B, T, F]
    lengths: Tensor  # [B]
    answers: Tensor  # [B, T, M]; NaN in the padding
    lanes: Tensor  # [B] whose state a row goes on from
    fresh: Tensor  # [B] the row begins with the zero state instead
    weight: float = 1.0  # of its mean loss, where processes share a batch


def window(stretch: Stretch, start: int, stop: int, uncounted: int = 0) -> Window:
    """Cut steps [start, stop) of a stretch's sequence; the first `uncounted` only warm the state up."""
    answers = stretch.answers(slice(start, stop))
    answers[:uncounted] = np.nan
    return Window(stretch.sequence.inputs[start:stop], answers)


def windows(stretches: Iterable[Stretch], how: Training) -> list[Window]:
    """Cut stretches into windows that start from zero; the one that ends with a stretch is always there."""
    cut = []
    for stretch in stretches:
        first, last = stretch.steps.start, stretch.steps.stop
        length = min(how.window or last - first, last - first)
        starts = [*range(first, last - length, how.stride or length), last - length]
        cut += [window(stretch, start, start + length, how.uncounted) for start in starts]
    return [one for one in cut if not np.isnan(one.answers).all()]


def streams(stretches: Iterable[Stretch], warm_up: int | None) -> list[Window]:
    """Return each stretch whole, with up to `warm_up` steps before it (None: all there are) that are not counted."""
    return [window(one, warm_start(one, warm_up), one.steps.stop) for one in stretches]


def warm_start(stretch: Stretch, warm_up: int | None) -> int:
    """Return the step at which a session would begin that is warm when the stretch begins."""
    return 0 if warm_up is None else max(0, stretch.steps.start - warm_up)


def collate(cut: Sequence[Window]) -> Batch:
    """Put windows side by side, each from the zero state."""
    return collate_lanes([(one, lane, True) for lane, one in enumerate(cut)])


def collate_lanes(rows: Sequence[Laned]) -> Batch:
    """Put windows side by side, each with its lane and whether it begins anew."""
    cut = [one for one, _, _ in rows]
    T = max(len(one.x) for one in cut)
    x = np.zeros((len(cut), T, cut[0].x.shape[1]), np.float32)
    answers = np.full((len(cut), T, cut[0].answers.shape[1]), np.nan, np.float32)
    for row, one in enumerate(cut):
        x[row, : len(one.x)], answers[row, : len(one.x)] = one
    lengths = torch.tensor([len(one.x) for one in cut])
    lanes, fresh = torch.tensor([lane for _, lane, _ in rows]), torch.tensor([new for _, _, new in rows])
    return Batch(torch.from_numpy(x), lengths, torch.from_numpy(answers), lanes, fresh)


def share(batch: Batch, rank: int, world: int) -> Batch:
    """Return the lanes of one process of many; their mean losses, weighted, have the mean over the whole batch as mean.

    A process that has no lane left takes a step that does not count: all have as many batches.
    """
    counted, mine = ~batch.answers.isnan(), batch.lanes % world == rank
    weight = world * float(counted[mine].sum()) / max(float(counted.sum()), 1.0)
    if not mine.any():
        x, answers = batch.x[:1, :1], torch.full_like(batch.answers[:1, :1], torch.nan)
        return Batch(x, torch.ones_like(batch.lengths[:1]), answers, batch.lanes[:1], batch.fresh[:1], weight)
    T = int(batch.lengths[mine].max())
    x, lengths, answers, lanes, fresh = (part[mine] for part in batch[:5])
    return Batch(x[:, :T], lengths, answers[:, :T], lanes, fresh, weight)


class _Listed(Dataset[Window]):
    def __init__(self, cut: Sequence[Window]) -> None:
        self.cut = cut

    def __len__(self) -> int:
        return len(self.cut)

    def __getitem__(self, index: int) -> Window:
        return self.cut[index]


def shuffled(cut: Sequence[Window], batch: int) -> "DataLoader[Window]":
    """Return batches of windows in a new order each epoch."""
    return DataLoader(_Listed(cut), batch, shuffle=True, collate_fn=collate)


def in_order(cut: Sequence[Window], batch: int) -> "DataLoader[Window]":
    """Return batches of windows as they come."""
    return DataLoader(_Listed(cut), batch, collate_fn=collate)


class Lanes(Sampler[list[tuple[int, int, bool]]]):
    """Which window each lane takes next: (window, lane, fresh). A lane whose run ends begins another, drawn anew."""

    def __init__(self, runs: Sequence[range], lanes: int) -> None:
        self.runs, self.lanes = runs, lanes

    def __iter__(self) -> Iterator[list[tuple[int, int, bool]]]:
        waiting = [self.runs[i] for i in torch.randperm(len(self.runs)).tolist()]
        running: list[Iterator[int]] = [iter(())] * self.lanes
        while True:
            batch = []
            for lane in range(self.lanes):
                index, fresh = next(running[lane], None), False
                if index is None and waiting:
                    running[lane], fresh = iter(waiting.pop()), True
                    index = next(running[lane])
                if index is not None:
                    batch.append((index, lane, fresh))
            if not batch:
                return
            yield batch


class _Runs(Dataset[Laned]):
    """The windows of all runs, by the keys of `Lanes`."""

    def __init__(self, cut: list[Window]) -> None:
        self.cut = cut

    def __getitem__(self, key: tuple[int, int, bool]) -> Laned:
        index, lane, fresh = key
        return self.cut[index], lane, fresh


def carried(stretches: Sequence[Stretch], how: Training) -> "DataLoader[Laned]":
    """Return batches of lanes; a stretch that is longer than a lane's fair share is cut into runs of that length."""
    assert how.window is not None
    total = sum(one.steps.stop - one.steps.start for one in stretches)
    share = -(-total // (how.batch * how.window)) * how.window  # whole windows
    cut: list[Window] = []
    runs = []
    for one in stretches:
        for begin in range(one.steps.start, one.steps.stop, share):
            end, already = min(begin + share, one.steps.stop), len(cut)
            cut += [window(one, at, min(at + how.window, end)) for at in range(begin, end, how.window)]
            runs.append(range(already, len(cut)))
    return DataLoader(_Runs(cut), batch_sampler=Lanes(runs, how.batch), collate_fn=collate_lanes)
