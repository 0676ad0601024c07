"""Guess what the columns of a table hold that are neither time nor sequence: numbers, words, or nothing to learn."""

import re
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from training.arrays import Doubles, Integers
from training.data import columns
from training.data.dates import readings
from training.data.sequences import PART_NAMES, PARTS
from training.data.sources import Table
from training.data.vocabulary import Vocabulary
from training.errors import TableError
from training.init.column_names import CALENDAR, COUNTER, IDENTITY, MEASURE, NUMBERED, TIME, named
from training.init.number_marks import NUMBER
from training.init.time_column import Order, same_time

FEW = 50  # most words of a category
MANY = 10  # different numbers for each word among them: they are no codes
UNIT = r"^[$€£¥]?\s*[-+]?\d[\d.,]*\s*(\D*)$"  # a number, and its unit
RARE = 0.95  # a column that is empty more often is left out
FAR = 0.5  # of the range of all other numbers
MOST = 0.5  # of the last values of a column that drifts lie outside of the others
COUNTS = "it counts the rows"
ID = "it is named like an id, whose size says nothing: --sequence takes it, or make it a category"
CODES = (
    "its whole numbers begin with zeros, as codes do, whose size says nothing: add it as a feature if it is a number"
)
COARSE = "float32, which models take, cannot tell its values apart"
DRIFTS = "; it drifts: leave it out if the verdict is bad, for later values lie outside of what was learnt"


@dataclass(frozen=True)
class Guess:
    """Content of one column: `numbers`, `words`, or `nothing`; and why."""

    name: str
    seems: str
    words: tuple[str, ...] = ()  # the different values, if they are few words or whole numbers
    reason: str = ""
    doubt: str = ""  # why it is left out where another column can be a feature
    fixed: bool = False  # it never changes within a sequence, or is named like an id or a calendar field: no target


def guesses(table: Table, how: Order, training: Integers, leave: set[str]) -> list[Guess]:
    """Guess the content of each column that is not in `leave`; `training` are the rows of the training part."""
    found = [_guess(table, name, how, training) for name in table.frame.columns if name not in leave]
    return [replace(one, fixed=one.seems != "nothing" and _is_fixed(table, one.name)) for one in found]


def without_doubtful(columns: list[Guess], target: Guess, hidden: bool) -> list[Guess]:
    """Leave out the columns that seem to be no feature, unless nothing else can be one.

    `hidden`: the target is no feature.
    """
    others = [one for one in columns if one.seems != "nothing" and not one.doubt and not (hidden and one is target)]
    return [
        replace(one, seems="nothing", reason=one.doubt) if others and one.doubt and one is not target else one
        for one in columns
    ]


def part_column(table: Table) -> str | None:
    """Return the column that says of each row in which part it is."""
    for values in table.frame.get_columns():
        if values.dtype in (pl.String, pl.Categorical, pl.Enum):
            written = values.cast(pl.String).str.to_lowercase().unique().drop_nulls()
            known = {PART_NAMES.get(word, word) for word in written}
            if len(known) > 1 and "training" in known and known <= set(PARTS):
                return values.name
    return None


def _guess(table: Table, name: str, how: Order, training: Integers) -> Guess:
    try:
        values = columns.column(table, name)
    except TableError as error:
        return Guess(name, "nothing", reason=str(error).removeprefix(f"{table.name}: "))
    seen, learnt = values.drop_nulls(), values.gather(training).drop_nulls()
    if not len(learnt):
        reason = "it is empty in the whole training part"
    elif len(seen) <= (1 - RARE) * len(values):
        reason = "it is nearly always empty"
    elif learnt.n_unique() == 1:
        reason = f"it is always {learnt[0]}" + " in the training part" * (seen.n_unique() > 1)
    elif values.dtype.is_temporal() or (values.dtype == pl.String and readings(seen)):
        reason = "it holds dates" + f"; {' + '.join(how.time)} is the time" * bool(how.time)
    else:
        return _content(table, name, how, len(seen), training)
    return Guess(name, "nothing", reason=reason)


