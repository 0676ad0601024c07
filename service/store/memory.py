"""The store that keeps nothing: sessions live in the engines' tables alone, and end with the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.store.store import Keeper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.store.store import Change, Home


class MemoryStore(Keeper):
    """Commits at once and refuses nothing."""

    def commit(self, home: Home, changes: Sequence[Change]) -> None:
        """See Store."""

    def stored(self) -> set[tuple[str, str]]:
        """See Keeper."""
        return set()

    def holds(self, home: Any) -> bool:
        """See Keeper."""
        return False
