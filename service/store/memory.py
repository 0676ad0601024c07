"""The store that keeps nothing: sessions live in the engines' tables alone, and end with the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.store.store import Change, Home


class MemoryStore:
    """Commits at once and refuses nothing."""

    def commit(self, home: Home, changes: Sequence[Change]) -> None:
        """See Store."""
