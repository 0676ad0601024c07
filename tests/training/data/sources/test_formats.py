import gzip
import io
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.columns import numbers, words
from training.data.sources import Table, TableFile
from training.data.times import times
from training.errors import TableError

READABLE = r"what can be read: CSV .*, Parquet, Excel"


def read(folder: Path, content: bytes | str, name: str = "t.csv", **keys: Any) -> Table:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return TableFile.model_validate({"path": name, **keys}).read(folder)


def excel(**columns: list[Any]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(columns, strict=False).write_excel(file, worksheet="data")
    return file.getvalue()


def parquet(values: pl.Series | list[Any]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame({"x": values}).write_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(encoding: str, tmp_path: Path) -> None:
    assert read(tmp_path, "größe;x\n1;2\n".encode(encoding)).frame.rows() == [("1", "2")]


def test_another_encoding_is_named_by_a_key(tmp_path: Path) -> None:
    content = "größe;x\n1;2\n".encode("cp1252")
    with pytest.raises(TableError, match=r"t\.csv: line 1: it is not UTF-8; save .* or name its encoding"):
        read(tmp_path, content)
    assert read(tmp_path, content, encoding="cp1252").frame.columns == ["größe", "x"]


@pytest.mark.parametrize("line", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n', "\n\n"])
def test_lines_before_the_header_are_skipped_and_counted(line: str, tmp_path: Path) -> None:
    table = read(tmp_path, "\ufeff" + line + "a;b\n1;2\n")
    assert table.frame.to_dicts() == [{"a": "1", "b": "2"}]
    assert table.place(0) == f"line {line.count(chr(10)) + 2}"


@pytest.mark.parametrize("lines", ["# station 12, north\n#\n", "#made; by hand\n"])
def test_comments_before_the_header_are_skipped_and_counted(lines: str, tmp_path: Path) -> None:
    table = read(tmp_path, lines + "a;b;c\n1;2;3\n")
    assert table.frame.to_dicts() == [{"a": "1", "b": "2", "c": "3"}]
    assert table.place(0) == f"line {lines.count(chr(10)) + 2}"


def test_a_header_that_begins_with_a_hash_is_the_header(tmp_path: Path) -> None:
    assert read(tmp_path, "# by hand\n#a,b\n1,2\n").frame.columns == ["#a", "b"]
    assert read(tmp_path, "#,b\n1,2\n").frame.columns == ["#", "b"]


def test_the_separator_is_the_one_that_cuts_all_rows_alike(tmp_path: Path) -> None:
    assert read(tmp_path, "when;a, b, c\n1;2,5\n").frame.columns == ["when", "a, b, c"]
    assert read(tmp_path, "a;b\n1,5;2,5\n").frame.rows() == [("1,5", "2,5")]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_title_above_the_header_is_told_whatever_separates_the_columns(separator: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="line 3: 2 columns, the header has 1; remove the lines above the header"):
        read(tmp_path, "Station 12\n\n" + f"load{separator}x\n" + f"1{separator}2\n" * 60)


def test_columns_of_one_name_or_none_get_one_each(tmp_path: Path) -> None:
    assert read(tmp_path, "load,load ,,load.1,\n1,2,3,4,5\n").frame.columns == [
        *("load", "load.1", "column 3", "load.1.1", "column 5"),
    ]


def test_the_words_for_nothing_may_be_given(tmp_path: Path) -> None:
    table = read(tmp_path, "country,x\nNA,nil\nSE,?\n", empty=["nil", "?"])
    assert table.frame.rows() == [("NA", None), ("SE", None)]


def test_a_sheet_is_a_table_of_text_with_the_rows_of_the_sheet(tmp_path: Path) -> None:
    moments = [datetime(2024, 1, 31, 13, 30), datetime(2024, 2, 1)]
    content = excel(t=moments, n=[1, 2], x=[1.5, None], clock=[time(13, 30), time(7)], word=["a", "b"])
    table = read(tmp_path, content, "t.xlsx", time="t")
    assert times(table, "t").tolist() == moments
    assert words(table, "n").to_list() == ["1", "2"]
    assert numbers(table, "x")[0] == 1.5
    assert table.frame["clock"].str.slice(0, 5).to_list() == ["13:30", "07:00"]
    assert table.place(0) == "line 2"
    assert read(tmp_path, content, "t.xlsx", sheet="data").frame.height == 2
    with pytest.raises(TableError, match=r"t\.xlsx: there is no sheet 'more'; it has data"):
        read(tmp_path, content, "t.xlsx", sheet="more")


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        (pl.Series([1.5, math.nan, None]), [1.5, None, None]),
        (pl.Series([1, 2, None], dtype=pl.UInt64), [1, 2, None]),
        (pl.Series(["1", "2"], dtype=pl.Categorical), [1, 2]),
        (pl.Series(["1", "2"], dtype=pl.Enum(["1", "2"])), [1, 2]),
        (pl.Series([Decimal("1.50"), None]), [1.5, None]),
        (pl.Series([timedelta(minutes=1), timedelta(milliseconds=500)]), [60, 0.5]),
        (pl.Series([time(0, 1), time(1)]), [60, 3600]),
        (pl.Series([True, False, None]), [1, 0, None]),
        (pl.Series([None, None]), [None, None]),
    ],
)
def test_parquet_columns_of_every_simple_type_are_numbers(
    values: pl.Series, meant: list[float | None], tmp_path: Path
) -> None:
    found = numbers(read(tmp_path, parquet(values), "t.parquet"), "x").tolist()
    assert [None if math.isnan(one) else one for one in found] == meant


def test_a_whole_number_is_the_same_word_in_every_kind_of_file(tmp_path: Path) -> None:
    for values in (pl.Series([1.0, math.nan, 2.0]), pl.Series(["1.0", None, "2.0"]), pl.Series([1, None, 2])):
        assert words(read(tmp_path, parquet(values), "t.parquet"), "x").to_list() == ["1", None, "2"]
    assert words(read(tmp_path, "x,y\n1.0,0\n,0\n2,0\n"), "x").to_list() == ["1", None, "2"]
    assert words(read(tmp_path, "x,y\n1.0,0\n1.5,0\n"), "x").to_list() == ["1.0", "1.5"]


@pytest.mark.parametrize(
    ("values", "type"), [([[1]], "List"), ([{"a": 1}], "Struct"), ([b"a"], "Binary"), ([date(2024, 1, 1)], "dates")]
)
def test_what_is_no_number_is_refused_by_its_type(values: list[Any], type: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=rf"t\.parquet: x holds {type}"):
        numbers(read(tmp_path, parquet(values), "t.parquet"), "x")


def test_times_with_a_zone_are_moments(tmp_path: Path) -> None:
    aware = pl.Series([datetime(2024, 7, 1, 12, tzinfo=UTC)]).dt.convert_time_zone("Europe/Paris")
    assert times(read(tmp_path, parquet(aware), "t.parquet"), "x").tolist() == [datetime(2024, 7, 1, 12)]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        *(
            (b'{"a": [1, 2]}', "t.json"),
            (b'[{"a": 1}]', "t.csv"),
            (b"<!DOCTYPE html>", "t.csv"),
            (b"%PDF-1.4\n%\xe2", "t.csv"),
        ),
        *((b"\x89PNG\r\n\x1a\n\0\0", "t.csv"), (b"SQLite format 3\0", "t.csv"), (b"PK\x03\x04abc", "t.xlsx")),
        *((b"hello", "t.parquet"), (b"a,b\n1,2\n", "t.xlsx"), (b"PAR1" + b"\0" * 50 + b"PAR1", "t.parquet")),
        *((gzip.compress(b"a,b\n" * 99, mtime=0)[:20], "t.csv.gz"), (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "t.xls")),
    ],
)
def test_a_file_of_another_kind_is_refused_by_what_can_be_read(content: bytes, name: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=rf"^{name}: .*; {READABLE}"):
        read(tmp_path, content, name)


WHOLE = [
    b"time;load\n2024-01-01;1,5\n2024-01-02;2,5\n",
    gzip.compress(b"a,b\n1,2\n", mtime=0),
    parquet([1.5, 2.5]),
    excel(a=[1, 2]),
]


@settings(max_examples=150)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(st.sampled_from(WHOLE), st.integers(0, 5000), st.integers(0, 40), st.binary(max_size=8)).map(
            lambda cut: cut[0][: cut[1] % len(cut[0])] + cut[3] + cut[0][cut[1] % len(cut[0]) + cut[2] :]
        ),
    ),
    st.sampled_from(["t.csv", "t.csv.gz", "t.parquet", "t.xlsx"]),
)
def test_any_bytes_are_a_table_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    try:
        assert read(folder, content, name).frame.height > 0
    except TableError as error:
        assert str(error).startswith(f"{name}: ")
