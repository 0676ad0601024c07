"""Read dates and times from text.

A date is written year first (2024-01-31, 2024/1/31, 20240131T…, 2024-01), with the name of its month (31 Jan 2024,
January 31, 2024), as the first day of a quarter or an ISO week (2024 Q3, Q3 2024, 2024-W05), or with the year last. The
last kind, and a year of two digits, have several readings: `ORDERS`.
A clock is 13:30[:00[.5]], 1:30 PM, 13 or 1330, up to 24:00; it may end with Z, UTC, GMT or an offset (+01:00, +01).
"""

import calendar
import re

import polars as pl

ORDERS = ("dmy", "mdy", "ymd")  # readings of 01/02/03; with four digits of a year only the first two
WRITTEN = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}
SAMPLE = 50  # values that are tried before the whole column
CENTURY = 69  # POSIX: two digits below are 20xx, the others 19xx; of a column this is asked of its last year
PAUSE = 20  # years of two digits that are missing: the column begins behind them
MONTHS = {
    word.lower(): number
    for number in range(1, 13)
    for word in (calendar.month_name[number], calendar.month_abbr[number])
} | {"sept": 9}
EPOCHS = {"epoch s": 1e6, "epoch ms": 1e3, "epoch us": 1.0, "epoch ns": 1e-3}  # microseconds of each

_WEEKDAY = r"^(?i:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_TIME = (
    r"(?:\s*T\s*|,?\s+|:)(\d{1,2})(?::?(\d{2})(?::?(\d{2})(?:[.,](\d{1,9}))?)?)?"
    r"\s*(?:([AaPp])\.?[Mm]\.?)?"
)
_OFFSET = r"\s*(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2}){0,2})"
_ZONE = r"(?:\[.*\])?$"
_CLOCK = rf"(?:{_TIME}(?:{_OFFSET})?)?{_ZONE}"
_PARTS = ("hour", "minute", "second", "fraction", "half", "offset")  # groups of `_CLOCK`
_NAME = r"([A-Za-z]{3,9})\.?"
# What each group of a form is; `o` is the part of the order of the same place.
_FORMS = (
    ("ymd", r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})"),
    ("ymd", r"(\d{4})(\d{2})(\d{2})"),
    ("ym", r"(\d{4})(?:[-/.]|[Mm])(\d{1,2})"),
    ("my", r"(\d{1,2})[-/.](\d{4})"),
    ("ooo", r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})"),
    ("dmy", r"(\d{1,2})(?:st|nd|rd|th)?[-/. ]+" + _NAME + r"[-/., ]+(\d{4}|\d{2})"),
    ("mdy", _NAME + r"[-/. ]+(\d{1,2})(?:st|nd|rd|th)?[-/, ]+(\d{4}|\d{2})"),
    ("ymd", r"(\d{4})[-/. ]+" + _NAME + r"[-/. ]+(\d{1,2})"),
    ("my", _NAME + r"[-/. ]+(\d{4})"),
    ("ym", r"(\d{4})[-/. ]+" + _NAME),
    ("yq", r"(\d{4})[-/. ]*[Qq]0?([1-4])"),
    ("qy", r"[Qq]0?([1-4])[-/. ]*(\d{4})"),
    ("qy", r"([1-4])[Qq][-/. ]*(\d{4})"),
    ("yw", r"(\d{4})[-/. ]*[Ww](\d{1,2})"),
)

# Codes of strptime, those that say more exactly when, what a format without these ends with, and its first value.
_FIRST = (("%[HI]", "%[MTR]", " %M", " 00"), ("%[mbB]", "%[dejDF]", " %d", " 01"))


def readings(text: pl.Series, orders: tuple[str, ...] = ORDERS, *, wall: bool = False) -> dict[str, pl.Series]:
    """Return the different readings of a column [N] that explain every value, by order, as times in UTC.

    With `wall`, times as a clock on the wall showed them: offsets are left out.
    """
    found: dict[str, pl.Series] = {}
    for order in [order for order in orders if not parsed(text.head(SAMPLE), order).has_nulls()]:
        read = parsed(text, order, wall=wall)
        if not read.has_nulls() and not any(read.equals(other) for other in found.values()):
            found[order] = read
    return found


def formatted(text: pl.Series, how: str) -> pl.Series:
    """Return times [N] in UTC by a format of strptime, null where a value is not written so.

    What the format leaves out is the first day or minute; without a year, or with two digits for %Y, there is no time.
    """
    for coarse, exact, more, first in _FIRST:  # polars wants all of a date, and minutes with hours
        if re.search(coarse, how) and not re.search(exact, how):
            how, text = how + more, text + first
    if "%z" in how:
        text = text.str.replace("Z$", "+0000")
    found = text.str.to_datetime(how.replace(".%f", "%.f"), time_unit="us", strict=False).dt.replace_time_zone(None)
    return found.set(found.dt.year() < 100, None)


