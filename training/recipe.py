"""A recipe: one training task as a frozen, validated value.

Knows the words of a recipe and which of them fit together; not the file they come from (`parse`), the table that they
name, nor torch. docs/recipes.md is its prose.
"""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, Strict, model_validator

from training.sources import Data
from training.values import Value

Fraction = Annotated[float, Field(ge=0, lt=1)]
Moment = Annotated[datetime, Strict()] | Annotated[date, Strict()]


class Constant(Value):
    """A number that stands in for a gap."""

    constant: float


class Word(Value):
    """A category that stands in for a gap."""

    constant: str | int


Rule = Literal["hold", "mask"]  # the last value; or the mean of the training part and a mark, from which to learn


class Number(Value):
    """A column of numbers, standardised inside the file. A `*` in the name stands for any column that it matches."""

    kind: Literal["number"] = "number"
    name: str
    unit: str | None = None
    missing: Rule | Constant | None = None
    scale: bool = True  # false: it enters as it is, as a 0/1 column wants


class Category(Value):
    """A column of words (coded 0, 1, … in the order of `labels`) or of whole numbers (their own codes)."""

    kind: Literal["category"]
    name: str
    labels: tuple[str, ...] = ()  # left out: those of the training part
    missing: Rule | Word | None = None


class Calendar(Value):
    """A code read off the time column."""

    kind: Literal["calendar"]
    name: Literal["hour", "weekday", "month"]


class Lag(Value):
    """The value that another number had some steps ago."""

    kind: Literal["lag"]
    name: str
    of: str
    steps: PositiveInt


Feature = Annotated[Number | Category | Calendar | Lag, Field(discriminator="kind")]
Names = Annotated[tuple[str, ...], Field(min_length=1)]
Horizons = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]


class Regression(Value):
    """Numbers some steps ahead; horizon 0 is the row itself."""

    kind: Literal["regression"]
    targets: Names
    horizons: Horizons = (1,)
    unit: str | None = None
    season: PositiveInt | None = None  # steps: the forecast is compared with the value one season before
    cap: float | None = None  # answers above it count as it while learning; figures are given both ways
    judged: Literal["every", "last"] = "every"  # the steps of a sequence that figures are about


class Quantiles(Value):
    """A band: for each target and horizon the values that it stays below with these probabilities."""

    kind: Literal["quantiles"]
    targets: Names
    horizons: Horizons = (1,)
    unit: str | None = None
    quantiles: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.1, 0.5, 0.9)


class Classification(Value):
    """One class a step, as probabilities."""

    kind: Literal["classification"]
    target: str
    horizon: NonNegativeInt = 0
    labels: tuple[str, ...] = ()  # left out: those of the training part

    @property
    def targets(self) -> tuple[str, ...]:
        """The one column, as the other tasks name theirs."""
        return (self.target,)

    @property
    def horizons(self) -> tuple[int, ...]:
        """The one horizon."""
        return (self.horizon,)


class Multilabel(Value):
    """Any number of labels a step, 0/1 columns, as probabilities."""

    kind: Literal["multilabel"]
    targets: Names
    horizon: NonNegativeInt = 0

    @property
    def horizons(self) -> tuple[int, ...]:
        """The one horizon."""
        return (self.horizon,)


class NextSymbol(Value):
    """The next value of a category that is a feature too, as probabilities."""

    kind: Literal["next-symbol"]
    target: str
    horizons: tuple[Literal[1]] = (1,)

    @property
    def targets(self) -> tuple[str, ...]:
        """The one column."""
        return (self.target,)


Task = Annotated[Regression | Quantiles | Classification | Multilabel | NextSymbol, Field(discriminator="kind")]


class ByTime(Value):
    """Training, then validation, then test; a boundary is a time or the share of the rows behind it."""

    by: Literal["time"]
    validation: Fraction | Moment = 0.15  # the time at which it begins, or its share
    test: Fraction | Moment = 0.15
    end: Moment | None = None  # of the test part
    warm_up: NonNegativeInt | None = None  # steps before a part that are fed and not counted; else one window


class BySequence(Value):
    """Whole sequences, drawn; those to which the data give a part themselves keep it."""

    by: Literal["sequence"]
    validation: Fraction | tuple[str, ...] = 0.15  # a share, or which
    test: Fraction | tuple[str, ...] = 0.15
    seed: int = 0


Split = Annotated[ByTime | BySequence, Field(discriminator="by")]


class Network(Value):
    """Which network, and how large."""

    cell: Literal["feedforward", "rnn", "gru", "lstm"] = "lstm"
    hidden: PositiveInt = 64
    layers: PositiveInt = 1
    dropout: Fraction = 0.0
    bidirectional: bool = False
    table_width: PositiveInt = 8  # of what a code is looked up as
    limit: Annotated[float, Field(gt=0)] = 3.0  # deviations: numbers are held within it

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.bidirectional and self.cell != "lstm":
            raise ValueError("bidirectional is for cell = 'lstm'")
        return self


class Training(Value):
    """How long, how fast and on what pieces to learn."""

    epochs: PositiveInt = 24  # at most; the learning rate falls to zero over them along a cosine
    patience: PositiveInt = 6  # epochs without a better validation loss before the run stops
    batch: PositiveInt = 16
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    clip: Annotated[float, Field(gt=0)] = 1.0  # largest norm of the gradient
    window: PositiveInt | None = None  # steps; left out: whole sequences
    stride: PositiveInt | None = None  # steps from window to window; left out: a window
    uncounted: NonNegativeInt = 0  # first steps of a window, which only warm the state up
    carry: bool = False  # truncated back-propagation: a window starts from the state that the one before left

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.window is not None and self.uncounted >= self.window:
            raise ValueError(f"uncounted = {self.uncounted} leaves nothing of a window of {self.window} to learn from")
        if self.carry and (self.window is None or self.stride is not None or self.uncounted):
            raise ValueError("carry wants a window, and neither stride nor uncounted: windows follow each other")
        return self


class Notes(Value):
    """What only the author of a recipe can say, for the card."""

    summary: str = ""
    data: str = ""
    split: str = ""


class Recipe(Value):
    """One training task. `folder` is where its file lies: paths are relative to it."""

    folder: Path
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")]
    title: str = ""
    notes: Notes = Notes()
    data: Data
    features: Annotated[tuple[Feature, ...], Field(min_length=1)]
    task: Task
    split: Split
    network: Network = Network()
    training: Training = Training()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [feature.name for feature in self.features]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two features are named {name!r}; rename or remove one")
        now = set(names) & set(self.task.targets) if 0 in self.task.horizons else ()
        for name in now:
            raise ValueError(f"{name!r} is a target at horizon 0 and a feature: the question would hold the answer")
        if self.training.carry and self.network.bidirectional:
            raise ValueError("carry and bidirectional exclude each other: there is no state to carry")
        return self
