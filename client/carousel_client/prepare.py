"""Rows with gaps → complete input rows, by the rules a model tells; pure, knows neither service nor session.

The rules are those of docs/model-contract.md, "Gaps and lags"; all numbers are float32.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias, overload
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import DTypeLike, NDArray

from carousel_client.descriptions import Feature, ModelDescription
from carousel_client.errors import InvalidInput

Array: TypeAlias = NDArray[np.float32]
Clock: TypeAlias = Callable[[datetime], int]

CALENDAR: Final[Mapping[str, Clock]] = {
    "hour": lambda time: time.hour,
    "weekday": lambda time: time.weekday(),  # from Monday = 0
    "month": lambda time: time.month,
}


@dataclass(frozen=True, eq=False)
class Rules:
    """How F features come from R measured ones and the L rows before; made once for each model."""

    features: tuple[str, ...]  # F names, in the model's order
    measured: Mapping[str, int]  # R names → their place in a given row
    words: Mapping[str, Mapping[str, float]]  # name → the codes of its words, of a category that has words
    calendar: Mapping[int, Clock]  # place → how it is read off the row's time
    hold: NDArray[np.bool_]  # [R], whether a gap takes the newest value
    constant: Array  # [R], what else a gap takes; NaN: it has no rule
    source: NDArray[np.intp]  # [F], places in: the filled row [R], its gaps [R], the memory [L, R] from the oldest
    first: Array  # [L, R], L ≥ 1: the memory before the first row

    @classmethod
    def of(cls, features: Sequence[Feature]) -> Rules:
        """Read what the model tells. Raises InvalidInput where a rule is unknown, or lacks what it needs."""
        measured = [feature for feature in features if "lag" not in feature and "mask_of" not in feature]
        at = {feature["name"]: place for place, feature in enumerate(measured)}
        for feature in features:
            _check(feature, {one["name"]: one for one in measured})
        L = max([1, *(feature["lag"]["steps"] for feature in features if "lag" in feature)])
        initial = [feature.get("initial", math.nan) for feature in measured]
        return cls(
            tuple(feature["name"] for feature in features),
            at,
            {one["name"]: dict(zip(one["labels"], one["codes"], strict=True)) for one in measured if "labels" in one},
            {at[one["name"]]: _clock(one) for one in measured if "calendar" in one},
            np.array(["missing" in one and one["missing"]["rule"] == "hold" for one in measured], np.bool_),
            np.array(
                [one["missing"].get("value", 0) if "missing" in one else math.nan for one in measured], np.float32
            ),
            np.array([_source(feature, at, L) for feature in features], np.intp),
            np.full((L, len(measured)), initial, np.float32),
        )

    def complete(self, given: Array, past: Array) -> tuple[Array, Array]:
        """Fill a row [R], NaN being a gap, after the memory [L, R] → the row [F] and the memory after it."""
        gaps = np.isnan(given)
        filled = np.where(gaps, np.where(self.hold, past[-1], self.constant), given)
        if np.isnan(filled).any():
            place = int(np.argmax(np.isnan(filled)))
            hint = ": give it, or the row's time" if place in self.calendar else ""
            raise InvalidInput(f"{tuple(self.measured)[place]} is empty, and has no rule for gaps{hint}")
        pool = np.concatenate([filled, gaps.astype(np.float32), past.ravel()])
        return pool[self.source], np.concatenate([past[1:], filled[None]])


class Row(dict[str, float]):
    """A complete row by feature name, in the model's order: also an array [F], as a stream's channel takes it."""

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:  # NumPy's protocol
        return np.array(list(self.values()), dtype or np.float32)


class Preparation:
    """What a stream's rows go through before they are sent: `Preparation(client.model(name))`, one for each stream.

    It remembers the stream's last rows, so give it every row, once and in order. A row that it refuses leaves the
    memory as it was. After a failed call, send the row that it answered again: to prepare anew would count it twice.
    To go on in another process, give a new one the latest rows first; for a fork of a session, `copy.copy` it.

    A row holds the measured features, those that are neither lags nor masks: a dict by name, or a list or array in the
    model's order; a missing key, None or NaN is a gap, and a category's word stands for its code. Answers have all
    features, in the same style; a session and a channel of a stream take each of them.
    """

    def __init__(self, description: ModelDescription) -> None:
        self._model = f"{description['name']}/{description['version']}"
        self._rules = Rules.of(description["features"])
        self._past = self._rules.first  # [L, R], replaced and never written to: copies may share it

    @overload
    def row(self, values: NDArray[Any], time: datetime | None = None) -> Array: ...
    @overload
    def row(self, values: Mapping[str, float | str | None], time: datetime | None = None) -> Row: ...
    @overload
    def row(self, values: Sequence[float | str | None], time: datetime | None = None) -> list[float]: ...
    def row(self, values: Any, time: datetime | None = None) -> Any:
        """Complete one row. `time` fills the calendar features that the row does not give.

        It counts as it is written. If the model names a `zone`, a time with an offset is converted into it; a time
        without one counts as written, and is refused if the model was trained with offsets.

        Raises InvalidInput, which names the feature, for a gap without a rule, an unknown name or what is no number.
        """
        row, self._past = self._rules.complete(self._read(values, time), self._past)
        return self._styled(row, values)

    @overload
    def rows(self, values: NDArray[Any], times: Sequence[datetime] | None = None) -> Array: ...
    @overload
    def rows(self, values: Sequence[NDArray[Any]], times: Sequence[datetime] | None = None) -> list[Array]: ...
    @overload
    def rows(
        self, values: Sequence[Mapping[str, float | str | None]], times: Sequence[datetime] | None = None
    ) -> list[Row]: ...
    @overload
    def rows(
        self, values: Sequence[Sequence[float | str | None]], times: Sequence[datetime] | None = None
    ) -> list[list[float]]: ...
    def rows(self, values: Any, times: Sequence[datetime] | None = None) -> Any:
        """Complete T rows, or an array [T, R], as T calls of `row` would. If one is refused, none counts."""
        if not (values.ndim == 2 if isinstance(values, np.ndarray) else _is_list(values)):
            raise InvalidInput("rows are an array [T, R] or a list of rows")
        if times is not None and len(times) != len(values):
            raise InvalidInput(f"{len(times)} times for {len(values)} rows")
        past, answers = self._past, []
        for i, one in enumerate(values):
            try:
                row, past = self._rules.complete(self._read(one, None if times is None else times[i]), past)
            except InvalidInput as error:
                raise InvalidInput(f"rows[{i}]: {error.detail}") from error
            answers.append(self._styled(row, one))
        self._past = past
        if isinstance(values, np.ndarray):
            return np.array(answers, np.float32).reshape(len(values), len(self._rules.features))
        return answers

    def __repr__(self) -> str:
        L, R = self._past.shape
        return f"<Preparation for {self._model}: {R} measured of {len(self._rules.features)} features, memory {L}>"

    def _read(self, values: Any, time: datetime | None) -> Array:
        """The measured features [R] as given, the calendar's gaps read off `time`."""
        names = self._rules.measured
        if isinstance(values, Mapping):
            for name in values:
                if name not in names:
                    raise InvalidInput(f"{name} is no measured feature of {self._model}: {', '.join(names)}")
            listed = [values.get(name) for name in names]
        elif values.ndim == 1 if isinstance(values, np.ndarray) else _is_list(values):
            listed = list(values)
        else:
            raise InvalidInput("a row is a dict by feature name, or a list or array of the measured features")
        if len(listed) != len(names):
            raise InvalidInput(f"{len(listed)} values for {len(names)} measured features: {', '.join(names)}")
        coded = [self._coded(*one) for one in zip(names, listed, strict=True)]
        given = np.array([_number(*one) for one in zip(names, coded, strict=True)], np.float32)
        if time is not None and not isinstance(time, datetime):
            raise InvalidInput(f"time is a datetime, not {type(time).__name__}")
        for place, read in self._rules.calendar.items():
            if time is not None and np.isnan(given[place]):
                given[place] = read(time)
        return given

    def _coded(self, name: str, value: Any) -> Any:
        """A category's word as its code, anything else as it is."""
        known = self._rules.words.get(name)
        if known is None or not isinstance(value, str):
            return value
        if value not in known:
            raise InvalidInput(f"{name} is {value!r}, not one of {', '.join(known)}; as a code, -1 is one never seen")
        return known[value]

    def _styled(self, row: Array, values: Any) -> Any:
        if isinstance(values, np.ndarray):
            return row
        listed: list[float] = row.tolist()
        return Row(zip(self._rules.features, listed, strict=True)) if isinstance(values, Mapping) else listed


