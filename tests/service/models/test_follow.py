"""The repository while its folder changes: new versions, broken ones, half-written ones, unloading, canaries."""

import os
from pathlib import Path

import pytest

from service.engine.admission import Bounds
from service.engine.engine import Engine
from service.errors import ModelNotFound, VersionNotFound
from service.models.files import read
from service.models.fitness import Fitness
from service.models.folder import Serving, serving
from service.models.model import NoModel, OnnxModel
from service.models.repository import Hosts, Repository
from service.sessions.budget import Budget
from service.sessions.session import Session
from service.sessions.sessions import Sessions
from service.store.memory import MemoryStore
from tests.graphs import write

FIT = Fitness(True, 0.0, 1, 0.0)


def load(path: Path, share: float) -> tuple[OnnxModel, Fitness]:
    return OnnxModel(*read(path)), FIT


class Living:
    """A repository over a folder, with the sessions of its engines."""

    def __init__(self, folder: Path, choice: str = "all") -> None:
        self.folder, self.stopped = folder, list[str]()
        self.sessions = Sessions(Budget(each=1, most_bytes=2**20), most=100, most_bytes=2**20)
        self.repository = Repository(folder, Hosts(self._start, self._stop), choice)

    async def _start(self, model: OnnxModel, fitness: Fitness, name: str, version: str) -> Engine:
        how = {"name": name, "version": version, "digest": model.description.digest}
        return Engine(model, fitness, self.sessions, MemoryStore(), Bounds(9, 2**20), **how)

    def _stop(self, engine: Engine) -> None:
        self.stopped.append(f"{engine.name}/{engine.version}")
        self.sessions.release(engine)

    def put(self, place: str, seed: int = 0) -> None:
        write(self.folder / place / "model.onnx", "lstm", seed=seed)

    def put_broken(self, place: str) -> None:
        (self.folder / place).mkdir(parents=True, exist_ok=True)
        (self.folder / place / "model.onnx").write_bytes(b"not a graph")

    async def follow(self, only: str | None = None) -> list[str]:
        return await self.repository.follow(load, only)

    async def open(self, id: str, version: str | None = None) -> Session:
        engine, _ = self.repository.new("a", version, id)
        return await engine.lifecycle.open(id, 60)

    async def end(self, session: Session) -> None:
        await self.repository.of(session)[0].lifecycle.delete(session)

    @property
    def states(self) -> dict[str, str]:
        return {one.version: f"{one.state}{' kept' if one.kept else ''}" for one in self.repository.versions()}


@pytest.fixture
async def living(tmp_path: Path) -> Living:
    one = Living(tmp_path, "latest:1")
    one.put("a/1")
    one.repository = Repository(tmp_path, Hosts(one._start, one._stop), "latest:1")
    await one.repository.load(load)
    return one


async def test_a_new_version_takes_new_sessions_and_the_old_one_keeps_its_own(living: Living) -> None:
    old = await living.open("old")
    living.put("a/2")
    assert await living.follow("a") == []
    assert living.repository.default("a") == "2"
    assert living.states == {"1": "ready kept", "2": "ready"}
    assert (living.repository.of(old)[0].version, (await living.open("new")).version) == ("1", "2")
    with pytest.raises(VersionNotFound, match="no new sessions"):
        living.repository.new("a", "1", "third")
    living.repository.settle()
    assert living.stopped == []
    await living.end(old)
    living.repository.settle()
    assert living.stopped == ["a/1"]
    assert living.states == {"1": "unavailable", "2": "ready"}


async def test_a_broken_version_is_unavailable_while_the_old_one_serves(living: Living) -> None:
    living.put_broken("a/2")
    assert "version 2: ONNX Runtime" in (await living.follow("a"))[0]
    assert living.states == {"1": "ready", "2": "unavailable"}
    assert living.repository.default("a") == "1"
    assert await living.follow("a") == []  # it was tried
    living.put("a/2")
    assert await living.follow("a") == []
    assert living.repository.default("a") == "2"


async def test_rollback_is_the_same_step_backwards(living: Living) -> None:
    living.put("a/2")
    await living.follow("a")
    ahead = await living.open("ahead")
    assert living.states["1"] == "unavailable"
    (living.folder / "a/2/model.onnx").unlink()
    assert await living.follow("a") == []
    assert living.repository.default("a") == "1"
    assert living.states == {"1": "ready", "2": "ready kept"}
    await living.end(ahead)
    living.repository.settle()
    assert living.states == {"1": "ready"}


async def test_files_that_still_change_are_left_alone(living: Living) -> None:
    living.put("a/2")
    path = living.folder / "a/2/model.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    await living.follow()
    path.write_bytes(whole[:900])
    await living.follow()
    path.write_bytes(whole)
    await living.follow()
    assert living.repository.default("a") == "1"
    assert living.repository.models["a"]["2"].fault is None
    await living.follow()
    assert living.repository.default("a") == "2"


