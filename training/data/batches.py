"""Cut stretches into windows, and collect windows into batches.

Either every window starts from the zero state, or (with `carry`) a batch holds one window of each lane, and a lane's
window starts from the state that its previous window left: truncated back-propagation through time.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset

from training.arrays import Floats
from training.data.dataset import Stretch
from training.recipe.recipe import Training


class Window(NamedTuple):
    """Consecutive steps; answers that are NaN do not count."""

    x: Floats  # [T, F]
    answers: Floats  # [T, M]


class Batch(NamedTuple):
    """Windows side by side, padded to the longest."""

    x: Tensor  # [B, T, F]
    lengths: Tensor  # [B]
    answers: Tensor  # [B, T, M]; NaN in the padding
    lanes: Tensor  # [B] lane of each row
    fresh: Tensor  # [B] whether the row starts from the zero state instead of its lane's state
    weight: float = 1.0  # of its mean loss, where several processes share a batch


def window(stretch: Stretch, start: int, stop: int, uncounted: int = 0) -> Window:
    """Return steps [start, stop) of a stretch's sequence; the first `uncounted` answers do not count."""
    answers = stretch.answers(slice(start, stop))
    answers[:uncounted] = np.nan
    return Window(stretch.sequence.inputs[start:stop], answers)


def windows(stretches: Iterable[Stretch], how: Training) -> list[Window]:
    """Cut stretches into windows that start from the zero state; the last one ends with the stretch."""
    cut = []
    for stretch in stretches:
        first, last = stretch.steps.start, stretch.steps.stop
        length = min(how.window or last - first, last - first)
        starts = [*range(first, last - length, how.stride or length), last - length]
        cut += [window(stretch, start, start + length, how.uncounted) for start in starts]
    return [one for one in cut if not np.isnan(one.answers).all()]


def streams(stretches: Iterable[Stretch], warm_up: int | None) -> list[Window]:
    """Return each stretch whole, after up to `warm_up` steps (None: all) whose answers do not count."""
    return [window(one, warm_start(one, warm_up), one.steps.stop) for one in stretches]


def warm_start(stretch: Stretch, warm_up: int | None) -> int:
    """Return the step at which the warm-up of a stretch begins."""
    return 0 if warm_up is None else max(0, stretch.steps.start - warm_up)


def collate(cut: Sequence[Window], lanes: Sequence[int] = (), fresh: Sequence[bool] = ()) -> Batch:
    """Return a batch of windows with their lanes and whether they start from the zero state; by default each does."""
    lanes, fresh = lanes or range(len(cut)), fresh or [True] * len(cut)
    x = pad_sequence([torch.from_numpy(one.x) for one in cut], batch_first=True)
    answers = pad_sequence([torch.from_numpy(one.answers) for one in cut], batch_first=True, padding_value=torch.nan)
    return Batch(x, torch.tensor([len(one.x) for one in cut]), answers, torch.tensor([*lanes]), torch.tensor(fresh))


def share(batch: Batch, rank: int, world: int) -> Batch:
    """Return the lanes of one process of `world`. The mean of the weighted mean losses is the batch's mean loss.

    A process without a lane gets one step without an answer, because all processes must run equally many batches.
    """
    counted, mine = ~batch.answers.isnan(), batch.lanes % world == rank
    weight = world * float(counted[mine].sum()) / max(float(counted.sum()), 1.0)
    if not mine.any():
        x, answers = batch.x[:1, :1], torch.full_like(batch.answers[:1, :1], torch.nan)
        return Batch(x, torch.ones_like(batch.lengths[:1]), answers, batch.lanes[:1], batch.fresh[:1], weight)
    T = int(batch.lengths[mine].max())
    x, lengths, answers, lanes, fresh = (part[mine] for part in batch[:5])
    return Batch(x[:, :T], lengths, answers[:, :T], lanes, fresh, weight)


def loader(cut: list[Window], batch: int, *, shuffle: bool = False) -> "DataLoader[Window]":
    """Return batches of windows in order, or in a new order each epoch."""
    return DataLoader(cast("Dataset[Window]", cut), batch, shuffle=shuffle, collate_fn=collate)


class Lanes(IterableDataset[Batch]):
    """Batches of the next window of each lane. A lane at the end of its run takes another run, in random order."""

    def __init__(self, cut: Sequence[Window], runs: Sequence[range], lanes: int) -> None:
        self.cut, self.runs, self.lanes = cut, runs, lanes

    def __iter__(self) -> Iterator[Batch]:
        waiting = [self.runs[i] for i in torch.randperm(len(self.runs)).tolist()]
        running: list[Iterator[int]] = [iter(())] * self.lanes
        while True:
            taken = []  # window, lane, whether it starts from the zero state
            for lane in range(self.lanes):
                index, fresh = next(running[lane], None), False
                if index is None and waiting:
                    running[lane], fresh = iter(waiting.pop()), True
                    index = next(running[lane])
                if index is not None:
                    taken.append((self.cut[index], lane, fresh))
            if not taken:
                return
            yield collate(*zip(*taken, strict=True))


def carried(stretches: Sequence[Stretch], how: Training) -> "DataLoader[Batch]":
    """Return batches of lanes. A stretch longer than a lane's equal share is cut into runs of that length."""
    assert how.window is not None
    total = sum(one.steps.stop - one.steps.start for one in stretches)
    longest = -(-total // (how.batch * how.window)) * how.window  # whole windows
    cut: list[Window] = []
    runs = []
    for one in stretches:
        for begin in range(one.steps.start, one.steps.stop, longest):
            end, already = min(begin + longest, one.steps.stop), len(cut)
            cut += [window(one, at, min(at + how.window, end)) for at in range(begin, end, how.window)]
            runs.append(range(already, len(cut)))
    return DataLoader(Lanes(cut, runs, how.batch), batch_size=None)
