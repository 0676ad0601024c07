"""The store that keeps nothing: sessions live in the engines' tables alone, and end with the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.store.store import Change, Home


class MemoryStore:
    """Commits at once and refuses nothing."""

    def commit(self, home: Home, changes: Sequence[Change]) -> None:
        """See Store."""

    def start(self) -> None:
        """See Keeper."""

    def stored(self) -> set[tuple[str, str]]:
        """See Keeper."""
        return set()

    def holds(self, home: Any) -> bool:
        """See Keeper."""
        return False

    def release(self, home: Any) -> None:
        """See Keeper."""

    async def recover(self, home: Any) -> None:
        """See Keeper."""

    async def recovered(self, absent: Callable[[str, str], Any]) -> None:
        """See Keeper."""

    def ends(self) -> None:
        """See Keeper."""

    async def close(self) -> None:
        """See Keeper."""
