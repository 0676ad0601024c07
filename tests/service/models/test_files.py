"""What is read of a model folder: regular files, and weights of the model's own folder; nothing else."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.errors import ModelUnusable
from service.models.files import MOST_BYTES, read, size
from service.models.model import OnnxModel
from tests.service.models import hostile

Write = Callable[[Path, str], Path]
WRITERS = pytest.mark.parametrize("write", [hostile.external, hostile.external_in_a_branch])


def sums(path: Path) -> float:
    """What the model adds to its input: the sum of its weights."""
    outputs, _ = OnnxModel(*read(path)).run(np.zeros((1, 1, 1), np.float32), np.array([1], np.int32), {})
    return float(outputs[0, 0, 0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models/m/1/model.onnx"


def test_the_digest_of_a_file_is_its_sha256(path: Path) -> None:
    content = hostile.identity(path).read_bytes()
    assert read(path) == (content, hashlib.sha256(content).hexdigest())


@WRITERS
@pytest.mark.parametrize("name", ["w", "model.onnx.data", "weights/layer-0.bin", "./w"])
def test_external_data_are_read_from_the_models_own_folder(
    path: Path, write: Write, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hostile.weights(path.parent / name, 7)
    hostile.weights(tmp_path / name, 1000)  # another model's, in the working directory
    monkeypatch.chdir(tmp_path)
    assert sums(write(path, name)) == 7


@WRITERS
def test_external_data_are_not_read_from_the_working_directory(
    path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hostile.weights(tmp_path / "w", 1000)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelUnusable, match="w: No such file"):
        read(write(path, "w"))


@WRITERS
def test_external_data_outside_of_the_folder_are_refused(path: Path, write: Write, tmp_path: Path) -> None:
    outside = hostile.weights(tmp_path / "w", 1000)
    path.parent.mkdir(parents=True)
    (path.parent / "link").symlink_to(outside)
    (path.parent / "linked").symlink_to(tmp_path)
    hostile.weights(path.parent / "in/w", 7)
    for location in (str(outside), "../../../w", "in/../../../../w", "in/../in/w", "link", "linked/w"):
        with pytest.raises(ModelUnusable, match="not in the model's own folder"):
            read(write(path, location))


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    """A Kubernetes volume: the files are links into `..data`, which is a link to the folder of the day."""
    folder, today = tmp_path / "m/1", tmp_path / "m/1/..2026_11_29"
    hostile.weights(today / "w", 7)
    hostile.external(today / "model.onnx", "w")
    (folder / "..data").symlink_to("..2026_11_29")
    for name in ("model.onnx", "w"):
        (folder / name).symlink_to(f"..data/{name}")
    (tmp_path / "latest").symlink_to(folder)
    assert sums(folder / "model.onnx") == sums(tmp_path / "latest/model.onnx") == 7


def test_the_bytes_of_external_data_are_part_of_the_digest(path: Path) -> None:
    hostile.external(path, "w")
    digests = set()
    for value in (1, 2, 1):
        hostile.weights(path.parent / "w", value)
        digests.add(read(path)[1])
    assert len(digests) == 2


@pytest.mark.parametrize(("offset", "length"), [(-4, 16), (4, 16), (0, 20), (2**62, 16), (20, -4)])
def test_external_data_beyond_their_file_are_refused(path: Path, offset: int, length: int) -> None:
    hostile.weights(path.parent / "w", 7)
    with pytest.raises(ModelUnusable, match="external data"):
        read(hostile.external(path, "w", offset=offset, length=length))


def test_the_word_location_does_not_make_data_external(path: Path) -> None:
    hostile.save(path, [hostile.node("Identity", ["input"], ["output"], name="location")])
    assert read(path)[0] == path.read_bytes()


def fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["model.onnx", "w"])
@pytest.mark.parametrize(
    "make",
    [
        fifo,
        Path.mkdir,
        lambda path: path.symlink_to("/nowhere"),
        lambda path: path.symlink_to(path.name),
        lambda path: path.symlink_to("/dev/zero"),
    ],
    ids=["pipe", "folder", "link to nowhere", "link to itself", "device"],
)
def test_only_regular_files_are_read(path: Path, make: Callable[[Path], None], name: str) -> None:
    hostile.external(path, "w")
    (path.parent / name).unlink(missing_ok=True)
    make(path.parent / name)
    with pytest.raises(ModelUnusable):
        read(path)


@pytest.mark.parametrize("name", ["model.onnx", "w"])
def test_a_pointer_of_git_lfs_is_told(path: Path, name: str) -> None:
    hostile.external(path, "w")
    (path.parent / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")
    with pytest.raises(ModelUnusable, match=f"{name} is a pointer of Git LFS, not the file itself: run `git lfs pull`"):
        read(path)


def test_a_file_that_is_too_large_is_not_read(path: Path) -> None:
    hostile.external(path, "w")
    with (path.parent / "w").open("wb") as sparse:
        sparse.truncate(MOST_BYTES + 1)
    with pytest.raises(ModelUnusable, match="more than"):
        read(path)


def test_the_size_of_a_model_is_that_of_the_regular_files_in_its_folder(path: Path) -> None:
    assert size(path) == 0
    written = len(hostile.external(path, "w").read_bytes())
    hostile.weights(path.parent / "w", 7)
    fifo(path.parent / "pipe")
    (path.parent / "loop").symlink_to("loop")
    assert size(path) == written + 16
