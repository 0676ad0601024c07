"""Guess the order of a table's rows: its time, how that is written, and the sequence. A guess explains every row."""

from dataclasses import replace

import numpy as np
import polars as pl

from training.data.columns import words
from training.data.dates import ORDERS, WRITTEN, parsed
from training.data.sources import Table
from training.data.times import times
from training.errors import TableError
from training.init.column_names import CALENDAR, IDENTITY, TIME, named
from training.init.sequence_column import behind, explaining, named_like_one
from training.init.time_column import YEARS, Names, Order, candidates, direction, same_time

FEW = 0.05  # of the rows may repeat a time
DATED = r"^\W?(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.](\d{1,2}|[A-Za-z]{3})[-/.]\d{4})\b"  # begins with a date
NONE = ("none",)  # --time none: the rows are in order; --sequence none: they are one sequence
NO_TIME = "say --time none if the rows are in order"


def order(table: Table, time: Names, sequence: Names) -> Order:
    """Return the one order that explains the table. `time` and `sequence` are given, or empty to be guessed.

    Raises:
        TableError: none does, or several do; the message names them and the option that decides.

    """
    for name in (name for names in (time, sequence) if names != NONE for name in names):
        table.column(name)
    given = [] if time == NONE else list(candidates(table, time))
    if time not in ((), NONE) and not given:  # the reason why it is no time
        times(table.arranged(time if len(time) > 1 else time[0], None), " + ".join(time))
    found = [explained for one in given if (explained := _explained(table, one, sequence)) is not None]
    found = [one for one in found if one.dates] or found
    if found:
        return _only(table, [one for one in found if one.rank == min(other.rank for other in found)])
    if time != NONE:
        _refuse_broken(table, given)
    return Order(sequence=() if sequence == NONE else sequence or named_like_one(table))


def _explained(table: Table, one: Order, sequence: Names) -> Order | None:
    """Return how the rows are in order by these times, or None."""
    if sequence and sequence != NONE:
        given = table.arranged(None, sequence if len(sequence) > 1 else sequence[0])
        ids = words(given, given.sequence or "")
        return replace(one, sequence=sequence, rank=1, repeats=0 < behind(ids, one) <= FEW * len(ids))
    if direction(one.steps):
        return one
    for spare in (0.0, FEW) if not sequence else ():
        found, sure = explaining(table, one, spare)
        if found:
            rivals = tuple(found[1:])
            return replace(one, sequence=found[0], rank=1, rivals=rivals, sure=sure, repeats=spare > 0)
    likely = one.dates or any(named(TIME, name) for name in one.time)
    repeats = behind(pl.repeat("", len(one.clock), eager=True), one)
    return replace(one, rank=2, repeats=True) if likely and repeats <= max(FEW * len(one.clock), 1) else None


def _refuse_broken(table: Table, given: list[Order]) -> None:
    """Refuse dates that do not explain the rows, cannot all be read, or are unlikely; and times that begin anew."""
    for one in given:
        falls = np.flatnonzero(one.steps <= 0) + 1
        counts = not one.dates and not named(CALENDAR, one.time[0])
        if counts and len(falls) and (one.ticks[falls] == one.ticks[0]).all():
            raise table.error(
                f"{one.time[0]} begins anew, and no column tells why: add one that tells the sequences apart and name "
                f"it by --sequence, or {NO_TIME}",
                row=int(falls[0]),
            )
        if one.dates:
            raise table.error(
                f"{' + '.join(one.time)} holds dates that neither rise nor fall throughout, and no column explains "
                f"why{_gaps(table)}: name the column that tells sequences apart by --sequence, sort the file, name "
                f"another time by --time, or {NO_TIME}",
                row=int(np.argmax(one.steps <= 0)) + 1,
            )
    for name in table.frame.columns:
        values = table.frame[name]
        like_one = named(TIME, name) or named(CALENDAR, name)
        like_one = like_one and values.dtype == pl.String and 2 * values.n_unique() > len(values)
        dated = values.dtype.is_temporal() and values.dtype != pl.Duration
        if values.dtype == pl.String and not like_one:
            read = [values.str.contains(DATED).sum(), *(parsed(values, order).count() for order in ORDERS)]
            dated = 2 * max(read) > len(values)
        if (like_one or dated) and values.dtype != pl.Time:
            try:
                clock = times(replace(table, time=name), name)
            except TableError as error:
                raise TableError(f"{error}; or {NO_TIME}") from None
            if np.issubdtype(clock.dtype, np.datetime64):
                unlikely = np.flatnonzero(~pl.Series(clock).is_between(*YEARS).to_numpy())
                row = int(unlikely[0]) if 0 < 2 * len(unlikely) < len(clock) else None
                what = (
                    f"holds dates from {clock.min()} on"
                    if row is None
                    else f"is {str(values[row])!r}, an unlikely date"
                )
                raise table.error(f"{name} {what}: take it by --time {name!r}, or {NO_TIME}", row=row)


