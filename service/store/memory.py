"""The store that keeps nothing: sessions live in the engines' tables alone, and end with the process."""

from collections.abc import Sequence

from service.store.store import Change, Home


class MemoryStore:
    """Commits at once and refuses nothing."""

    def commit(self, home: Home, changes: Sequence[Change]) -> None:
        """See Store."""
