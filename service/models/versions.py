"""The versions of models: which are served, to whom, and why others are not. How that changes is in `repository`."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from xxhash import xxh3_64_intdigest

from service.errors import ModelNotFound, Overloaded, StateMismatch, VersionNotFound
from service.models.folder import Serving, Stamp, rank

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.model import OnnxModel
    from service.sessions.session import Home, Session

_log = logging.getLogger("carousel.repository")

Served: TypeAlias = "tuple[Engine, OnnxModel]"


@dataclass(eq=False)
class Version:
    """One version of a model. `engine` is there while it is served."""

    model: str
    version: str
    path: Path
    engine: Engine | None = None
    fault: str | None = None  # why its files cannot be loaded
    wanted: bool = True
    kept: bool = False  # it is not wanted any more, and served to the sessions that it has
    there: bool = True  # in the folder
    due: bool = False  # its files are to be loaded, if it is wanted
    seen: Stamp = ()  # of its files, at the last look
    tried: Stamp | None = None  # of the files that were loaded, or could not be

    @property
    def state(self) -> Literal["loading", "ready", "unavailable"]:
        """As the wire has it."""
        if self.engine is not None:
            return "ready"
        return "loading" if self.wanted and self.fault is None else "unavailable"

    @property
    def reason(self) -> str | None:
        """Why it is not served, or not as its files are."""
        if self.fault is None and (self.kept or not self.wanted):
            return "other versions are wanted" + ("; it is served to its sessions" if self.kept else "")
        return self.fault

    def fail(self, fault: str) -> None:
        """Its files cannot be loaded. What was loaded before is served on."""
        self.fault = fault
        _log.error("%s/%s is unavailable: %s", self.model, self.version, fault)


class Versions:
    """What is served. Invariant: an engine is in `_files` until no session lives in it, or its model is unloaded."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Version]] = {}
        self._serving: dict[str, Serving] = {}  # as the operator wants it
        self._ready: dict[tuple[str, str | None], Served] = {}  # None: the default version
        self._files: dict[Home, OnnxModel] = {}  # of all engines that run
        self._begun = False  # all that was there at the start was tried

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {[f'{one.model}/{one.version} {one.state}' for one in self.versions()]}>"

    def versions(self) -> list[Version]:
        """All of them, models by name and versions by number; those that have no number come last."""
        return [
            versions[version] for _, versions in sorted(self.models.items()) for version in sorted(versions, key=rank)
        ]

    def default(self, model: str) -> str | None:
        """The version that calls mean that name none: the greatest one that is served to all, if there is one."""
        found = self._ready.get((model, None))
        return found and found[0].version

    def ready(self, model: str, version: str | None = None) -> Served:
        """The engine and the file of a version, or of the default one.

        Raises:
            ModelNotFound, VersionNotFound: there is none, or it is unavailable; `detail` says which.
            Overloaded: it is still loading.

        """
        found = self._ready.get((model, version))
        if found is None:
            raise self._missing(model, version)
        return found

    def check(self, model: str, version: str | None) -> None:
        """Raise as `ready` unless some sessions of such a call can be served, be it by a version left to its own."""
        if version is not None or not any(one.engine for one in self.models.get(model, {}).values()):
            self.ready(model, version)

    def new(self, model: str, version: str | None, id: str | None) -> Served:
        """As `ready`, for a new session: a share of those that name no version goes to the canary, by their ids.

        Raises:
            VersionNotFound: as `ready`; or the version is served to its sessions alone.

        """
        serving = self._serving.get(model)
        if version is None and serving is not None and serving.share and (model, serving.canary) in self._ready:
            place = random.random() if id is None else xxh3_64_intdigest(id.encode()) / 2**64
            version = serving.canary if place < serving.share else None
        engine, file = self.ready(model, version)
        if self.models[model][engine.version].kept:
            raise VersionNotFound(f"{model}/{engine.version} takes no new sessions: others are served now")
        return engine, file

    def of(self, session: Session) -> Served:
        """The engine in which a session lives, and its file. Raises as `file`."""
        return cast("Engine", session.home), self.file(session.home)

    def file(self, home: Home) -> OnnxModel:
        """The file of an engine.

        Raises:
            Overloaded: it is still loading: a store gives it back its sessions.
            StateMismatch, VersionNotFound: it is not served; see `absence`.

        """
        if home in self._files:
            return self._files[home]
        one = self.models.get(home.name, {}).get(home.version)
        if one is not None and one.state == "loading":
            raise Overloaded(f"{home.name}/{home.version} is loading")
        raise self.absence(home.name, home.version)

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

    def running(self) -> list[Engine]:
        """All engines, those too that another file has replaced."""
        return [cast("Engine", home) for home in self._files]

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
        states = ", ".join(f"{one.version} {one.reason or one.state}" for one in self.versions() if one.model == model)
        missing = "ready version" if version is None else f"version {version!r}"
        return VersionNotFound(f"model {model!r} has no {missing}: {states}")

    def unready(self) -> str | None:
        """Why traffic should not come here now; None if it should."""
        versions = self.versions()
        if not self._begun and any(one.state == "loading" for one in versions):
            return "models are loading"
        if not any(one.state == "ready" for one in versions):
            return "no model is ready"
        dead = [f"{one.name}/{one.version}" for one in self.engines() if one.admission.dead is not None]
        return f"engines died: {', '.join(dead)}" if dead else None
