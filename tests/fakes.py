"""A model whose answers tell whose state it was given, a clock that moves when told to, and a store that may fail."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import numpy as np

from service.errors import CarouselError
from service.models.model import Array, Lengths, State
from service.store.store import Advanced, Change, Conflicts, Copied, Home, Moved


class RunningSum:
    """F = K = 1; the state is the sum so far, and each output the sum up to its step: a mix-up is a wrong number.

    Whole numbers below 2**24 are summed exactly, so that oracles may use Python's own.
    """

    features = outputs = 1
    state_shapes: Mapping[str, tuple[int, ...]] = {"sum": (1,)}

    def __init__(self, *, raises_on: float | None = None, nan_on: float | None = None) -> None:
        self.raises_on, self.nan_on = raises_on, nan_on
        self.broken = False  # raises on everything
        self.batches: list[list[int]] = []  # the lengths of the rows of each run, in order
        self._gate, self._may_end = threading.Condition(), float("inf")  # how many runs may end

    def hold(self) -> None:
        """Let no run end until `release`."""
        self.release(0)

    def release(self, runs: float = float("inf")) -> None:
        """Let all runs end, or so many of those that are held or come."""
        with self._gate:
            self._may_end = runs
            self._gate.notify_all()

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        """See Model.run; what stands behind a row's length is NaN."""
        self.batches.append(lengths.tolist())
        with self._gate:
            self._gate.wait_for(lambda: self._may_end > 0)
            self._may_end -= 1
        inside = np.arange(inputs.shape[1]) < lengths[:, None]  # [B, T]
        values = np.where(inside, inputs[:, :, 0], 0)
        if self.broken or self.raises_on in values:
            raise RuntimeError("no such value")
        values = np.where(values == self.nan_on, np.nan, values) if self.nan_on is not None else values
        sums = np.concatenate([state["sum"], values], axis=1, dtype=np.float32).cumsum(axis=1)  # [B, 1 + T]
        outputs = np.where(inside, sums[:, 1:], np.nan)[:, :, None].astype(np.float32)
        return outputs, {"sum": sums[:, -1:]}


class FakeClock:
    """Seconds that pass when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class FakeStore:
    """Commits at once, or when told to; refuses the rows that it is told to refuse, and raises when told to."""

    def __init__(self, *, held: bool = False) -> None:
        self.held = held  # commits wait for `release`
        self.conflicts: dict[int, CarouselError] = {}  # of rows whose changes are refused from now on
        self.error: Exception | None = None  # raised by every commit from now on
        self.commits: list[Sequence[Change]] = []  # that were asked for, in order
        self.written: list[tuple[Sequence[Change], Conflicts]] = []  # what is durable, in order
        self._waiting: deque[tuple[Sequence[Change], Sequence[Change], asyncio.Future[Conflicts]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def commit(self, home: Home, changes: Sequence[Change]) -> "asyncio.Future[Conflicts] | None":
        """See Store.commit."""
        if self.error is not None:
            raise self.error
        self.commits.append(changes)
        changes = [one._replace(home=None, source=None) if isinstance(one, Moved) else one for one in changes]
        refused = {row: self.conflicts[row] for change in changes for row in rows_of(change) if row in self.conflicts}
        if not (self.held or refused):
            self.written.append((deepcopy(changes), {}))
            return None
        done: asyncio.Future[Conflicts] = asyncio.get_running_loop().create_future()
        self._waiting.append((changes, deepcopy(changes), done))
        if not self.held:
            self.release()
        return done

    def release(self, count: int | None = None, error: Exception | None = None) -> None:
        """Let the oldest commits that wait be done, so many or all, or fail with an error.

        Their arrays must be as they were when the commits were asked for.
        """
        for _ in range(len(self._waiting) if count is None else count):
            changes, copies, done = self._waiting.popleft()
            assert repr(changes) == repr(copies)
            if error is not None:
                done.set_exception(error)
                continue
            refused = {row: self.conflicts[row] for one in copies for row in rows_of(one) if row in self.conflicts}
            self.written.append((copies, refused))
            done.set_result(refused)


def rows_of(change: Change) -> list[int]:
    """The table rows of a change."""
    return change.rows.tolist() if isinstance(change, Advanced | Copied) else [change.row]


def column(*values: float) -> Array:
    """A sequence [T, 1] of these values."""
    return np.array(values, np.float32).reshape(-1, 1)


def sums(*values: float, before: float = 0.0) -> list[float]:
    """What RunningSum answers to these values after `before`."""
    return [before + sum(values[: index + 1]) for index in range(len(values))]


async def until(condition: Callable[[], bool]) -> None:
    """Give the others turns of the loop until something is so."""
    while not condition():  # noqa: ASYNC110  # what is waited for is the engine's own state, which sets no event
        await asyncio.sleep(0)