def _gaps(table: Table) -> str:
    """Tell which columns that are named like an identity tell nothing apart since they have empty cells."""
    empty = [one for one in table.frame.get_columns() if named(IDENTITY, one.name) and one.has_nulls()]
    places = (f"{one.name} is empty in {table.place(int(one.is_null().arg_true()[0]))}" for one in empty)
    told = ", ".join(places)
    return f" ({told}; data.empty tells which words are empty cells, such as NA)" if told else ""


def _only(table: Table, found: list[Order]) -> Order:
    """Return the one of several orders that is left when those that say the same, or jump more, are dropped."""
    best = found[0]
    for other in found[1:]:
        if other.time == best.time:
            best = _steadier(table, best, other)
        elif (
            len(best.time) == len(other.time)
            and best.dates == other.dates
            and not same_time(best.steps, other.steps, 1e-6)
        ):
            one, two = (" + ".join(order.time) for order in (best, other))
            raise table.error(f"{one} and {two} are both times in order; say which by --time, such as --time {one!r}")
    name = " + ".join(best.sequence)
    if not best.sure:
        raise table.error(
            f"some times repeat, and {name} differs in those rows: say --sequence {name!r} if it tells sequences "
            "apart, or --sequence none if all rows are one sequence"
        )
    if best.rivals:
        other_name = " + ".join(best.rivals[0])
        raise table.error(
            f"{name} and {other_name} both tell sequences apart; say which by --sequence, such as --sequence {name!r}"
        )
    return best


def _steadier(table: Table, one: Order, other: Order) -> Order:
    """Return the reading of a column whose rows are more evenly apart and never farther; refuse two if none is."""
    steadier, jumpier = sorted((one, other), key=lambda order: _jumps(order)[0])
    (jumps, longest), (more, farther) = _jumps(steadier), _jumps(jumpier)
    if jumps < more and longest <= farther:
        return steadier
    raise table.error(
        f"{one.time[0]} is {table.frame[one.time[0]][0]!r}, which can be read {_written(one)} or {_written(other)}, "
        "and both are in order: say which by --time-format, such as '%d/%m/%Y %H:%M'",
        row=0,
    )


def _written(order: Order) -> str:
    return WRITTEN.get(order.reading) or f"as {order.keys['time_format']}"


def _jumps(order: Order) -> tuple[int, int]:
    """Return how many steps are not the usual one, in time or in whole months, and the longest step."""
    steps = np.abs(order.steps)
    if not len(steps):
        return 0, 0
    months = np.abs(np.diff(order.clock.astype("datetime64[M]").astype(np.int64)))
    into = order.clock - order.clock.astype("datetime64[M]")
    odd = [len(each) - int(np.unique(each, return_counts=True)[1].max()) for each in (steps, months)]
    return min(odd[0], odd[1] if (into == into[0]).all() else odd[0]), int(steps.max())
