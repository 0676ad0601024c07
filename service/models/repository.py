"""The model repository: finds models/NAME/VERSION/model.onnx, loads the versions, and says which are served.

Knows folders and the states of versions; how a file becomes a model and a model an engine is given to it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from service.errors import ModelNotFound, ModelUnusable, Overloaded, StateMismatch, VersionNotFound
from service.models import files
from service.models.fitness import Fitness
from service.models.model import OnnxModel

if TYPE_CHECKING:
    from service.engine.engine import Engine

NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._:@-]{1,128}")  # of models and sessions
_VERSION = re.compile(r"0|[1-9][0-9]*")
_SHARES = (0.2, 1.0)  # of the time that an examination may take: slow files are tried again after all others

_log = logging.getLogger("carousel.repository")

Load = Callable[[Path, float], tuple[OnnxModel, Fitness]]  # a file, and the share of its time; as Examiner.load


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

    def __init__(self, folder: Path, start: Callable[[OnnxModel, Fitness, str, str], Awaitable[Engine]]) -> None:
        self._start = start
        self.models: dict[str, dict[str, Version]] = {}
        self._ready: dict[tuple[str, str | None], tuple[Engine, OnnxModel]] = {}  # None: the default version
        for one in _found(folder):
            self.models.setdefault(one.model, {})[one.version] = one
        if not self.models:
            _log.warning("no model under %s: nothing will be ready", folder)

    def __repr__(self) -> str:
        return f"<Repository {[f'{one.model}/{one.version} {one.state}' for one in self.versions()]}>"

    def versions(self) -> list[Version]:
        """All of them, models by name and versions by number; those that have no number come last."""
        return [
            versions[version] for _, versions in sorted(self.models.items()) for version in sorted(versions, key=_rank)
        ]

    async def load(self, load_file: Load) -> None:
        """Load each version in a thread, small files first; each is ready as soon as it is loaded.

        A version that fails is unavailable, with the reason. One that takes long waits until the others are loaded.
        """
        found = [one for one in self.versions() if one.state == "loading"]
        loading = await asyncio.to_thread(sorted, found, key=lambda one: files.size(one.path))
        for share in _SHARES:
            loading = [one for one in loading if not await self._load(one, load_file, share)]

    async def _load(self, one: Version, load_file: Load, share: float) -> bool:
        """Load one version → False if it is to be tried again with more time."""
        try:
            model, fitness = await asyncio.to_thread(load_file, one.path, share)
            one.engine = await self._start(model, fitness, one.model, one.version)
        except TimeoutError as error:
            if share < 1:
                _log.info("%s/%s takes long: it is tried again after the others", one.model, one.version)
                return False
            self._unavailable(one, str(error))
        except ModelUnusable as error:
            self._unavailable(one, str(error))
        except Exception as error:  # whatever a file did, the others are served
            self._unavailable(one, f"{type(error).__name__}: {error}")
        else:
            one.state = "ready"
            self._ready[one.model, one.version] = one.engine, model
            default = self.default(one.model)
            if default is None or int(default) < int(one.version):
                self._ready[one.model, None] = one.engine, model
            _log.info("%s/%s is ready: %s", one.model, one.version, fitness)
        return True

    @staticmethod
    def _unavailable(one: Version, reason: str) -> None:
        one.state, one.reason = "unavailable", reason
        _log.error("%s/%s is unavailable: %s", one.model, one.version, reason)

    def default(self, model: str) -> str | None:
        """The greatest ready version of a model, if there is one."""
        found = self._ready.get((model, None))
        return found and found[0].version

    def ready(self, model: str, version: str | None = None) -> tuple[Engine, OnnxModel]:
        """The engine and the file of a version, or of the default one.

        Raises:
            ModelNotFound, VersionNotFound: there is none, or it is unavailable; `detail` says which.
            Overloaded: it is still loading.

        """
        found = self._ready.get((model, version))
        if found is None:
            raise self._missing(model, version)
        return found

    def only(self, model: str, version: str | None) -> Engine:
        """The engine of all sessions that such a call can be for.

        Raises:
            ModelNotFound, VersionNotFound, Overloaded: as `ready`; or sessions may be of several versions.

        """
        if version is None and sum(one.engine is not None for one in self.models.get(model, {}).values()) > 1:
            raise VersionNotFound(f"model {model!r} has several versions")
        return self.ready(model, version)[0]

    def engines(self) -> list[Engine]:
        """The engines of all ready versions."""
        return [one.engine for one in self.versions() if one.engine is not None]

    def absence(self, model: str, version: str) -> StateMismatch | VersionNotFound:
        """Why sessions of a version cannot be called that no engine took."""
        if (model, version) in self._ready:
            return StateMismatch(f"the session belongs to another file than the one of {model}/{version} now")
        one = self.models.get(model, {}).get(version)
        return VersionNotFound(
            f"the session's model {model}/{version} is not served: {one.reason if one else 'not found'}"
        )

    def _missing(self, model: str, version: str | None) -> ModelNotFound | VersionNotFound | Overloaded:
        if model not in self.models:
            return ModelNotFound(f"no model {model!r}")
        asked = [one for one in self.models[model].values() if version in (None, one.version)]
        if any(one.state == "loading" for one in asked):
            return Overloaded(f"model {model!r} {f'version {version} ' if version else ''}is loading")
        if version is not None and asked:
            return VersionNotFound(f"model {model!r} version {version} is unavailable: {asked[0].reason}")
        states = ", ".join(f"{one.version} {one.reason or one.state}" for one in self.models[model].values())
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


def _rank(version: str) -> tuple[bool, int, str]:
    """Sort numbers by their value, before all else."""
    number = _VERSION.fullmatch(version) is not None
    return not number, int(version) if number else 0, version


def _found(folder: Path) -> Iterator[Version]:
    """The versions under a folder; whatever else lies there is named in the log."""
    for model in _entries(folder):
        if NAME.fullmatch(model.name):
            yield from _found_versions(model)
        else:
            _log.warning("%r is not served: a name is 1-128 characters of A-Z a-z 0-9 . _ : @ -", str(model))


def _found_versions(model: Path) -> Iterator[Version]:
    for folder in _entries(model):
        version = folder.name.encode(errors="replace").decode()  # a name on the disk need not be text
        one = Version(model.name, version, folder / "model.onnx")
        if not os.path.lexists(one.path):
            _log.warning("%r is not served: it has no model.onnx", str(folder))
            continue
        if not _VERSION.fullmatch(folder.name):
            one.state, one.reason = "unavailable", "a version is a decimal number: rename its folder, to 1 for example"
            _log.warning("%r is not served: %s", str(folder), one.reason)
        yield one


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder, by name. Hidden ones (.git, ..data of Kubernetes) are left out, and named in the log."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        _log.warning("%s is not served: %s; a model is NAME/VERSION/model.onnx", folder, error.strerror)
        return []
    for hidden in (one for one in found if one.name.startswith(".")):
        _log.info("%r is not served: it is hidden", str(hidden))
    return [one for one in found if not one.name.startswith(".")]
