"""One input column of a model: its codes, and the values that a caller sends in a gap.

Part of the model contract; docs/model-contract.md describes it.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Missing:
    """What to send in a gap: the last value, a constant, or a constant and 1 in a mask column."""

    rule: Literal["hold", "constant", "mask"]
    value: float | None = None  # for `constant` and `mask`
    column: str | None = None  # for `mask`: the feature that is 1 in a gap, else 0


@dataclass(frozen=True)
class Lag:
    """Source of a lagged feature: the value of feature `of`, `steps` rows earlier."""

    of: str
    steps: int


@dataclass(frozen=True)
class Feature:
    """One input column. With `codes` it is a category: the caller sends a code, and the file looks it up in a table."""

    name: str
    unit: str | None = None
    codes: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()  # meaning of each code
    calendar: str | None = None  # hour, weekday or month: computed from the time of the row
    zone: str | None = None  # of the calendar; None: the time as it is written
    offsets: bool | None = None  # True: with `zone`, training's times had offsets, so a time without one is refused
    missing: Missing | None = None
    lag: Lag | None = None
    mask_of: str | None = None  # 1 where that feature has a gap
    initial: float | None = None  # held or lagged value before the first row
    scale: bool = True  # whether it is standardised inside the file
    range: tuple[float, float] | None = None  # a number outside counts as the nearest of these

    @property
    def measured(self) -> bool:
        """Whether the caller measures it; lags and masks are computed from other features."""
        return self.lag is None and self.mask_of is None
