from pathlib import Path

import pytest

from tests.training.data.sources.archives import zipped
from training.data.sources.published import Published, sha256
from training.errors import TableError

SET = Published("set.zip", ("a.txt", "b.txt"), "somebody, 1999")
CONTENTS = {"a.txt": b"1", "b.txt": b"2"}


def unpacked(folder: Path) -> Path:
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_zip_and_its_unpacked_files_hold_the_same_and_have_one_hash(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {f"inside/{name}": content for name, content in CONTENTS.items()})
    (tmp_path / "set").mkdir()
    whole, files = SET.read(archive, Path()), SET.read(unpacked(tmp_path / "set"), Path())
    assert whole == files == CONTENTS
    assert sha256(whole) == sha256(dict(reversed(files.items())))


def test_a_path_is_relative_to_the_recipe_and_comes_before_the_folder_of_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAROUSEL_DATA", str(tmp_path / "nowhere"))
    zipped(tmp_path / "x.zip", CONTENTS)
    assert SET.read(Path("x.zip"), tmp_path) == CONTENTS


def test_without_a_path_the_variable_names_the_folder_of_the_zip_or_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAROUSEL_DATA", str(tmp_path))
    zipped(tmp_path / "set.zip", CONTENTS)
    assert SET.read(None, Path()) == CONTENTS
    (tmp_path / "set.zip").unlink()
    assert SET.read(None, unpacked(tmp_path)) == CONTENTS


FIX = r"given out by somebody, 1999.*data\.path, or put set\.zip .*CAROUSEL_DATA names"


def test_what_is_named_nowhere_is_an_error_that_says_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAROUSEL_DATA", raising=False)
    with pytest.raises(TableError, match=rf"a\.txt, b\.txt: nothing says where it is; .*{FIX}"):
        SET.read(None, Path())


@pytest.mark.parametrize("place", ["empty", "other.zip", "nothing.zip"])
def test_what_is_not_in_its_place_is_an_error_that_names_the_place(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    zipped(tmp_path / "other.zip", {"a.txt": b"1"})
    with pytest.raises(TableError, match=rf"it is not in {place}; .*{FIX}"):
        SET.read(Path(place), tmp_path)


def test_what_is_no_zip_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"nothing")
    with pytest.raises(TableError, match=r"broken\.zip: .*zip"):
        SET.read(Path("broken.zip"), tmp_path)