def _is_list(values: Any) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str | bytes)


def _number(name: str, value: Any) -> np.float32:
    if value is None:
        return np.float32(math.nan)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidInput(f"{name} is a number, None or NaN, not {type(value).__name__}")
    try:
        with np.errstate(over="ignore"):
            number = np.float32(float(value))
    except OverflowError:
        number = np.float32(math.inf)
    if np.isinf(number):
        raise InvalidInput(f"{name} is no finite float32")
    return number


def _clock(feature: Feature) -> Clock:
    """Return how a calendar feature is read off a time: as written, or in the zone of the feature."""
    read, name = CALENDAR[feature["calendar"]], feature.get("zone")
    if name is None:
        return read
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidInput(f"{feature['name']} needs the time zone {name!r}: install the package tzdata") from error

    def read_there(time: datetime) -> int:
        if time.utcoffset() is not None:
            return read(time.astimezone(zone))
        if feature.get("offsets"):
            raise InvalidInput(f"{time} has no offset; {feature['name']} is read in {name}: give an aware datetime")
        return read(time)

    return read_there


def _check(feature: Feature, measured: Mapping[str, Feature]) -> None:
    name, lag = feature["name"], feature.get("lag")
    rule = feature["missing"].get("rule", "none") if "missing" in feature else None
    if rule not in (None, "hold", "constant", "mask"):
        raise InvalidInput(f"{name} has an unknown rule for gaps: {rule}")
    if "calendar" in feature and feature["calendar"] not in CALENDAR:
        raise InvalidInput(f"{name} is of an unknown calendar: {feature['calendar']}")
    of = lag["of"] if lag else feature.get("mask_of", name)
    if (lag or "mask_of" in feature) and of not in measured:
        raise InvalidInput(f"{name} is made of {of}, which is no measured feature")
    if lag and lag["steps"] < 1:
        raise InvalidInput(f"{name} lags {lag['steps']} steps: at least 1")
    if (lag or rule == "hold") and "initial" not in measured[of]:
        raise InvalidInput(f"{name} needs the `initial` of {of}, which the model does not tell")


def _source(feature: Feature, at: Mapping[str, int], L: int) -> int:
    """The feature's place in: the filled row [R], its gaps [R], the memory [L, R] from the oldest."""
    R = len(at)
    if "lag" in feature:
        return (2 + L - feature["lag"]["steps"]) * R + at[feature["lag"]["of"]]
    if "mask_of" in feature:
        return R + at[feature["mask_of"]]
    return at[feature["name"]]
