"""`[[features]]` of a recipe: the columns that enter the network, and the rules for their gaps."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from training.value import Value


class Constant(Value):
    """Number that replaces a gap."""

    constant: float


class Word(Value):
    """Category that replaces a gap."""

    constant: str | int


Rule = Literal["hold", "mask"]  # hold: the last value; mask: the training mean, and a 0/1 column that marks the gap


class Number(Value):
    """Column of numbers, standardised inside the file. A `*` in the name matches any characters."""

    kind: Literal["number"] = "number"
    name: str
    unit: str | None = None
    missing: Rule | Constant | None = None
    scale: bool = True  # false: not standardised, for 0/1 columns


class Category(Value):
    """Column of words (codes 0, 1, … in the order of `labels`) or of whole numbers (which are their own codes)."""

    kind: Literal["category"]
    name: str
    labels: tuple[str, ...] = ()  # default: those of the training part
    missing: Rule | Word | None = None
    unknown: bool = False  # true: words that are rare in training, or not in `labels`, count as one unknown word


class Calendar(Value):
    """Code computed from the time column."""

    kind: Literal["calendar"]
    name: Literal["hour", "weekday", "month"]


class Lag(Value):
    """Value of another number feature, `steps` rows earlier."""

    kind: Literal["lag"]
    name: str
    of: str
    steps: PositiveInt


Feature = Annotated[Number | Category | Calendar | Lag, Field(discriminator="kind")]
