"""Versions found under a folder, and which of them serve."""

import logging
from pathlib import Path

import pytest

from service.engine import Engine
from service.errors import ModelNotFound, ModelUnusable, VersionNotFound
from service.gate import Gate
from service.models.fitness import Fitness
from service.models.model import OnnxModel
from service.models.repository import NAME, Repository
from service.replay import Budget
from service.sessions import Sessions
from tests.graphs import write

FIT = Fitness(True, 0.0, 1, 0.0)


def start(model: OnnxModel, fitness: Fitness, name: str, version: str) -> Engine:
    sessions = Sessions(Budget(each=1, most_bytes=1), most=1, most_bytes=1)
    return Engine(model, fitness, sessions, Gate(most_rows=1, most_bytes=1), name=name, version=version)


def repository(folder: Path, *places: str, broken: tuple[str, ...] = ()) -> Repository:
    for place in places:
        write(folder / place / "model.onnx", "feedforward")
    for place in broken:
        (folder / place).mkdir(parents=True)
        (folder / place / "model.onnx").write_bytes(b"not a graph")
    return Repository(folder, start)


def fit(model: OnnxModel) -> Fitness:
    return FIT


async def test_the_greatest_ready_version_by_number_is_the_default(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/9", "a/10", broken=("a/11",))
    await found.load(fit)
    assert [one.version for one in found.versions()] == ["9", "10", "11"]
    assert found.default("a") == "10"
    engine, model = found.ready("a")
    assert (engine.version, found.ready("a", "9")[0].version) == ("10", "9")
    assert isinstance(model, OnnxModel)


async def test_a_version_is_unavailable_for_the_reason_that_its_file_gave(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/1", "b/1", broken=("a/2",))
    faults = [ModelUnusable("self-test: no"), MemoryError("too big")]

    def examine(model: OnnxModel) -> Fitness:
        raise faults.pop(0)

    await found.load(examine)
    reasons = [(one.state, one.reason) for one in found.versions()]
    assert reasons[0] == ("unavailable", "self-test: no")
    assert reasons[1][0] == "unavailable"
    assert reasons[2] == ("unavailable", "MemoryError: too big")
    assert found.unready() == "no model is ready"
    with pytest.raises(VersionNotFound, match="self-test: no"):
        found.ready("a", "1")
    with pytest.raises(VersionNotFound, match="no ready version"):
        found.ready("a")


async def test_an_engine_that_cannot_be_made_leaves_the_others_served(tmp_path: Path) -> None:
    repository(tmp_path, "a/1", "b/1")

    def choosy(model: OnnxModel, fitness: Fitness, name: str, version: str) -> Engine:
        if name == "a":
            raise MemoryError("too big")
        return start(model, fitness, name, version)

    found = Repository(tmp_path, choosy)
    await found.load(fit)
    assert [(one.model, one.state) for one in found.versions()] == [("a", "unavailable"), ("b", "ready")]


async def test_readiness_waits_for_all_models_and_ends_with_a_dead_engine(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/1", "b/1")
    assert found.unready() == "models are loading"
    with pytest.raises(VersionNotFound, match="loading"):
        found.ready("a")
    await found.load(fit)
    assert found.unready() is None
    found.engines()[1].admission.dead = RuntimeError("out of luck")
    assert found.unready() == "engines died: b/1"


@pytest.mark.parametrize(("model", "version", "error"), [("b", None, ModelNotFound), ("a", "2", VersionNotFound)])
async def test_what_is_not_there_is_not_found(
    tmp_path: Path, model: str, version: str | None, error: type[Exception]
) -> None:
    found = repository(tmp_path, "a/1")
    await found.load(fit)
    with pytest.raises(error):
        found.ready(model, version)


async def test_a_call_that_names_no_version_may_be_for_sessions_of_any(tmp_path: Path) -> None:
    found = repository(tmp_path, "a/1", "a/2", "b/1")
    await found.load(fit)
    assert found.only("b", None) is found.ready("b", "1")[0]
    assert found.only("a", "1") is found.ready("a", "1")[0]
    with pytest.raises(VersionNotFound):
        found.only("a", None)


@pytest.mark.parametrize("place", ["a/v1", "a/01", "a/-1", "a/1.0", "a b/1", "ä/1"])
def test_folders_that_are_no_name_and_version_are_not_served(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert repository(tmp_path, place).versions() == []
    assert place in caplog.text


async def test_a_folder_without_models_is_never_ready(tmp_path: Path) -> None:
    found = Repository(tmp_path / "missing", start)
    await found.load(fit)
    assert found.unready() == "no model is ready"


@pytest.mark.parametrize("name", ["a", "A-Z.a_z:0@9", "...", "x" * 128])
def test_names_of_the_wire_are_names(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a\n", "ä", "x" * 129])
def test_other_names_are_none(name: str) -> None:
    assert not NAME.fullmatch(name)