def aware(text: pl.Series) -> pl.Series:
    """Return which dates [N] end with an offset, so that they name a moment."""
    forms = "|".join(pattern for _, pattern in _FORMS)
    return text.str.strip_chars().str.contains(rf"{_WEEKDAY}(?:{forms}){_TIME}{_OFFSET}{_ZONE}")


def elapsed(text: pl.Series) -> pl.Series:
    """Return durations such as "0 days 00:01:30" or 1:30:05 in seconds, null where a value is none."""
    groups = text.str.extract_groups(r"^(?:(\d+) days?,? )?(\d+):(\d{2}):(\d{2}(?:\.\d+)?)$").struct.unnest()
    days, hours, minutes, seconds = (part.cast(pl.Float64) for part in groups.get_columns())
    return ((days.fill_null(0) * 24 + hours) * 60 + minutes) * 60 + seconds


def parsed(text: pl.Series, order: str, *, wall: bool = False) -> pl.Series:
    """Return times [N] in UTC, null where a value is no date in this order. With dots, the month is never first."""
    text = text.cast(pl.String).str.strip_chars()
    found = pl.Series(text.name, [None] * len(text), dtype=pl.Datetime("us"))
    for fields, pattern in _FORMS:
        if not found.has_nulls():
            break
        groups = text.str.extract_groups(_WEEKDAY + pattern + _CLOCK).struct.unnest()
        if groups.to_series(0).null_count() == len(text):
            continue
        named = [*(order if fields == "ooo" else fields), *_PARTS]
        parts = groups.rename(dict(zip(groups.columns, named, strict=True)))
        read = parts.with_columns(_years(parts["y"])).select(_moment(named, wall)).to_series()
        if (fields, order) == ("ooo", "mdy"):
            read = pl.select(pl.when(~text.str.contains(r"^\d{1,2}\.")).then(read)).to_series()
        found = found.fill_null(read)
    return found


def _years(text: pl.Series) -> pl.Series:
    """Return years [N] of four or two digits. Those of two digits follow one another: 68, …, 92 are 1968 to 1992."""
    year = text.cast(pl.Int64)
    short = sorted(set(year.filter(text.str.len_chars() == 2).to_list()))
    last = CENTURY - 1
    if short:
        pauses = [(after - before) % 100 for before, after in zip(short, [*short[1:], short[0]], strict=True)]
        if max(pauses) > PAUSE:
            last = short[pauses.index(max(pauses))]
    end = last + (2000 if last < CENTURY else 1900)
    return pl.select(
        pl.when(text.str.len_chars() > 2).then(year).otherwise(end - (last - year) % 100).alias("y")
    ).to_series()


def _date(named: list[str]) -> pl.Expr:
    """Return the date of the numbers y, and of the text columns m and d, q or w, as far as they are among `named`."""
    full = pl.col("y")
    if "w" in named:
        return pl.format("{}-W{}-1", full, pl.col("w").str.zfill(2)).str.to_date("%G-W%V-%u", strict=False)
    if "q" in named:
        month = pl.col("q").cast(pl.Int64) * 3 - 2
    else:
        month = pl.col("m").str.to_lowercase().replace(MONTHS).cast(pl.Int64, strict=False)
    day = pl.col("d") if "d" in named else pl.lit("1")
    return pl.format("{}-{}-{}", full, month, day).str.to_date("%Y-%m-%d", strict=False)


def _moment(named: list[str], wall: bool) -> pl.Expr:
    """Return the time in UTC of the text columns `named`: those of `_date` and `_PARTS`."""
    hour, minute, second = (pl.col(name).cast(pl.Int64).fill_null(0) for name in ("hour", "minute", "second"))
    half = pl.col("half").str.to_lowercase()  # a or p
    of_day = pl.when(half.is_null()).then(hour).otherwise(hour % 12 + pl.when(half == "p").then(12).otherwise(0))
    noted = pl.when(half.is_null()).then(hour <= 24).otherwise((hour > 0) & (hour <= 12))
    valid = noted & (minute < 60) & (second < 60) & ((hour < 24) | ((minute == 0) & (second == 0)))
    micro = pl.col("fraction").fill_null("0").str.pad_end(9, "0").cast(pl.Int64) // 1000
    seconds = (of_day * 60 + minute) * 60 + second - (0 if wall else _offset())
    ticks = _date(named).cast(pl.Datetime("us")).cast(pl.Int64) + seconds * 1_000_000 + micro
    return pl.when(valid).then(ticks).cast(pl.Datetime("us"))


def _offset() -> pl.Expr:
    """Return the offset from UTC in seconds; 0 without one."""
    digits = pl.col("offset").str.extract(r"^[+-](.*)$").str.replace_all(":", "").str.pad_end(6, "0").cast(pl.Int64)
    seconds = digits // 10_000 * 3600 + digits // 100 % 100 * 60 + digits % 100
    return pl.when(pl.col("offset").str.starts_with("-")).then(-seconds).otherwise(seconds).fill_null(0)
