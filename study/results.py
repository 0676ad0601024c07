"""Results of an experiment in a JSON file, so that an interrupted experiment continues."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Results:
    """Results by key. A file with other `settings` is another experiment, and is overwritten."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.resumed = stored.get("about") == self.settings
        self.found: dict[str, Any] = stored["found"] if self.resumed else {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def find(self, key: str, measure: Callable[[], Any]) -> Any:
        """Return the result of a key; call `measure` and store its result if there is none."""
        if key not in self.found:
            self.found[key] = measure()
            self._write()
        return self.found[key]

    def copy(self, path: Path) -> Path:
        """Copy the file; return the new path."""
        path.write_bytes(self.path.read_bytes())
        return path

    def _write(self) -> None:
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"about": self.settings, "found": self.found}, indent=1), encoding="utf-8")
        unfinished.replace(self.path)
