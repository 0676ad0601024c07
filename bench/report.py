"""Lines of figures → the table that is printed and appended to RESULTS.md."""

import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

_RESULTS = Path(__file__).parent / "RESULTS.md"


@dataclass(frozen=True)
class Bound:
    """What a ratio must reach, or must not exceed."""

    limit: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"

    def met(self, value: float) -> bool:
        """Whether the value keeps it."""
        return value <= self.limit if self.at_most else value >= self.limit


@dataclass(frozen=True)
class Line:
    """One line of the table: what was measured, and the ratio that was asked for, if one was."""

    row: str
    what: str
    figure: str
    ratios: tuple[float, ...] = ()  # one a repeat
    bound: Bound | None = None

    def cells(self) -> list[str]:
        """The cells of the table."""
        ratio = spread(self.ratios) if self.ratios else ""
        if self.bound is None or not self.ratios:
            return [self.row, self.what, self.figure, ratio, ""]
        met = self.bound.met(statistics.median(self.ratios))
        return [self.row, self.what, self.figure, ratio, f"{self.bound} {'✓' if met else '✗'}"]


def spread(values: Sequence[float]) -> str:
    """The median, and the least and the most where they differ."""
    middle, low, high = map(_short, (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} [{low}–{high}]"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(lines: Sequence[Line]) -> str:
    """Markdown; a row's name stands on its first line."""
    text = ["| load | | measured: median [least–most] | ratio | must be |", "|---|---|---|---|---|"]
    for before, line in zip([None, *lines], lines, strict=False):
        cells = line.cells()
        if before is not None and before.row == line.row:
            cells[0] = ""
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)


def append(lines: Sequence[Line], command: str, repeats: int, seconds: float) -> None:
    """Append a table to RESULTS.md, under its date, machine and command."""
    how = f"{machine()}; {repeats} repeats of {seconds:g} s, servers on one core, the generator on another."
    with _RESULTS.open("a") as results:
        results.write(f"\n## {date.today()}: `{command}`\n\n{how}\n\n{table(lines)}\n")


def machine() -> str:
    """The processor, its cores and the Python that runs."""
    told = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in told if line.startswith("model name")]
    name = f"{names[0]}, {len(names)} cores" if names else platform.machine()
    return f"{name}, Python {platform.python_version()}"
