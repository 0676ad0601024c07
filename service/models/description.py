"""What the metadata of a model file say, which a caller may see. Pure; every key is optional."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from service.errors import ModelUnusable

_EXACT = 2**24  # float32 has all whole numbers up to here; a code is one
_MOST_METADATA = 2**20  # characters


@dataclass(frozen=True)
class Column:
    """A feature or an output: its name and, where the file tells them, its unit and how its values are made."""

    name: str
    unit: str | None = None
    making: Mapping[str, Any] = field(default_factory=dict)  # rules for gaps, lags, calendar, codes; passed on as read
    labels: Mapping[str, float] = field(default_factory=dict)  # of a category with words → the code of each


@dataclass(frozen=True)
class Description:
    """What the metadata of a file say; every key is optional there."""

    features: tuple[Column, ...]
    outputs: tuple[Column, ...]
    digest: str  # SHA-256 of the file and its external data: a state belongs to exactly one file
    cell: str | None = None
    memory_horizon: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    last: bool = False  # a sequence has one answer, after its last step; a session's step has the answer so far


def described(
    metadata: Mapping[str, str], names: tuple[Sequence[str], Sequence[str]], digest: str, *, last: bool = False
) -> Description:
    """What the metadata of a file say; `names` are those of features and outputs that they do not name."""
    text = metadata.get("carousel", "{}")
    try:
        if len(text) > _MOST_METADATA:
            raise ValueError(f"{len(text)} characters, more than {_MOST_METADATA}")
        told = json.loads(text, parse_constant=lambda _: None)  # NaN and infinities, which JSON does not have
        _expect(told, cell=(str,), memory_horizon=(int,), metrics=(dict,), features=(list,), outputs=(list,))
        _expect(told, categories=(dict,))
        orjson.dumps(told)  # what cannot be shown is refused here: integers of over 64 bits, lone surrogates, …
        codes = told.get("categories") or {}
        return Description(
            features=_columns(told.get("features"), names[0], codes),
            outputs=_columns(told.get("outputs"), names[1], {}),
            digest=digest,
            cell=told.get("cell"),
            memory_horizon=told.get("memory_horizon"),
            metrics=told.get("metrics") or {},
            last=last,
        )
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ModelUnusable(f"the metadata 'carousel' cannot be read: {error}") from error


def _expect(told: Any, **kinds: tuple[type, ...]) -> None:
    """Raise unless `told` is an object and each of these keys, if given, has one of its types."""
    if not isinstance(told, dict):
        raise TypeError(f"{told!r} is not an object")
    for key, allowed in kinds.items():
        if told.get(key) is not None and type(told[key]) not in allowed:
            raise TypeError(f"{key} is {told[key]!r}")


def _columns(
    told: list[dict[str, Any]] | None, names: Sequence[str], codes: Mapping[str, Mapping[str, Any]]
) -> tuple[Column, ...]:
    if not told:
        return tuple(map(Column, names))
    columns = tuple(_column(one, codes) for one in told)
    if len(columns) != len(names) or len({column.name for column in columns}) != len(names):
        raise ValueError(f"{len(columns)} names, or one of them twice, for {len(names)} columns")
    return columns


def _column(told: dict[str, Any], codes: Mapping[str, Mapping[str, Any]]) -> Column:
    _expect(told, name=(str,), unit=(str,))
    making = {key: value for key, value in told.items() if key not in ("name", "unit")}
    making |= codes.get(told["name"], {})
    return Column(told["name"], told.get("unit"), making, _labels(told["name"], making))


def _labels(name: str, making: Mapping[str, Any]) -> dict[str, float]:
    """Return the code of each label; none where the feature has no labels."""
    words, codes = (making.get(key) or [] for key in ("labels", "codes"))
    if not words:
        return {}
    labels = dict(zip(words, codes, strict=True))
    if len(labels) < len(words) or not all(
        type(word) is str and type(code) in (int, float) and abs(code) <= _EXACT for word, code in labels.items()
    ):
        raise ValueError(f"{name} has labels that are not different words, or codes that are not such numbers")
    return labels
