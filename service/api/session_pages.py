"""Door one, many sessions at once: pages of them, and deletes by filter. A page at a time, so that calls go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from fastapi import Request, Response

from service.api import views
from service.api.http import body
from service.errors import InvalidRequest, SessionExpired, SessionNotFound
from service.models.repository import NAME
from service.sessions import anywhere
from service.sessions.reach import reach

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.sessions.session import Standing
    from service.sessions.sessions import Sessions

_FILTERS = ("model", "prefix")
_PAGE, _LARGEST = 100, 1_000  # sessions
_AT_ONCE = 100  # sessions that are looked at in one turn of the loop: 1 ms


class Bulk:
    """The routes over all sessions."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def sessions(self, request: Request) -> Response:
        """A page of sessions in the order of their ids, in memory or not."""
        asked = _query(request, *_FILTERS, "limit", "after")
        most, found = _limit(asked.get("limit", str(_PAGE))), list[dict[str, Any]]()
        async for standing in self._all(asked):
            if len(found) == most:
                return body.answer({"sessions": found, "next": found[-1]["id"]})
            found.append(views.listed(standing, self._sessions.promises))
        return body.answer({"sessions": found})

    async def delete_sessions(self, request: Request) -> Response:
        """Delete the sessions of a model, those whose ids begin so, or all; each once its accepted work is done."""
        asked = _query(request, *_FILTERS, "all")
        if asked.get("all", "true") not in ("true", "false"):
            raise InvalidRequest("all: not true or false")
        if asked.get("all") != "true" and not any(asked.get(one) for one in _FILTERS):
            raise InvalidRequest("a filter is missing: model, prefix or all=true")
        deleted, ends = 0, list[asyncio.Future[None]]()
        async for standing in self._all(asked):
            ends.append(asyncio.ensure_future(self._delete(standing.id)))
            if len(ends) == _AT_ONCE:
                deleted += await _ended(ends)
                ends = []
        return body.answer({"deleted": deleted + await _ended(ends)})

    async def _delete(self, id: str) -> None:
        await reach(self._sessions, id)
        session = self._sessions.known(id)
        await cast("Engine", session.home).lifecycle.delete(session)

    async def forked(self, ids: Sequence[str], standing: Standing) -> Response:
        """What is told of new copies, which all stand so."""
        told = list[dict[str, Any]]()
        for first in range(0, len(ids), _AT_ONCE):
            part = ids[first : first + _AT_ONCE]
            told += [views.session(standing._replace(id=id), self._sessions.promises) for id in part]
            await asyncio.sleep(0)
        return body.answer({"sessions": told}, 201)

    async def _all(self, asked: dict[str, str]) -> AsyncIterator[Standing]:
        """The sessions that the filters of a query let through, as each stands when its turn comes."""
        model, prefix, after = asked.get("model"), asked.get("prefix", ""), asked.get("after", "")
        last: str | None = after
        while last is not None:
            found, last = await anywhere.page(self._sessions, last, prefix, _AT_ONCE)
            for standing in found:
                if model in (None, standing.model):
                    yield standing
            await asyncio.sleep(0)


def copies(asked: dict[str, Any]) -> list[str] | int | None:
    """The ids or the number of many copies that a fork asks for; None: it asks for one copy.

    Raises:
        InvalidRequest: it says how many in two ways, or not a name or number of copies.

    """
    if len(asked) > 1:
        raise InvalidRequest(f"body: {' and '.join(asked)}: one of them says what to make")
    if "count" in asked:
        if asked["count"] < 1:
            raise InvalidRequest(f"body.count: {asked['count']} is not at least 1")
        count: int = asked["count"]
        return count
    ids = asked.get("ids")
    if ids is None:
        return None
    for index, id in enumerate(ids):
        if not (isinstance(id, str) and NAME.fullmatch(id)):
            raise views.bad_name(f"body.ids[{index}]", str(id))
    if not ids or len(set(ids)) < len(ids):
        raise InvalidRequest(f"body.ids: {'an id is there twice' if ids else 'empty'}")
    return cast("list[str]", ids)


async def _ended(deletes: list[asyncio.Future[None]]) -> int:
    """Wait for deletes → how many sessions they ended. Raises what kept one from it."""
    outcomes = await asyncio.gather(*deletes, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, SessionNotFound | SessionExpired):
            raise outcome
    return outcomes.count(None)


def _query(request: Request, *known: str) -> dict[str, str]:
    """The query, each key once. Raises InvalidRequest: an unknown key, which may be a misspelt filter."""
    asked = dict[str, str]()
    for key, value in request.query_params.multi_items():
        if key not in known or key in asked:
            raise InvalidRequest(f"query: {key[:100]!r} is there twice, or is none of {', '.join(known)}")
        asked[key] = value
    return asked


def _limit(asked: str) -> int:
    if not (asked.isascii() and asked.isdigit() and len(asked) < 9 and 1 <= int(asked) <= _LARGEST):
        raise InvalidRequest(f"limit: {asked[:20]!r} is not a whole number from 1 to {_LARGEST}")
    return int(asked)
