"""The folder of models: NAME/VERSION/model.onnx, and which of the versions of a model its operator wants served.

Knows the file system; not what is served now.
"""

from __future__ import annotations

import logging
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._:@-]{1,128}")  # of models and sessions
NUMBER = re.compile(r"0|[1-9][0-9]*")
NO_NAME = "a name is 1-128 characters of A-Z a-z 0-9 . _ : @ -"
LAYOUT = "a model is NAME/VERSION/model.onnx"
NO_NUMBER = "a version is a decimal number: rename its folder, to 1 for example"
SERVING = "serving.toml"  # beside the versions of a model
_CHOICE = re.compile(r"all|latest:[1-9][0-9]*|[0-9]+(?: *, *[0-9]+)*")

_log = logging.getLogger("carousel.repository")

Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]  # of each file: its name, size, time and number


@dataclass(frozen=True)
class Serving:
    """Which versions are served: `all`, `latest:N` or numbers by commas; and what is special about some."""

    versions: str = "all"
    canary: str | None = None  # takes a share of new sessions that name no version
    share: float = 0.0
    shadow: str | None = None  # is stepped beside the default version, and answers no client

    def choose(self, ready: list[str]) -> list[str]:
        """Those of the good versions that are to be served. They are sorted by number."""
        plain = [version for version in ready if version not in (self.canary, self.shadow)]
        if self.versions.startswith("latest:"):
            plain = plain[-int(self.versions.removeprefix("latest:")) :]
        elif self.versions != "all":
            named = {version.strip() for version in self.versions.split(",")}
            plain = [version for version in plain if version in named]
        return [version for version in ready if version in (*plain, self.canary, self.shadow)]


def choice(text: str) -> str:
    """`text`, if it is a choice of versions. Raises ValueError."""
    if not _CHOICE.fullmatch(text):
        raise ValueError(f"versions: {text!r} is not all, latest:N, or numbers by commas")
    return text


def serving(model: Path, versions: str) -> Serving:
    """What `serving.toml` beside the versions says; without it, all is as `versions` has it.

    Raises:
        ValueError: it cannot be read.

    """
    try:
        told = tomllib.loads((model / SERVING).read_text())
        canary = _taken(told, "canary", dict, {})
        read = Serving(
            choice(_taken(told, "versions", str, versions)),
            canary=_taken(canary, "version", str, None),
            share=_taken(canary, "share", (int, float), 0.0),
            shadow=_taken(told, "shadow", str, None),
        )
        if told or canary or not 0 <= read.share <= 1:
            raise ValueError(f"{', '.join((*told, *canary)) or 'canary.share'} is not understood")
    except FileNotFoundError:
        return Serving(versions)
    except (OSError, ValueError) as error:
        raise ValueError(f"{SERVING}: {error}") from error
    return read


def _taken(told: dict[str, Any], key: str, kind: Any, default: Any) -> Any:
    value = told.pop(key, default)
    if value is not default and (not isinstance(value, kind) or isinstance(value, bool)):
        raise ValueError(f"{key} is {value!r}")
    return value


def stamp(version: Path) -> Stamp:
    """What changes when a file in the folder of a version does."""
    seen = []
    with suppress(OSError):
        for file in sorted(version.iterdir()):
            with suppress(OSError):
                status = file.stat()
                seen.append((file.name, status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(seen)


def rank(version: str) -> tuple[bool, int, str]:
    """Sort numbers by their value, before all else."""
    number = NUMBER.fullmatch(version) is not None
    return not number, int(version) if number else 0, version


class Found(NamedTuple):
    """What lies in the folder of a model. `fault` says why `serving` is not what its operator wrote."""

    serving: Serving
    fault: str | None
    versions: dict[str, tuple[Path, Stamp]]  # those whose names are no numbers too


class Folder:
    """The folder. What lies in it and is not served is named in the log, once."""

    def __init__(self, root: Path, versions: str) -> None:
        self._root, self._versions = root, versions
        self._told: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<Folder {self._root}>"

    def look(self, only: str | None = None) -> dict[str, Found]:
        """What is there now, of all models or of one. Blocks."""
        return {model.name: self._found(model) for model in self._models() if only in (None, model.name)}

    def _found(self, model: Path) -> Found:
        versions = {name: (path, stamp(path.parent)) for name, path in self._versions_of(model)}
        try:
            return Found(serving(model, self._versions), None, versions)
        except ValueError as error:
            return Found(Serving(self._versions), str(error), versions)

    def _models(self) -> Iterator[Path]:
        """The folders of models."""
        for model in self._entries(self._root):
            if NAME.fullmatch(model.name):
                yield model
            else:
                self._tell(model, NO_NAME)

    def _versions_of(self, model: Path) -> Iterator[tuple[str, Path]]:
        """The versions of a model and their files; those whose names are no numbers too."""
        for folder in self._entries(model):
            path = folder / "model.onnx"
            if os.path.lexists(path):
                yield folder.name.encode(errors="replace").decode(), path  # a name on the disk need not be text
                if not NUMBER.fullmatch(folder.name):
                    self._tell(folder, NO_NUMBER)
            elif folder.name != SERVING:
                self._tell(folder, "it has no model.onnx" if folder.is_dir() else LAYOUT)

    def _entries(self, folder: Path) -> list[Path]:
        """The entries of a folder, by name, without hidden ones (.git, ..data of Kubernetes)."""
        try:
            found = sorted(folder.iterdir())
        except OSError as error:
            self._tell(folder, f"{error.strerror}; {LAYOUT}")
            return []
        for hidden in (one for one in found if one.name.startswith(".")):
            self._tell(hidden, "it is hidden", logging.INFO)
        return [one for one in found if not one.name.startswith(".")]

    def _tell(self, place: Path, why: str, level: int = logging.WARNING) -> None:
        if (str(place), why) not in self._told:
            self._told.add((str(place), why))
            _log.log(level, "%r is not served: %s", str(place), why)
