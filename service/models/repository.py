"""The model repository: models/NAME/VERSION/model.onnx, discovered and loaded; which versions are served.

It knows folders and states of versions; how a file becomes an engine is given to it.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.engine.engine import Engine
from service.errors import ModelNotFound, ModelUnusable, VersionNotFound
from service.models.model import OnnxModel
from service.models.fitness import Fitness

NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._:@-]{1,128}")  # of models and sessions
_VERSION = re.compile(r"0|[1-9][0-9]*")

_log = logging.getLogger("carousel.repository")


@dataclass
class Version:
    """One version of a model. `engine` is there when it is ready, `reason` when it is unavailable."""

    model: str
    version: str
    path: Path
    state: Literal["loading", "ready", "unavailable"] = "loading"
    reason: str | None = None
    engine: Engine | None = None


class Repository:
    """All versions found under a folder, by model and number."""

    def __init__(self, folder: Path, start: Callable[[OnnxModel, Fitness, str, str], Engine]) -> None:
        self._start = start
        self.models: dict[str, dict[str, Version]] = {}
        self._ready: dict[tuple[str, str | None], tuple[Engine, OnnxModel]] = {}  # None: the default version
        for path in sorted(folder.glob("*/*/model.onnx")):
            name, version = path.parent.parent.name, path.parent.name
            if not NAME.fullmatch(name) or not _VERSION.fullmatch(version):
                _log.warning("%s is not served: its folders are not NAME/VERSION, a version being a decimal", path)
                continue
            self.models.setdefault(name, {})[version] = Version(name, version, path)
        if not self.models:
            _log.warning("no model under %s: nothing will be ready", folder)

    def __repr__(self) -> str:
        return f"<Repository {[f'{one.model}/{one.version} {one.state}' for one in self.versions()]}>"

    def versions(self) -> list[Version]:
        """All of them, models by name and versions by number."""
        return [versions[number] for _, versions in sorted(self.models.items()) for number in sorted(versions, key=int)]

    async def load(self, examine_with: Callable[[OnnxModel], Fitness]) -> None:
        """Load and examine each version in a thread; one that fails is unavailable, with the reason."""
        for one in self.versions():
            try:
                model, fitness = await asyncio.to_thread(_load, one.path, examine_with)
                engine = self._start(model, fitness, one.model, one.version)
            except ModelUnusable as error:
                one.state, one.reason = "unavailable", str(error)
                _log.error("%s/%s is unavailable: %s", one.model, one.version, error)
            except Exception as error:  # whatever a file did to the runtime, the others are served
                one.state, one.reason = "unavailable", f"{type(error).__name__}: {error}"
                _log.exception("%s/%s is unavailable", one.model, one.version)
            else:
                one.engine, one.state = engine, "ready"
                self._ready[one.model, one.version] = engine, model
                self._ready[one.model, None] = engine, model  # the greatest so far
                _log.info("%s/%s is ready: %s", one.model, one.version, fitness)

    def default(self, model: str) -> str | None:
        """The greatest ready version of a model, if there is one."""
        found = self._ready.get((model, None))
        return found and found[0].version

    def ready(self, model: str, version: str | None = None) -> tuple[Engine, OnnxModel]:
        """The engine and the file of a version, or of the default one.

        Raises:
            ModelNotFound, VersionNotFound: there is none, or it is not ready; `detail` says which.

        """
        found = self._ready.get((model, version))
        if found is None:
            raise self._missing(model, version)
        return found

    def only(self, model: str, version: str | None) -> Engine:
        """The engine of all sessions that such a call can be for.

        Raises:
            ModelNotFound, VersionNotFound: as `ready`; or no version is named, and sessions may be of several.

        """
        if version is None and sum(one.engine is not None for one in self.models.get(model, {}).values()) > 1:
            raise VersionNotFound(f"model {model!r} has several versions")
        return self.ready(model, version)[0]

    def engines(self) -> list[Engine]:
        """The engines of all ready versions."""
        return [one.engine for one in self.versions() if one.engine is not None]

    def _missing(self, model: str, version: str | None) -> ModelNotFound | VersionNotFound:
        versions = self.models.get(model)
        if versions is None:
            return ModelNotFound(f"no model {model!r}")
        if version is not None and version in versions:
            one = versions[version]
            return VersionNotFound(f"model {model!r} version {version} is {one.reason or one.state}")
        states = ", ".join(f"{one.version} {one.reason or one.state}" for one in versions.values())
        return VersionNotFound(f"model {model!r} has no {version or 'ready'} version: {states}")

    def unready(self) -> str | None:
        """Why traffic should not come here now; None if it should."""
        versions = self.versions()
        if any(one.state == "loading" for one in versions):
            return "models are loading"
        if not any(one.state == "ready" for one in versions):
            return "no model is ready"
        dead = [f"{one.name}/{one.version}" for one in self.engines() if one.admission.dead is not None]
        return f"engines died: {', '.join(dead)}" if dead else None


def _load(path: Path, examine_with: Callable[[OnnxModel], Fitness]) -> tuple[OnnxModel, Fitness]:
    model = OnnxModel(path)
    return model, examine_with(model)
