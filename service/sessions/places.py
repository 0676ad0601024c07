"""Where the sessions in memory are: id → home and row, packed, since there may be millions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.sessions.session import Home, Session

_ROWS = 2**32  # more than a table has


class Places:
    """Invariant: every home in which a session is has a number, and keeps it until it is released."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}  # id → number of its home, times _ROWS, and its row
        self._homes: list[Home | None] = []  # None: a number that is free

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, id: object) -> bool:
        return id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def get(self, id: str) -> tuple[Home, int] | None:
        """The home and the row of a session."""
        place = self._places.get(id)
        if place is None:
            return None
        home = self._homes[place // _ROWS]
        assert home is not None, "a home is released when no session is in it"
        return home, place % _ROWS

    def put(self, session: Session) -> None:
        """A session is here from now on."""
        self._places[session.id] = self._number(session.home) * _ROWS + session.row

    def put_all(self, home: Home, ids: Iterable[str], rows: Iterable[int]) -> None:
        """Sessions are in these rows of a home from now on."""
        first = self._number(home) * _ROWS
        self._places.update(zip(ids, (first + row for row in rows), strict=True))

    def _number(self, home: Home) -> int:
        if home not in self._homes:
            if None in self._homes:
                self._homes[self._homes.index(None)] = home
            else:
                self._homes.append(home)
        return self._homes.index(home)

    def drop(self, id: str) -> None:
        """A session is nowhere from now on."""
        del self._places[id]

    def release(self, home: Home) -> None:
        """Forget a home in which no session is."""
        if home in self._homes:
            self._homes[self._homes.index(home)] = None
