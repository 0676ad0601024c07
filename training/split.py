"""Which part each row's answer belongs to: training, validation or test. Knows sequences; no features, no horizons."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.layout import PARTS, Rows
from training.recipe import BySequence, ByTime, Split
from training.sources import Table


class Piece(NamedTuple):
    """Rows [first, stop) of a sequence whose values are answers of one part."""

    rows: Rows
    first: int
    stop: int


class Parts(NamedTuple):
    """The pieces of each part."""

    training: list[Piece]
    validation: list[Piece]
    test: list[Piece]


def split(table: Table, rows: Sequence[Rows], how: Split, horizon: int) -> Parts:
    """Share the rows out among training, validation and test; no row is an answer in two of them.

    The first `horizon` rows of a sequence answer nothing: they have no row so far before them.
    """
    if not rows:
        raise table.error("no sequence is as long as the horizon needs; change data.gap or the horizon")
    shared = _by_time(table, rows, how) if isinstance(how, ByTime) else _by_sequence(table, rows, how)
    parts = Parts(*([piece for piece in pieces if piece.stop > max(piece.first, horizon)] for pieces in shared))
    for name, pieces in zip(PARTS, parts, strict=True):
        if not pieces:
            raise table.error(f"nothing is left for the {name} part; {_extent(rows, how)}")
    return parts


def _by_time(table: Table, rows: Sequence[Rows], how: ByTime) -> Parts:
    everything = np.sort(np.concatenate([one.times for one in rows]))
    test = _moment(table, everything, how.test, 0.0, "test")
    behind = how.test if isinstance(how.test, float) else 0.0
    validation = _moment(table, everything, how.validation, behind, "validation")
    end = None if how.end is None else _moment(table, everything, how.end, 0.0, "end")
    parts = Parts([], [], [])
    for one in rows:
        ends = len(one) if end is None else int(np.searchsorted(one.times, end))
        inner = [int(np.searchsorted(one.times, moment)) for moment in (validation, test)]
        bounds = np.minimum([0, *inner, ends], ends).tolist()
        for pieces, first, stop in zip(parts, bounds, bounds[1:], strict=False):
            if stop > first:
                pieces.append(Piece(one, first, stop))
    return parts


def _moment(table: Table, everything: NDArray[Any], told: Any, behind: float, key: str) -> Any:
    """Return the time at which a part begins: as told, or so that its share of the rows lies behind it."""
    if isinstance(told, float):
        rank = round(len(everything) * (1 - behind - told))
        return everything[min(max(rank, 0), len(everything) - 1)] if told else everything[-1] + 1
    if not np.issubdtype(everything.dtype, np.datetime64):
        raise table.error(f"split.{key} is a time, and {table.time or 'the table'} has none; give a share such as 0.15")
    moment = told if isinstance(told, datetime) else datetime(told.year, told.month, told.day)
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return np.datetime64(moment.replace(tzinfo=None), "us")


def _by_sequence(table: Table, rows: Sequence[Rows], how: BySequence) -> Parts:
    parts = Parts([], [], [])
    where = {one.id: one.part for one in rows}
    free = [id for id, part in where.items() if part is None]
    drawn = [free[i] for i in np.random.default_rng(how.seed).permutation(len(free))]
    for name, told in (("validation", how.validation), ("test", how.test)):
        if isinstance(told, tuple):
            for id in told:
                if id not in where:
                    raise table.error(f"split.{name}: there is no sequence {id!r}")
            chosen = list(told)
        else:
            count = max(round(len(free) * told), 1) if told and len(free) > 2 else 0
            chosen, drawn = drawn[:count], drawn[count:]
        where |= dict.fromkeys(chosen, name)
        drawn = [id for id in drawn if id not in chosen]
    for one in rows:
        parts[PARTS.index(where[one.id] or "training")].append(Piece(one, 0, len(one)))
    return parts


def _extent(rows: Sequence[Rows], how: Split) -> str:
    """Say what there was to share out."""
    ids = len({one.id for one in rows})
    if isinstance(how, BySequence):
        return f"the table has {ids} sequences; change split.validation or split.test"
    begin, end = min(one.times[0] for one in rows), max(one.times[-1] for one in rows)
    return f"the data go from {begin} to {end}; change split.validation or split.test"
