"""What a call on an id waits for before it looks at the session: that it is here, or that the id is free again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.errors import EngineFailed, SessionExists, StateMismatch, VersionNotFound

if TYPE_CHECKING:
    from service.sessions.sessions import Sessions


async def reach(sessions: Sessions, *ids: str) -> None:
    """Wait until it is known of each id whether its session is elsewhere. Those that can be had are here then.

    Raises:
        StoreUnavailable: it cannot be known now.

    """
    while looking := [one for id in ids if (one := sessions.missing(id)) is not None]:
        await asyncio.wait(looking)


async def vacant(sessions: Sessions, id: str) -> None:
    """Wait until a delete of that id that was accepted before is done: what follows comes after it."""
    while id in sessions.ending:
        await asyncio.wait([sessions.ending[id]])


async def unused(sessions: Sessions, id: str) -> None:
    """Wait until it is known whether another process has the session of an id that is to be opened.

    Raises:
        StoreUnavailable, Overloaded: it cannot be known now.
        SessionExists: it is there, whether or not there is room for more, and also if its model is not.

    """
    try:
        await reach(sessions, id)
    except (VersionNotFound, StateMismatch, EngineFailed) as error:
        raise SessionExists(f"session {id!r} exists") from error
    if (session := sessions.find(id)) is not None and not sessions.opening(session):
        raise SessionExists(f"session {id!r} exists")
