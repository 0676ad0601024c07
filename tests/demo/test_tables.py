import tarfile
import tomllib
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from demo.public import FOLDER, PUBLIC, Public
from demo.tables import _BEGIN, _END, _PAGE, _fetched, _understood

RECIPE = """
[data]
time = ["year", "quarter"]
sequence = "country"
repeats = "first"

[[features]]
name = "gdp"

[[features]]
kind = "calendar"
name = "month"

[task]
kind = "regression"
targets = ["gdp"]
residual = true
"""


def test_what_was_understood_is_one_line() -> None:
    assert _understood(tomllib.loads(RECIPE)) == (
        "`gdp`, regression, residual; time `year + quarter`; sequence `country`; repeats first; 1 column + month"
    )


def test_a_table_is_taken_out_of_a_wheel_or_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (packages := FOLDER / "packages").mkdir(parents=True)
    with zipfile.ZipFile(packages / "some_tables-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some/x.csv", "a,b\n")
    with tarfile.open(packages / "more-2.tar.gz", "w:gz") as source:
        member = tarfile.TarInfo("more-2/data/y.csv")
        member.size = 4
        source.addfile(member, BytesIO(b"c,d\n"))
    assert _fetched(Public("some_tables==1.0", "some/x.csv")) == b"a,b\n"
    assert _fetched(Public("more==2", "data/y.csv")) == b"c,d\n"


def test_every_table_has_a_folder_of_its_own() -> None:
    assert len({one.folder for one in PUBLIC}) == len(PUBLIC)


def test_the_page_has_a_place_for_the_rows() -> None:
    page = (Path(__file__).parents[2] / _PAGE).read_text(encoding="utf-8")
    assert page.count(_BEGIN) == page.count(_END) == 1
