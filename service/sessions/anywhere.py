"""Sessions wherever they are: in memory, in a store, or at other processes. They stay there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from service.errors import Overloaded, SessionExpired, SessionNotFound
from service.sessions.session import Standing

if TYPE_CHECKING:
    from service.sessions.sessions import Sessions


async def look(sessions: Sessions, id: str) -> Standing:
    """How the session of an id stands. Raises as `Sessions.known`."""
    try:
        return sessions.look(id)
    except (SessionNotFound, SessionExpired, Overloaded):
        if sessions.elsewhere is not None and (standing := await sessions.elsewhere.standing(id)) is not None:
            return standing
    return sessions.look(id)


async def page(sessions: Sessions, after: str, prefix: str, most: int) -> tuple[list[Standing], str | None]:
    """Some of the next sessions in order, and the last id; None: there are no more."""
    ids, found = await _next(sessions, after, prefix, most), list[Standing]()
    for id in ids:
        with suppress(SessionNotFound, SessionExpired):  # opening or ending, or just gone
            found.append(await look(sessions, id))
    return found, ids[-1] if ids else None


async def _next(sessions: Sessions, after: str, prefix: str, most: int) -> list[str]:
    if sessions.elsewhere is not None:
        return await sessions.elsewhere.ids(after, prefix, most)
    await sessions.pages.sort()
    return sessions.ids(after, prefix, most)