def _content(table: Table, name: str, how: Order, seen: int, training: Integers) -> Guess:
    """Guess whether a column that varies is numbers or words; `seen` of its values are not empty."""
    known = Vocabulary.learnt(columns.words(table, name))
    short, padded = len(known.words) <= min(FEW, seen // 2), _padded(table, name)
    if (truth := table.column(name).dtype == pl.Boolean) or (padded and short):
        what = "truth values" if truth else f"codes such as {padded}"
        return Guess(name, "words", known.words, f"it holds {what}")
    try:
        number = columns.numbers(table, name)
    except TableError as error:
        return _words(table, name, known.words, str(error), short=short)
    steps = np.diff(number)
    counts = len(steps) > 0 and abs(steps[0]) == 1 and bool((steps == steps[0]).all())  # up or down by 1
    if counts and named(COUNTER, name):
        return Guess(name, "nothing", reason=COUNTS)
    if (
        how.time
        and named(TIME, name)
        and np.isfinite(steps).all()
        and steps.any()
        and same_time(steps, how.steps, 1e-3)
    ):
        return Guess(name, "nothing", reason=f"it tells the time again, which is {' + '.join(how.time)}")
    counts = counts and number.min() in (0, 1) and not named(MEASURE, name)
    coarse = not columns.survives(number) or _coarse(table, name, number)
    doubts = {COUNTS: counts, COARSE: coarse, CODES: bool(padded), ID: named(NUMBERED, name)}
    doubt = next((why for why, holds in doubts.items() if holds), "")
    few = not known.labels and len(known.words) <= FEW
    drifts = table.sequence is None and _drifts(number[np.sort(training)])
    reason = "it holds numbers" + _nines(table, name, number) + DRIFTS * drifts
    return Guess(name, "numbers", known.words if few else (), reason, doubt)


def _words(table: Table, name: str, known: tuple[str, ...], error: str, *, short: bool) -> Guess:
    """Guess whether a column is a category, or numbers with a unit or with a few words among them."""
    written = columns.words(table, name).drop_nulls()
    unit = len(known) >= MANY and written.str.extract(UNIT).n_unique() == 1 and written.str.contains(UNIT).all()
    if unit and not written.str.contains(NUMBER).any():
        return Guess(name, "nothing", reason=f"its numbers have a unit, as {written[0]!r}: write them without it")
    numbers, count = (
        int(one.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False).is_finite().sum())
        for one in (written, pl.Series(known))
    )
    mixed = 2 * numbers > len(written) and count >= MANY * (len(known) - count)
    if short and not mixed:
        return Guess(name, "words", known, f"it holds {len(known)} different words")
    fault = error.partition(", which")[0].removeprefix(f"{table.name}: ")
    if len(written) > numbers > len(written) / 2:
        fault += f", which is no finite number, as {numbers} others are: mend it, or name it in data.empty"
    return Guess(name, "nothing", reason=f"it has {len(known)} different words ({fault})")


def _nines(table: Table, name: str, number: Doubles) -> str:
    """Tell of a number of nines, such as -999, that stands in several rows, far from all others: a gap, most likely."""
    for extreme in (np.nanmin(number), np.nanmax(number)):
        others = number[(number != extreme) & ~np.isnan(number)]
        far = len(others) > 0 and np.abs(others - extreme).min() > FAR * np.ptp(others)
        rows = np.flatnonzero(number == extreme)
        written = str(table.column(name)[int(rows[0])])
        if far and len(rows) > 1 and re.fullmatch(r"-?99+([.,]9*0*)?", written):
            return f"; {written} stands in {len(rows)} rows, far from all others: if it is a gap, name it in data.empty"
    return ""


def _padded(table: Table, name: str) -> str | None:
    """Return the first of whole numbers that begins with a zero, as codes do; so do hours, months and some measures."""
    written = columns.words(table, name).drop_nulls()
    if named(CALENDAR, name) or named(MEASURE, name) or not written.str.contains(r"^\d+$").all():
        return None
    return next(iter(written.filter(written.str.contains(r"^0\d"))), None)


def _coarse(table: Table, name: str, number: Doubles) -> bool:
    """Return whether whole numbers are so large that even float64 takes several for one."""
    written = columns.words(table, name).drop_nulls()
    return bool(np.nanmax(np.abs(number)) >= 2**53 and written.str.contains(r"^[+-]?\d+$").all()) and (
        written.n_unique() > np.unique(number[~np.isnan(number)]).size
    )


def _is_fixed(table: Table, name: str) -> bool:
    """Return whether a column is unlikely to be asked for."""
    if named(IDENTITY, name) or named(CALENDAR, name):
        return True
    if table.sequence is None:
        return False
    pairs = table.frame.select(table.sequence, pl.col(name).alias("\0")).unique(["\0", table.sequence]).height
    return bool(pairs == table.frame[table.sequence].n_unique())


def _drifts(number: Doubles) -> bool:
    """Return whether most of the last fifth of a series [N] lies outside of what came before it."""
    early, late = (part[~np.isnan(part)] for part in np.split(number, [int(0.8 * len(number))]))
    if not len(late) or np.unique(early).size < 2:
        return False
    return bool(np.mean((late < early.min()) | (late > early.max())) > MOST)
