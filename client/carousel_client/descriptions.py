"""What the service tells about its models: the types of `Client.models` and `Client.model`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta


class Version(TypedDict):
    """One version of a model; `reason` says why it does not serve."""

    version: str
    state: Literal["ready", "loading", "unavailable"]
    reason: NotRequired[str]


class ModelVersions(TypedDict):
    """A model in the list of models; `default_version` is None while no version is ready."""

    name: str
    versions: list[Version]
    default_version: str | None


class Column(TypedDict):
    """A feature or an output."""

    name: str
    unit: NotRequired[str]


class Missing(TypedDict):
    """What replaces a missing value: the value before it, or `value`."""

    rule: str  # hold, constant or mask
    value: NotRequired[float]
    column: NotRequired[str]  # of `mask`: the feature that marks missing values


class Lag(TypedDict):
    """The value of the feature `of`, `steps` rows before."""

    of: str
    steps: Annotated[int, Meta(le=10**6)]


class Feature(Column):
    """A feature, and the rules by which `Preparation` makes its values, where the model has them."""

    missing: NotRequired[Missing]
    initial: NotRequired[float]  # the value before the first row
    lag: NotRequired[Lag]
    mask_of: NotRequired[str]  # 1 where that feature is missing, else 0
    calendar: NotRequired[str]  # hour, weekday or month
    zone: NotRequired[str]  # in which the calendar is read; without it, of the time as it is written
    offsets: NotRequired[bool]  # with `zone`: times need an offset
    range: NotRequired[list[float]]  # a number outside counts as the nearest of these
    codes: NotRequired[list[int]]  # of a category
    labels: NotRequired[list[str]]  # one for each code, where the category has words


class ModelDescription(TypedDict):
    """A version of a model; `memory_horizon` is in steps."""

    name: str
    version: str
    cell: str | None
    features: list[Feature]
    outputs: list[Column]
    state_bytes: Annotated[int, Meta(ge=0)]
    memory_horizon: NotRequired[float]
    metrics: dict[str, Any]
    streamable: bool
    bit_equal: bool
    provider: NotRequired[str]
    tolerance: NotRequired[float]
