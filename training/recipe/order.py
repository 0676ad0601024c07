"""Guess the order of a table's rows: its time, how that is written, and the sequence. A guess explains every row."""

from dataclasses import replace

import numpy as np
import polars as pl

from training.data import columns
from training.data.columns import Times
from training.data.dates import ORDERS, WRITTEN, parsed
from training.data.sources import Table
from training.errors import TableError
from training.recipe.names import TIME, named
from training.recipe.sequence import direction, explaining, named_like_one, ticks
from training.recipe.times import Order, candidates

FEW = 0.05  # of the rows may repeat a time in one series
NONE = ("none",)  # --time none: the rows are in order; --sequence none: they are one sequence


def order(table: Table, time: tuple[str, ...], sequence: tuple[str, ...]) -> Order:
    """Return the one order that explains the table. `time` and `sequence` are given, or empty to be guessed.

    Raises:
        TableError: none does, or several do; the message names them and the option that decides.

    """
    for name in (name for names in (time, sequence) if names != NONE for name in names):
        table.column(name)
    if time == NONE:
        return _without_time(table, sequence)
    given = list(candidates(table, time))
    if time and not given:  # the reason why it is no time
        arranged = table.arranged(time if len(time) > 1 else time[0], None)
        columns.times(arranged, " + ".join(time))
    found = [explained for one in given if (explained := _explained(table, one, sequence)) is not None]
    found = [one for one in found if one.dates] or found
    if not found:
        _refuse_broken(table, given)
        return _without_time(table, sequence)
    return _only(table, [one for one in found if one.rank == min(other.rank for other in found)])


def _without_time(table: Table, sequence: tuple[str, ...]) -> Order:
    """Return the order of rows as they stand."""
    if sequence == NONE:
        return Order((), None)
    return Order((), None, sequence=sequence or named_like_one(table))


NO_TIME = "say --time none if the rows are in order"


def _refuse_broken(table: Table, given: list[Order]) -> None:
    """Refuse dates that do not explain the rows, cannot all be read, or are unlikely."""
    for one in given:
        if one.clock is not None and one.dates:
            raise table.error(
                f"{' + '.join(one.time)} holds dates that neither rise nor fall throughout, and no column explains "
                "why: name the column that tells sequences apart by --sequence, sort the file, name another time by "
                f"--time, or {NO_TIME}",
                row=int(np.argmax(np.diff(ticks(one.clock)) <= 0)) + 1,
            )
    for name in table.frame.columns:
        values = table.frame[name]
        like_one = named(TIME, name) and values.dtype == pl.String and 2 * values.n_unique() > len(values)
        dated = values.dtype.is_temporal() and values.dtype != pl.Duration
        if values.dtype == pl.String and not like_one:
            dated = 2 * max(len(values) - parsed(values, order).null_count() for order in ORDERS) > len(values)
        if (like_one or dated) and values.dtype != pl.Time:
            try:
                clock = columns.times(table, name)
            except TableError as error:
                raise TableError(f"{error}; or {NO_TIME}") from None
            if np.issubdtype(clock.dtype, np.datetime64):
                raise table.error(
                    f"{name} holds dates from {clock.min()} on: take them by --time {name!r}, or {NO_TIME}"
                )


def _only(table: Table, found: list[Order]) -> Order:
    """Return the one of several orders that is left when those that say the same, or jump more, are dropped."""
    best = found[0]
    for other in found[1:]:
        if other.time == best.time:
            verdict = _steadier(best, other)
            if verdict is None:
                which = f"{WRITTEN[best.reading]} or {WRITTEN[other.reading]}"
                raise table.error(
                    f"{best.time[0]} is {table.frame[best.time[0]][0]!r}, which can be read {which}, and both are in "
                    "order: say which by --time-format, such as '%d/%m/%Y %H:%M'",
                    row=0,
                )
            best = verdict
        elif not _same_clock(best, other) and len(best.time) == len(other.time) and best.dates == other.dates:
            one, two = (" + ".join(order.time) for order in (best, other))
            raise table.error(f"{one} and {two} are both times in order; say which by --time, such as --time {one!r}")
    if not best.sure:
        name = " + ".join(best.sequence)
        raise table.error(
            f"some times repeat, and {name} differs in those rows: say --sequence {name!r} if it tells sequences "
            "apart, or --sequence none if all rows are one sequence"
        )
    if best.rivals:
        one, two = (" + ".join(names) for names in (best.sequence, best.rivals[0]))
        raise table.error(
            f"{one} and {two} both tell sequences apart; say which by --sequence, such as --sequence {one!r}"
        )
    return best


def _explained(table: Table, one: Order, sequence: tuple[str, ...]) -> Order | None:
    """Return how the rows are in order by these times, or None."""
    assert one.clock is not None
    steps = np.diff(ticks(one.clock))
    if sequence and sequence != NONE:
        return replace(one, sequence=sequence, rank=1)
    if direction(steps):
        return one
    found, sure = explaining(table, one.clock, one.time) if not sequence else ([], True)
    if found:
        return replace(one, sequence=found[0], rank=1, rivals=tuple(found[1:]), sure=sure)
    forth = steps if one.clock[-1] >= one.clock[0] else -steps[::-1]
    behind = _behind(forth)
    likely = one.dates or any(named(TIME, name) for name in one.time)
    return replace(one, rank=2) if likely and behind <= max(FEW * len(one.clock), 1) else None


def _behind(steps: Times) -> int:
    """Return how many rows are not after all rows before them."""
    times = np.concatenate([[0], np.cumsum(steps)])
    return int((times[1:] <= np.maximum.accumulate(times)[:-1]).sum())


def _same_clock(one: Order, other: Order) -> bool:
    """Return whether two columns tell the same time: their steps are in proportion."""
    assert one.clock is not None
    assert other.clock is not None
    a, b = (np.diff(ticks(order.clock)).astype(np.float64) for order in (one, other))  # type: ignore[arg-type]
    return bool(np.allclose(a * b[0], b * a[0], rtol=1e-6)) if len(a) else True


def _steadier(one: Order, other: Order) -> Order | None:
    """Return the reading whose rows are more evenly apart and never farther; None if that decides nothing."""
    jumps, longest = zip(*(_jumps(order) for order in (one, other)), strict=True)
    if jumps[0] == jumps[1]:
        return None
    better = int(jumps[1] < jumps[0])
    return (one, other)[better] if longest[better] <= longest[1 - better] else None


def _jumps(order: Order) -> tuple[int, int]:
    """Return how many steps are not the usual one, in time or in whole months, and the longest step."""
    assert order.clock is not None
    steps = np.abs(np.diff(ticks(order.clock)))
    if not len(steps):
        return 0, 0
    months = np.abs(np.diff(order.clock.astype("datetime64[M]").astype(np.int64)))
    into = order.clock - order.clock.astype("datetime64[M]")
    odd = [len(each) - int(np.unique(each, return_counts=True)[1].max()) for each in (steps, months)]
    return min(odd[0], odd[1] if (into == into[0]).all() else odd[0]), int(steps.max())
