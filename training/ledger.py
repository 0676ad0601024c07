"""What an experiment has found so far, in a JSON file: one that was interrupted goes on. Knows no experiment."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Ledger:
    """Findings by key; those of an experiment that was about something else are dropped."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self.about = path, json.loads(json.dumps(about))
        told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.resumed = told.get("about") == self.about
        self.found: dict[str, Any] = told["found"] if self.resumed else {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def find(self, key: str, search: Callable[[], Any]) -> Any:
        """Return what is known under a key; search for it where nothing is."""
        if key not in self.found:
            self.found[key] = search()
            self._write()
        return self.found[key]

    def copy(self, path: Path) -> Path:
        """Write all that is known to another file as well; return its path."""
        path.write_bytes(self.path.read_bytes())
        return path

    def _write(self) -> None:
        told = {"about": self.about, "found": self.found}
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(told, indent=1), encoding="utf-8")
        unfinished.replace(self.path)
