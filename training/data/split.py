"""Assign each row's answer to a part: training, validation or test."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.sequences import PARTS, Rows
from training.data.sources import Table
from training.recipe.recipe import BySequence, ByTime, Split


class Piece(NamedTuple):
    """Rows [first, stop) of a sequence, whose values are answers of one part."""

    rows: Rows
    first: int
    stop: int


class Parts(NamedTuple):
    """Pieces of each part."""

    training: list[Piece]
    validation: list[Piece]
    test: list[Piece]


def split(table: Table, rows: Sequence[Rows], how: Split, horizon: int) -> Parts:
    """Split the rows into parts; no row is an answer in two of them.

    The first `horizon` rows of a sequence are never answers: no row lies so far before them.

    Raises:
        TableError: a part is empty, or a boundary or a sequence id does not exist.

    """
    if not rows:
        raise table.error("no sequence is as long as the horizon needs; change data.gap or the horizon")
    parts = Parts([], [], [])
    for name, piece in _by_time(table, rows, how) if isinstance(how, ByTime) else _by_sequence(table, rows, how):
        if piece.stop > max(piece.first, horizon):
            parts[PARTS.index(name)].append(piece)
    for name, pieces in zip(PARTS, parts, strict=True):
        if not pieces:
            raise table.error(
                f"nothing is left for the {name} part; {_extent(rows, how)}; change split.validation or split.test"
            )
    return parts


def _by_time(table: Table, rows: Sequence[Rows], how: ByTime) -> Iterator[tuple[str, Piece]]:
    clock = np.sort(np.concatenate([one.times for one in rows]))
    after = how.test if isinstance(how.test, float) else 0.0
    validation = _boundary(table, clock, how.validation, after, "validation")
    test = _boundary(table, clock, how.test, 0.0, "test")
    end = None if how.end is None else _boundary(table, clock, how.end, 0.0, "end")
    for one in rows:
        stop = len(one) if end is None else int(np.searchsorted(one.times, end))
        inner = [int(np.searchsorted(one.times, moment)) for moment in (validation, test)]
        bounds = np.minimum([0, *inner, stop], stop).tolist()
        yield from ((name, Piece(one, *ends)) for name, ends in zip(PARTS, pairwise(bounds), strict=True))


def _boundary(table: Table, clock: NDArray[Any], given: float | date, after: float, key: str) -> Any:
    """Return the time at which a part begins. `given` is that time, or the part's share of the rows; `after` is the
    share of the parts behind it.
    """
    if isinstance(given, float):
        rank = round(len(clock) * (1 - after - given))
        return clock[min(max(rank, 0), len(clock) - 1)] if given else clock[-1] + 1
    if not np.issubdtype(clock.dtype, np.datetime64):
        raise table.error(f"split.{key} is a time, and {table.time or 'the table'} has none; give a share such as 0.15")
    moment = given if isinstance(given, datetime) else datetime(given.year, given.month, given.day)
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return np.datetime64(moment.replace(tzinfo=None), "us")


def _by_sequence(table: Table, rows: Sequence[Rows], how: BySequence) -> Iterator[tuple[str, Piece]]:
    part_of: dict[str, str | None] = {one.id: None for one in rows}
    unassigned = {None} if "validation" in {one.part for one in rows} else {None, "training"}
    free = list(dict.fromkeys(one.id for one in rows if one.part in unassigned))
    drawn = [free[i] for i in np.random.default_rng(how.seed).permutation(len(free))]
    for name, given in (("validation", how.validation), ("test", how.test)):
        if isinstance(given, tuple):
            for id in given:
                if id not in part_of:
                    raise table.error(f"split.{name}: there is no sequence {id!r}")
            chosen = list(given)
        else:
            count = max(round(len(free) * given), 1) if given and len(free) > 2 else 0
            chosen = drawn[:count]
        part_of |= dict.fromkeys(chosen, name)
        drawn = [id for id in drawn if id not in chosen]
    for one in rows:
        yield part_of[one.id] or one.part or "training", Piece(one, 0, len(one))


def _extent(rows: Sequence[Rows], how: Split) -> str:
    if isinstance(how, BySequence):
        return f"the table has {len({one.id for one in rows})} sequences"
    return f"the data go from {min(one.times[0] for one in rows)} to {max(one.times[-1] for one in rows)}"
