"""What an engine counts; `EngineStatistics` is a frozen view that metrics pull."""

from dataclasses import dataclass

from service.gate import Gate

ROW_BOUNDS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class EngineStatistics:
    """Counts since the start, and how things stand."""

    alive: bool
    waiting_rows: int
    waiting_bytes: int
    ticks: int
    rows: int
    steps: int
    padded_steps: int
    model_seconds: float
    ticks_by_rows: tuple[int, ...]  # ticks of at most ROW_BOUNDS[i] rows and more than the bound before; last: above


class Tally:
    """The mutable side, written by the engine alone."""

    def __init__(self) -> None:
        self._ticks = self._rows = self._steps = self._padded = 0
        self._seconds = 0.0
        self._by_rows = [0] * (len(ROW_BOUNDS) + 1)

    def tick(self, rows: int, steps: int, longest: int, seconds: float) -> None:
        """One run of `rows` rows, each padded to `longest` steps, `steps` of them asked for."""
        self._ticks += 1
        self._rows += rows
        self._steps += steps
        self._padded += rows * longest - steps
        self._seconds += seconds
        self._by_rows[sum(bound < rows for bound in ROW_BOUNDS)] += 1

    def frozen(self, gate: Gate, *, alive: bool) -> EngineStatistics:
        """How things stand now."""
        return EngineStatistics(
            alive,
            gate.rows,
            gate.bytes,
            self._ticks,
            self._rows,
            self._steps,
            self._padded,
            self._seconds,
            tuple(self._by_rows),
        )