async def test_files_that_change_while_they_are_read_are_not_served(living: Living) -> None:
    living.put("a/2")

    def slowly(path: Path, share: float) -> tuple[OnnxModel, Fitness]:
        found = load(path, share)
        os.utime(path, (1, 1))
        return found

    assert "change while they are read" in (await living.repository.follow(slowly, "a"))[0]
    assert living.repository.default("a") == "1"
    assert await living.follow("a") == []
    assert living.repository.default("a") == "2"


async def test_another_file_under_the_same_version_serves_new_sessions(living: Living) -> None:
    old = await living.open("old")
    living.put("a/1", seed=7)
    assert await living.follow("a") == []
    new = await living.open("new")
    assert old.home is not new.home
    assert living.repository.of(old)[1].description.digest != living.repository.of(new)[1].description.digest
    living.put_broken("a/1")
    assert len(await living.follow("a")) == 1
    assert living.repository.ready("a")[0] is new.home
    await living.end(old)
    living.repository.settle()
    assert living.stopped == ["a/1"]


async def test_an_unloaded_model_keeps_its_sessions_until_it_is_loaded_again(living: Living) -> None:
    session = await living.open("s")
    engine = living.repository.of(session)[0]
    await living.repository.unload("a")
    assert isinstance(engine.model, NoModel)
    for ask in (lambda: living.sessions.get("s"), lambda: living.repository.ready("a")):
        with pytest.raises(VersionNotFound, match="unloaded"):
            ask()
    await living.follow()
    assert living.states == {"1": "unavailable"}
    assert await living.follow("a") == []
    assert living.repository.of(living.sessions.get("s"))[0] is engine
    assert isinstance(engine.model, OnnxModel)
    await living.end(session)
    await living.repository.unload("a")
    assert living.stopped == ["a/1"]
    with pytest.raises(ModelNotFound):
        await living.repository.unload("b")
    with pytest.raises(ModelNotFound):
        await living.follow("b")


async def test_a_model_that_is_removed_is_served_to_its_sessions_alone(living: Living) -> None:
    session = await living.open("s")
    (living.folder / "a/1/model.onnx").unlink()
    await living.follow()
    assert living.repository.of(session)
    with pytest.raises(VersionNotFound):
        living.repository.new("a", None, "t")
    await living.end(session)
    living.repository.settle()
    with pytest.raises(ModelNotFound):
        living.repository.ready("a")


async def test_versions_with_stored_sessions_are_served_whatever_is_wanted(tmp_path: Path) -> None:
    living = Living(tmp_path)
    for place in ("a/1", "a/2", "a/3"):
        living.put(place)
    living.repository = Repository(tmp_path, Hosts(living._start, living._stop), "latest:1")
    living.repository.stored = {("a", "1")}
    await living.repository.load(load)
    assert living.states == {"1": "ready kept", "2": "unavailable", "3": "ready"}


async def test_a_canary_takes_its_share_of_new_sessions_that_name_no_version(living: Living) -> None:
    living.put("a/2")
    (living.folder / "a/serving.toml").write_text('versions = "all"\n[canary]\nversion = "2"\nshare = 0.1\n')
    assert await living.follow("a") == []
    assert living.repository.default("a") == "1"
    versions = [living.repository.new("a", None, f"s-{index}")[0].version for index in range(2000)]
    assert 160 <= versions.count("2") <= 240
    assert versions == [living.repository.new("a", None, f"s-{index}")[0].version for index in range(2000)]
    assert 120 <= sum(living.repository.new("a", None, None)[0].version == "2" for _ in range(2000)) <= 280
    assert living.repository.new("a", "1", "s")[0].version == "1"


@pytest.mark.parametrize(
    ("wanted", "served"),
    [
        (Serving(), "1 2 9 10"),
        (Serving("latest:2"), "9 10"),
        (Serving("2, 9,11"), "2 9"),
        (Serving("latest:1", canary="9"), "9 10"),
        (Serving("latest:1", canary="10"), "9 10"),
        (Serving("latest:1", shadow="1"), "1 10"),
    ],
)
def test_a_choice_of_versions(wanted: Serving, served: str) -> None:
    assert " ".join(wanted.choose(["1", "2", "9", "10"])) == served


@pytest.mark.parametrize(
    "text",
    [
        'versions = "newest"',
        "versions = 3",
        "version = 3",
        "shadow = true",
        "canary = 3",
        '[canary]\nversion = "2"\nshare = 1.5',
        "[canary]\nshare = true",
        "[canary]\nweight = 1",
        "not TOML",
    ],
)
async def test_a_file_that_is_not_understood_changes_nothing(living: Living, text: str) -> None:
    (living.folder / "a/serving.toml").write_text(text)
    with pytest.raises(ValueError, match=r"serving\.toml"):
        serving(living.folder / "a", "all")
    assert "serving.toml" in (await living.follow("a"))[0]
    assert living.states == {"1": "ready"}
