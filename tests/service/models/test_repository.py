"""Versions found under a folder, and which of them serve."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.engine.admission import Bounds
from service.engine.engine import Engine
from service.errors import CarouselError, ModelNotFound, ModelUnusable, Overloaded, VersionNotFound
from service.models.files import read
from service.models.fitness import Fitness
from service.models.model import OnnxModel
from service.models.repository import NAME, Hosts, Repository
from service.sessions.budget import Budget
from service.sessions.sessions import Sessions
from service.store.memory import MemoryStore
from tests.graphs import write

FIT = Fitness(True, 0.0, 1, 0.0)


async def start(model: OnnxModel, fitness: Fitness, name: str, version: str) -> Engine:
    sessions = Sessions(Budget(each=1, most_bytes=1), most=1, most_bytes=1)
    return Engine(model, fitness, sessions, MemoryStore(), Bounds(1, 1), name=name, version=version)


def repository(folder: Path, *places: str, broken: tuple[str, ...] = ()) -> Repository:
    for place in places:
        write(folder / place / "model.onnx", "feedforward")
    for place in broken:
        (folder / place).mkdir(parents=True)
        (folder / place / "model.onnx").write_bytes(b"not a graph")
    return Repository(folder, Hosts(start))


def load(path: Path, share: float) -> tuple[OnnxModel, Fitness]:
    return OnnxModel(*read(path)), FIT


def states(found: Repository) -> list[tuple[str, str, str]]:
    return [(one.model, one.version, one.state) for one in found.versions()]


async def test_the_greatest_ready_version_by_number_is_the_default(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/9", "a/10", broken=("a/11",))
    await found.load(load)
    assert [one.version for one in found.versions()] == ["9", "10", "11"]
    assert found.default("a") == "10"
    engine, model = found.ready("a")
    assert (engine.version, found.ready("a", "9")[0].version) == ("10", "9")
    assert isinstance(model, OnnxModel)


async def test_a_version_is_unavailable_for_the_reason_that_its_file_gave(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/1", "a/2", "b/1")
    faults = {"a/1": ModelUnusable("self-test: no"), "a/2": TimeoutError("more than 5 s"), "b/1": OSError("no memory")}

    def fail(path: Path, share: float) -> tuple[OnnxModel, Fitness]:
        raise faults[str(path.parent.relative_to(tmp_path))]

    await found.load(fail)
    assert {one.state for one in found.versions()} == {"unavailable"}
    assert [one.reason for one in found.versions()] == ["self-test: no", "more than 5 s", "OSError: no memory"]
    assert found.unready() == "no model is ready"
    with pytest.raises(VersionNotFound, match="self-test: no"):
        found.ready("a", "1")
    with pytest.raises(VersionNotFound, match="no ready version"):
        found.ready("a")


async def test_an_engine_that_cannot_be_made_leaves_the_others_served(tmp_path: Path) -> None:
    repository(tmp_path, "a/1", "b/1")

    async def choosy(model: OnnxModel, fitness: Fitness, name: str, version: str) -> Engine:
        if name == "a":
            raise MemoryError("too big")
        return await start(model, fitness, name, version)

    found = Repository(tmp_path, Hosts(choosy))
    await found.load(load)
    assert states(found) == [("a", "1", "unavailable"), ("b", "1", "ready")]


async def test_small_files_are_loaded_first_and_each_is_ready_at_once(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/1", "b/1", "c/1")
    (tmp_path / "a/1/weights").write_bytes(bytes(2000))
    (tmp_path / "b/1/weights").write_bytes(bytes(1000))
    seen = []

    def look(path: Path, share: float) -> tuple[OnnxModel, Fitness]:
        seen.append([one.model for one in found.versions() if one.state == "ready"])
        return load(path, share)

    await found.load(look)
    assert seen == [[], ["c"], ["b", "c"]]


async def test_a_file_that_takes_long_is_tried_again_after_all_others(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/1", "b/1", "c/1")
    tried = []

    def slow(path: Path, share: float) -> tuple[OnnxModel, Fitness]:
        name = path.parent.parent.name
        tried.append((name, share))
        if name == "a" or (name == "b" and share < 1):
            raise TimeoutError("more than 5 s")
        return load(path, share)

    await found.load(slow)
    assert tried == [("a", 0.2), ("b", 0.2), ("c", 0.2), ("a", 1), ("b", 1)]
    assert states(found) == [("a", "1", "unavailable"), ("b", "1", "ready"), ("c", "1", "ready")]


async def test_the_default_never_goes_back_whatever_the_order_of_loading(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/9", "a/10")
    (tmp_path / "a/9/weights").write_bytes(bytes(1000))
    await found.load(load)
    assert found.default("a") == "10"


async def test_readiness_waits_for_all_models_and_ends_with_a_dead_engine(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/1", "b/1")
    assert found.unready() == "models are loading"
    await found.load(load)
    assert found.unready() is None
    found.engines()[1].admission.dead = RuntimeError("out of luck")
    assert found.unready() == "engines died: b/1"


async def test_a_version_that_is_loading_is_overloaded_and_one_that_failed_is_not_found(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/1", broken=("a/2", "b/1"))

    def refusal(model: str, version: str | None) -> type[CarouselError] | None:
        try:
            found.ready(model, version)
        except CarouselError as error:
            return type(error)
        return None

    for model, version in (("a", "1"), ("a", None), ("b", "1"), ("b", None)):
        assert refusal(model, version) is Overloaded
    assert refusal("a", "3") is VersionNotFound
    with pytest.raises(Overloaded):
        found.only("a", None)
    await found.load(load)
    assert [refusal("a", one) for one in (None, "1", "2")] == [None, None, VersionNotFound]
    assert refusal("b", None) is VersionNotFound


@pytest.mark.parametrize(
    ("model", "version", "error", "told"),
    [
        ("b", None, ModelNotFound, "no model 'b'"),
        ("a", "2", VersionNotFound, "no version '2': 1 ready, 10 ready"),
        ("a", "", VersionNotFound, "no version '': 1 ready, 10 ready"),
    ],
)
async def test_what_is_not_there_is_not_found(
    tmp_path: Path, model: str, version: str | None, error: type[Exception], told: str
) -> None:
    found = repository(tmp_path, "a/10", "a/1")
    await found.load(load)
    with pytest.raises(error, match=told):
        found.ready(model, version)


async def test_a_call_that_names_no_version_may_be_for_sessions_of_any(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/1", "a/2", "b/1")
    await found.load(load)
    assert found.only("b", None) is found.ready("b", "1")[0]
    assert found.only("a", "1") is found.ready("a", "1")[0]
    with pytest.raises(VersionNotFound):
        found.only("a", None)


@pytest.mark.parametrize("place", ["a b/1", "ä/1", "a\n/1", ".git/1", "..data/1", "a/.ipynb_checkpoints"])
def test_folders_that_are_no_models_are_named_in_the_log(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert repository(tmp_path, place).versions() == []
    assert repr(place.removesuffix("/1"))[1:-1] in caplog.text


@pytest.mark.parametrize("version", ["latest", "v1", "01", "-1", "1.0", "1\n", "\udcff"])
async def test_a_version_that_is_no_number_is_listed_as_unavailable(
    tmp_path: Path, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "model.onnx", "feedforward")
    (tmp_path / "models/a" / version).mkdir(parents=True)
    (tmp_path / "models/a" / version / "model.onnx").write_bytes((tmp_path / "model.onnx").read_bytes())
    found = repository(tmp_path / "models", "a/7")
    await found.load(load)
    seven, other = found.versions()
    assert (seven.state, other.state) == ("ready", "unavailable")
    assert "decimal number" in str(other.reason)
    assert repr(version)[1:-1] in caplog.text
    assert other.version.encode()
    with pytest.raises(VersionNotFound, match="decimal number"):
        found.ready("a", other.version)


def flat(folder: Path) -> None:
    (folder / "flat.onnx").touch()


def empty(folder: Path) -> None:
    (folder / "a/1").mkdir(parents=True)


def unnumbered(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a/model.onnx").touch()


@pytest.mark.parametrize(
    ("make", "name", "why"),
    [
        (flat, "flat.onnx", "a model is NAME/VERSION/model.onnx"),
        (unnumbered, "a/model.onnx", "a model is NAME/VERSION/model.onnx"),
        (empty, "a/1", "it has no model.onnx"),
    ],
)
def test_what_lies_in_the_wrong_place_is_named_in_the_log(
    tmp_path: Path, make: Callable[[Path], None], name: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path)
    assert repository(tmp_path).versions() == []
    assert str(tmp_path / name) in caplog.text
    assert why in caplog.text


async def test_links_to_folders_are_followed_and_what_they_lead_to_is_not_found_twice(tmp_path: Path) -> None:
    """A Kubernetes volume: the models are links into the hidden `..data`, itself a link."""
    repository(tmp_path, "..2026_11_29/a/1")
    (tmp_path / "..data").symlink_to("..2026_11_29")
    (tmp_path / "a").symlink_to("..data/a")
    found = Repository(tmp_path, Hosts(start))
    await found.load(load)
    assert states(found) == [("a", "1", "ready")]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path.name)])
async def test_a_model_that_is_no_regular_file_is_unavailable(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "a/1").mkdir(parents=True)
    make(tmp_path / "a/1/model.onnx")
    found = repository(tmp_path, "b/1")
    await found.load(load)
    assert states(found) == [("a", "1", "unavailable"), ("b", "1", "ready")]


async def test_a_folder_without_models_is_never_ready(tmp_path: Path) -> None:
    found = Repository(tmp_path / "missing", Hosts(start))
    await found.load(load)
    assert found.unready() == "no model is ready"


@pytest.mark.parametrize("name", ["a", "A-Z.a_z:0@9", "...", "x" * 128])
def test_names_of_the_wire_are_names(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a\n", "ä", "x" * 129])
def test_other_names_are_none(name: str) -> None:
    assert not NAME.fullmatch(name)


async def test_sessions_that_a_store_gives_back_wait_until_their_version_is_ready(tmp_path: Path) -> None:
    asked: list[type[CarouselError] | None] = []

    async def given_back(model: OnnxModel, fitness: Fitness, name: str, version: str) -> Engine:
        engine = await start(model, fitness, name, version)
        with pytest.raises(Overloaded, match="loading"):
            one.file(engine)
        asked.append(Overloaded)
        return engine

    write(tmp_path / "m/1/model.onnx", "feedforward")
    one = Repository(tmp_path, Hosts(given_back))
    await one.load(load)
    engine, file = one.ready("m", "1")
    assert asked == [Overloaded]
    assert one.file(engine) is file
    with pytest.raises(VersionNotFound, match="not found"):
        one.file(await start(file, FIT, "m", "7"))
