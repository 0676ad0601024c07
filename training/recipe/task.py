"""`[task]` of a recipe: what is predicted. Outputs and metrics of each kind are in `training.tasks`."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from training.value import Value

Steps = Literal["every", "last"]
Weight = Annotated[float, Field(gt=0)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]
Horizons = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]


class Regression(Value):
    """Numbers, `horizons` steps ahead; horizon 0 is the row itself."""

    kind: Literal["regression"]
    targets: Names
    horizons: Horizons = (1,)
    unit: str | None = None
    season: PositiveInt | None = None  # steps; adds the baseline "value one season before"
    cap: float | None = None  # training clips answers to it; metrics are reported with and without it
    residual: bool = False  # forecast = last value + what the network adds; the targets are features then
    loss: Literal["mse", "mae", "huber"] = "mse"
    scale: bool = True  # false: the loss is in the target's unit, not in its deviations
    learnt: Steps = "every"  # which steps of a sequence have an answer; "last" is a label of the whole sequence
    judged: Steps = "every"  # which steps of a sequence the metrics count

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.residual and (self.cap is not None or 0 in self.horizons):
            raise ValueError("residual is for forecasts: horizons of at least 1, and no cap")
        return self


class Quantiles(Value):
    """Quantiles of each target at each horizon."""

    kind: Literal["quantiles"]
    targets: Names
    horizons: Horizons = (1,)
    unit: str | None = None
    quantiles: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.1, 0.5, 0.9)


class _OneTarget(Value):
    target: str

    @property
    def targets(self) -> tuple[str, ...]:
        """The target as a tuple, like the other tasks have."""
        return (self.target,)


class _OneHorizon(Value):
    horizon: NonNegativeInt = 0

    @property
    def horizons(self) -> tuple[int, ...]:
        """The horizon as a tuple, like the other tasks have."""
        return (self.horizon,)


class Classification(_OneTarget, _OneHorizon):
    """One class per step, as probabilities."""

    kind: Literal["classification"]
    labels: tuple[str, ...] = ()  # default: those of the training part
    weights: Literal["balanced"] | dict[str, Weight] | None = None  # of the classes in the loss; default: 1
    learnt: Steps = "every"  # as for a regression
    judged: Steps = "every"


class Multilabel(_OneHorizon):
    """Any number of labels per step (0/1 columns), as probabilities."""

    kind: Literal["multilabel"]
    targets: Names


class NextSymbol(_OneTarget):
    """Next value of a category that is also a feature, as probabilities."""

    kind: Literal["next-symbol"]
    horizons: tuple[Literal[1]] = (1,)


Task = Annotated[Regression | Quantiles | Classification | Multilabel | NextSymbol, Field(discriminator="kind")]
