import gzip
from pathlib import Path

import polars as pl
import pytest

from training.data.sources import Table, TableFile
from training.errors import TableError


def read(folder: Path, text: str | bytes, name: str = "t.csv", **settings: str) -> Table:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return TableFile.model_validate({"path": name, **settings}).read(folder)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_seen_from_the_header(separator: str, tmp_path: Path) -> None:
    table = read(tmp_path, f"a{separator}b\n1{separator}x\n")
    assert table.frame.to_dicts() == [{"a": "1", "b": "x"}]


def test_a_tab_may_be_written_as_a_shell_passes_it_on_and_no_other_two_characters(tmp_path: Path) -> None:
    assert read(tmp_path, "a;x\tb\n1\t2\n", separator=r"\t").frame.columns == ["a;x", "b"]
    for separator in (";;", "", "\n", '"', "·"):
        with pytest.raises(ValueError, match=r"is no separator: one ASCII character; write ';', '\|' or '\\t'"):
            TableFile(path=Path("t.csv"), separator=separator)


def test_everything_stays_text_and_what_says_nothing_is_empty(tmp_path: Path) -> None:
    table = read(tmp_path, '\ufeffa , b\r\n007 ,"x, y"\r\nNA,\r\n"",n/a\r\nnull,z\r\n')
    assert table.frame.rows() == [("007", "x, y"), (None, "z")]
    assert [table.place(row) for row in range(2)] == ["line 2", "line 5"]  # rows of nothing are none


def test_lines_are_those_of_the_file_though_a_value_spans_some(tmp_path: Path) -> None:
    table = read(tmp_path, 'a,b\n1,"x\ny"\n2,z\n')
    assert [table.place(row) for row in range(2)] == ["line 2", "line 4"]


def test_compressed_and_parquet_files_are_tables_too(tmp_path: Path) -> None:
    assert read(tmp_path, gzip.compress(b"a,b\n1,x\n"), "t.csv.gz").frame.rows() == [("1", "x")]
    pl.DataFrame({"a": [1.5], "": [2]}).write_parquet(tmp_path / "p.parquet")
    table = TableFile(path=Path("p.parquet")).read(tmp_path)
    assert table.frame.to_dicts() == [{"a": 1.5, "column 2": 2}]
    assert table.place(0) == "row 0"


def test_rows_are_not_lost_in_a_quote_that_a_backslash_escapes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + '"x\\"y",1\n' * 4)
    with pytest.raises(TableError, match="line 2: a value goes on behind its closing quote"):
        TableFile(path=Path("t.csv")).read(tmp_path)


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"t\.csv: No such file.*relative to the recipe"):
        TableFile(path=Path("t.csv")).read(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a,b\n1,2\n1,2,3\n", r"t\.csv: line 3: 3 columns, the header has 2"),
        (b"a,b\n1,2\n\xff,2\n", r"t\.csv: line 3: it is not UTF-8"),
        (b"a,b\n", r"t\.csv: it has no rows"),
        (b"", r"t\.csv: empty CSV"),
    ],
)
def test_what_is_no_table_is_an_error_that_names_the_line(content: bytes, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=complaint):
        read(tmp_path, content)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv.gz"])
def test_what_is_no_such_file_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=f"{name}: "):
        read(tmp_path, b"nothing", name)
