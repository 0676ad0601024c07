"""Guess the column that tells sequences apart: it looks like an identity, and explains why times repeat."""

from collections.abc import Iterable
from itertools import combinations

import polars as pl

from training.data import columns
from training.data.sources import Table
from training.errors import TableError
from training.init.column_names import CALENDAR, IDENTITY, LABEL, MEASURE, STATE, named
from training.init.time_column import Names, Order, direction

SHARED = 0.5  # of the rows must share their time with another one, or a column is no identity by its values
SURE = 0.1  # the same for a column that is named like an identity
MOST = 12  # columns of which two together are tried
PERIODS = (24, 48, 96, 144, 288, 1440)  # of a day
FULL = 0.8  # of the times between its first and last row that an id has, over all ids


def named_like_one(table: Table) -> Names:
    """Return the first column that is named like an identity and whose ids are a block of rows each.

    For tables without times: there is nothing else that an id could explain.
    """
    return next(((name,) for name, ids in _ids(table, ()).items() if named(IDENTITY, name) and _in_blocks(ids)), ())


def _in_blocks(ids: pl.Series) -> bool:
    """Return whether the rows of each id stand together."""
    return int((ids[1:] != ids[:-1]).sum()) == ids.n_unique() - 1


def explaining(table: Table, how: Order, spare: float = 0.0) -> tuple[list[Names], bool]:
    """Return the columns that explain why times repeat or fall, alone or two together; and whether that is sure.

    A share `spare` of the rows may repeat all the same; then only a column that is named like an identity explains.
    The first is the one to take; the others cut the rows otherwise. It is not sure where times hardly repeat: then the
    name of the column is all that speaks for it.
    """
    ids = _ids(table, how.time)
    found: list[tuple[bool, bool, int, Names]] = []
    for names in [*((name,) for name in ids), *combinations(list(ids)[:MOST], 2)]:
        if found and len(names) > len(found[0][3]):
            break
        values = ids[names[0]] if len(names) == 1 else ids[names[0]] + " / " + ids[names[1]]
        identity = all(named(IDENTITY, name) for name in names)
        apart = values.n_unique() <= len(values) // 2 and (identity or not (spare or _divide_days(values, how)))
        if apart and behind(values, how) <= spare * len(values):
            sure = _evident(values, how, identity)
            if sure or identity:
                found.append((not sure, not identity, values.n_unique(), names))
    found.sort()
    others = [one[3] for one in found[1:] if len(one[3]) == 1 and not _alike(ids[found[0][3][0]], ids[one[3][0]])]
    return [one[3] for one in found[:1]] + others, not (found and found[0][0])


def _ids(table: Table, leave: Iterable[str]) -> dict[str, pl.Series]:
    """Return the columns that can be ids: words or whole numbers that repeat, and neither labels nor measures."""
    found = {}
    for name in table.frame.columns:
        other = any(named(one, name) for one in (LABEL, STATE, MEASURE)) and not named(IDENTITY, name)
        if name in leave or other or named(CALENDAR, name):
            continue
        try:
            raw, values = columns.column(table, name), columns.words(table, name)
        except TableError:
            continue
        few = 1 < values.n_unique() <= len(values) // 2
        fraction = raw.dtype.is_temporal() or values.str.contains(r"^-?\d*[.,]\d+$").any()
        if few and not values.has_nulls() and not fraction:
            found[name] = values
    return found


def behind(ids: pl.Series, how: Order) -> int:
    """Return how many rows are not after all rows of their id before them; or not before, where times fall."""
    rows, t = pl.DataFrame({"id": ids, "t": how.ticks}), pl.col("t")
    return min(int(rows.select((t <= t.cum_max().shift().over("id")).sum()).item()) for t in (t, -t))


def _divide_days(ids: pl.Series, how: Order) -> bool:
    """Return whether the ids of days are whole numbers such as 1 to 24: more likely hours than sequences."""
    periods = range(ids.n_unique() + 1)
    days = how.dates and bool((how.clock == how.clock.astype("datetime64[D]")).all())
    known = {word.lstrip("0") or "0" for word in ids.unique()}
    return days and len(known) in PERIODS and known in ({*map(str, periods[:-1])}, {*map(str, periods[1:])})


def _evident(values: pl.Series, how: Order, identity: bool) -> bool:
    """Return whether ids explain the times by no accident; `identity`: they are named so, and less will do.

    Either every id is one block of rows, and time begins anew with each; or enough rows share their time with a row of
    another id, and an id has nearly all times from its first to its last.
    """
    if _in_blocks(values):
        changes = (values[1:] != values[:-1]).to_numpy()
        within, between = how.steps[~changes], how.steps[changes]
        return identity or (len(within) > 0 and bool((direction(within) * between <= 0).all()))
    rows = pl.DataFrame({"id": values, "t": pl.Series(how.ticks).rank("dense").cast(pl.Int64)})
    lives = rows.group_by("id").agg(life=pl.col("t").max() - pl.col("t").min() + 1)["life"].sum()
    shared = float(rows["t"].is_duplicated().sum()) / len(rows)
    return shared >= SURE if identity else shared >= SHARED and len(rows) >= FULL * float(lives)


def _alike(ids: pl.Series, others: pl.Series) -> bool:
    """Return whether one column is known from the other, so that they cut the rows alike."""
    pairs = pl.DataFrame({"a": ids, "b": others}).n_unique()
    return pairs in (ids.n_unique(), others.n_unique())
