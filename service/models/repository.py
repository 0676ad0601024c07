"""The model repository: finds models/NAME/VERSION/model.onnx, loads what is wanted, and follows changes.

A new version is loaded beside the old one, and then takes its place. Knows folders and the states of versions; how a
file becomes a model and a model an engine is given to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from service.errors import ModelNotFound, ModelUnusable, VersionNotFound
from service.models import files
from service.models.fitness import Fitness
from service.models.folder import NAME, NO_NUMBER, NUMBER, Folder, Found, Serving, rank, stamp
from service.models.model import OnnxModel
from service.models.versions import Version, Versions

if TYPE_CHECKING:
    from service.engine.engine import Engine

__all__ = ["NAME", "Hosts", "Repository"]

_SHARES = (0.2, 1.0)  # of the time that an examination may take: slow files are tried again after all others

_log = logging.getLogger("carousel.repository")

Load = Callable[[Path, float], tuple[OnnxModel, Fitness]]  # a file, and the share of its time; as Examiner.load


class Hosts(NamedTuple):
    """How engines begin and end: `shadow` steps the second one beside the first, which is live, or none any more."""

    start: Callable[[OnnxModel, Fitness, str, str], Awaitable[Engine]]
    stop: Callable[[Engine], None] = lambda engine: None
    shadow: Callable[[Engine, Engine | None], None] = lambda live, beside: None
    holds: Callable[[Engine], bool] = lambda engine: False  # a store has sessions of it that are not in memory


class Repository(Versions):
    """All versions under a folder. Those are served that `choice` wants, or the file of the operator beside them.

    `stored` are models and versions of which a store has sessions: they are served to these, whatever is wanted.
    """

    def __init__(self, folder: Path, hosts: Hosts, choice: str = "all") -> None:
        super().__init__()
        self._folder, self._hosts = Folder(folder, choice), hosts
        self.stored: set[tuple[str, str]] = set()
        self._leaving: list[Engine] = []  # another file has their version now, or their model is unloaded
        self._unloaded: set[str] = set()  # models that are not to be loaded unless that is asked for
        self._changing = asyncio.Lock()
        self._take(self._folder.look(), first=True)
        if not self.models:
            _log.warning("no model under %s: nothing will be ready", folder)

    async def load(self, load_file: Load) -> None:
        """Load each version in a thread, small files first; each is ready as soon as it is loaded.

        A version that fails is unavailable, with the reason. One that takes long waits until the others are loaded.
        """
        async with self._changing:
            await self._load_due(load_file)
            self._begun = True

    async def follow(self, load_file: Load, only: str | None = None) -> list[str]:
        """Look at the folder, and serve what is wanted now → what went wrong.

        With `only`, look at that model alone, and load it if it was unloaded; else leave files alone that are not as
        they were at the last look, since they may be being written.

        Raises:
            ModelNotFound: there is none of that name.

        """
        async with self._changing:
            found = await asyncio.to_thread(self._folder.look, only)
            if only is not None and only not in found and only not in self.models:
                raise ModelNotFound(f"no model {only!r}")
            self._take(found, only)
            tried = await self._load_due(load_file)
            self.settle()
            faults = [f"{model}: {one.fault}" for model, one in found.items() if one.fault]
            return faults + [f"version {one.version}: {one.fault}" for one in tried if one.fault]

    async def unload(self, model: str) -> None:
        """Serve a model no more, once what was accepted is done. Its sessions are told so, until it is loaded again.

        Raises:
            ModelNotFound: there is none of that name.

        """
        async with self._changing:
            if model not in self.models:
                raise ModelNotFound(f"no model {model!r}")
            self._unloaded.add(model)
            engines = [engine for engine in self.running() if engine.name == model]
            for one in self.models[model].values():
                one.engine, one.tried, one.fault = None, None, one.fault or "it is unloaded"
            self._choose(model)
            for engine in engines:
                engine.refusal = VersionNotFound(f"model {model!r} is unloaded")
                engine.table.generation += 1  # sessions are looked up again
                await engine.drained()
                engine.sleep()
                self._leave(engine)
            self.settle()

    def settle(self) -> None:
        """Let go of engines in which no session lives any more."""
        for one in self.versions():
            if one.kept and one.engine is not None and self._empty(one.engine):
                self._leave(one.engine)
                one.engine, one.tried = None, None
                self.stored.discard((one.model, one.version))
                self._choose(one.model)
        for engine in [engine for engine in self._leaving if self._empty(engine)]:
            self._leaving.remove(engine)
            self._files.pop(engine, None)
            self._hosts.stop(engine)
            _log.info("%s/%s has no sessions left: its memory is given back", engine.name, engine.version)

    def _leave(self, engine: Engine) -> None:
        self._hosts.shadow(engine, None)
        if engine not in self._leaving:
            self._leaving.append(engine)

    # What lies in the folder.

    def _take(self, found: dict[str, Found], only: str | None = None, *, first: bool = False) -> None:
        """Take in what lies in the folder: files that are new are due, or once they are as at the look before."""
        for model in {only} if only is not None else {*found, *self.models} - self._unloaded:
            there = found.get(model, Found(self._serving.get(model, Serving()), None, {}))
            if there.fault is None:
                self._serving[model] = there.serving
            else:
                self._serving.setdefault(model, there.serving)
                _log.error("%s: %s", model, there.fault)
            known = self.models.setdefault(model, {})
            for version, (path, seen) in there.versions.items():
                one = known.setdefault(version, Version(model, version, path))
                if not NUMBER.fullmatch(path.parent.name):
                    one.fault = NO_NUMBER
                    continue
                if one.tried is None and model in self._unloaded:
                    one.fault = None
                one.due = one.tried != seen and (first or only is not None or one.seen == seen)
                one.seen = seen
            for one in known.values():
                one.there = one.version in there.versions
            self._unloaded.discard(model)
            self._choose(model)

    def _choose(self, model: str) -> None:
        """Decide which versions of a model are served to all, and which is the default."""
        known, serving = self.models[model], self._serving[model]
        numbers = [version for version in sorted(known, key=rank) if NUMBER.fullmatch(version) and known[version].there]
        wanted = serving.choose([one for one in numbers if known[one].engine or known[one].due or not known[one].fault])
        ready = [version for version in numbers if known[version].engine is not None]
        served = serving.choose(ready) or ready[-1:]
        for key in [key for key in self._ready if key[0] == model]:
            del self._ready[key]
        for version, one in known.items():
            one.wanted = version in wanted or (model, version) in self.stored
            one.kept = one.engine is not None and version not in served
            if one.engine is not None:
                self._ready[model, version] = one.engine, self._files[one.engine]
        plain = [version for version in served if version not in (serving.canary, serving.shadow)] or served
        if plain:
            self._ready[model, None] = self._ready[model, plain[-1]]
        for one in known.values():
            if one.engine is not None:
                live = serving.shadow != one.version and plain[-1:] == [one.version]
                self._hosts.shadow(
                    one.engine, known[serving.shadow].engine if live and serving.shadow in known else None
                )
        gone = [version for version, one in known.items() if not one.there and one.engine is None]
        for version in gone:
            del known[version]
        if not known:
            del self.models[model]

    # How files become engines.

    async def _load_due(self, load_file: Load) -> list[Version]:
        """Load what is wanted and due, also what is wanted since others failed → all that was tried."""
        tried: list[Version] = []
        while due := [one for one in self.versions() if one.wanted and one.due]:
            loading = await asyncio.to_thread(sorted, due, key=lambda one: files.size(one.path))
            for share in _SHARES:
                loading = [one for one in loading if not await self._load(one, load_file, share)]
            tried += due
        return tried

    async def _load(self, one: Version, load_file: Load, share: float) -> bool:
        """Load one version → False if it is to be tried again with more time."""
        one.tried = await asyncio.to_thread(stamp, one.path.parent)
        try:
            model, fitness = await asyncio.to_thread(load_file, one.path, share)
            if await asyncio.to_thread(stamp, one.path.parent) != one.tried:
                one.tried = None
                raise ModelUnusable("its files change while they are read")
            engine = self._woken(one, model) or await self._hosts.start(model, fitness, one.model, one.version)
        except TimeoutError as error:
            if share < 1:
                _log.info("%s/%s takes long: it is tried again after the others", one.model, one.version)
                return False
            one.fail(str(error))
        except ModelUnusable as error:
            one.fail(str(error))
        except Exception as error:  # whatever a file did, the others are served
            one.fail(f"{type(error).__name__}: {error}")
        else:
            if one.engine is not None:
                self._leave(one.engine)
            one.engine, one.fault = engine, None
            self._files[engine] = model
            _log.info("%s/%s is ready: %s", one.model, one.version, fitness)
        one.due = False
        self._choose(one.model)
        return True

    def _woken(self, one: Version, model: OnnxModel) -> Engine | None:
        """The engine of an unloaded version, if it has sessions, and its file is loaded again."""
        for engine in self._leaving:
            same = (engine.name, engine.version, engine.digest) == (one.model, one.version, model.description.digest)
            if same and engine.refusal is not None:
                self._leaving.remove(engine)
                engine.wake(model)
                return engine
        return None

    def _empty(self, engine: Engine) -> bool:
        """Whether no session lives in an engine, and nothing waits."""
        return not engine.table.used and engine.calls.idle and not self._hosts.holds(engine)
