"""Many sessions in one call: `POST /v1/models/{model}/steps`. One bad item never harms another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.api import views
from service.api.json.fields import fields, sequence
from service.api.json.items import Calls, Item, free, hold, slices
from service.engine.call import UNCHECKED, Deadline
from service.errors import CarouselError, SessionExists, SessionNotFound
from service.models.repository import NAME, Repository
from service.sessions.reach import reach, vacant
from service.sessions.session import Session

if TYPE_CHECKING:
    from service.api.json.pool import JsonPool
    from service.sessions.sessions import Sessions
    from service.settings import Settings

_NAMED = 100  # faults of a call that are told in full; of the others their code
_MANY = f"only the first {_NAMED} faults of a call are told in full"


class Many:
    """Reads items, admits them all or none, and answers each in its place."""

    def __init__(self, repository: Repository, sessions: Sessions, settings: Settings, pool: JsonPool) -> None:
        self._repository, self._sessions, self._settings, self._pool = repository, sessions, settings, pool

    async def steps(
        self, asked: list[Any], model: str, version: str | None, *, may_open: bool, deadline: Deadline | None
    ) -> bytes:
        """The answers of all items in the order asked, as JSON.

        Raises:
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed: nothing of the call was applied.

        """
        ids = [one["session"] for one in asked if isinstance(one, dict) and isinstance(one.get("session"), str)]
        if may_open and self._sessions.ending:
            for id in ids:
                await vacant(self._sessions, id)
        await reach(self._sessions, *dict.fromkeys(ids))
        items = await self._read(asked, model, version)
        _refuse_unknown(items, may_open)
        good = [item for item in items if isinstance(item, Item)]
        hold(good)
        try:
            opened = await self._open(good)
            await reach(self._sessions, *dict.fromkeys(item.id for item in good))  # some may have left meanwhile
        except BaseException:
            free(good)
            raise
        calls = Calls(good, deadline, lambda item: self._again(item, asked[item.index], model, version))
        await calls.run()
        async for part in slices([session for session in opened.items() if session[0] in calls.clocks]):
            for id, session in part:
                self._repository.of(session)[0].lifecycle.take_back(session, calls.clocks[id])
        return await self._told(asked, items, set(opened))

    async def _read(self, asked: list[Any], model: str, version: str | None) -> list[Any]:
        """Each item, or its error, by the sessions as they are when it is looked at: see `_again`."""
        items: list[Item | CarouselError] = []
        async for part in slices(asked):
            for one in part:
                items.append(self._item(one, len(items), model, version))
        return items

    def _item(self, one: Any, index: int, model: str, version: str | None) -> Item | CarouselError:
        try:
            return self._good_item(one, index, model, version)
        except CarouselError as error:
            return error.with_traceback(None)  # it would hold what was looked at until the call is answered

    def _good_item(self, one: Any, index: int, model: str, version: str | None) -> Item:
        place = f"items[{index}]"
        known = fields(one, place, {"session": str, "inputs": object}, {"step": int})
        id, step = known["session"], views.step(known, place)
        try:
            session = self._sessions.get(id)
        except SessionNotFound:
            if self._sessions.find(id) is not None:  # being opened or deleted
                raise
            session = None
        if session is not None:
            session.belongs(model, version)
            engine, served = self._repository.of(session)
        else:
            engine, served = self._repository.new(model, version, id)
        engine.admission.streamable()
        given = sequence(known["inputs"], served.description.features, f"{place}.inputs")
        return Item(index, id, session, engine, served, given, step)

    def _again(self, item: Item, one: Any, model: str, version: str | None) -> None:
        """Find the session of an item as it is now: it may have another row, or another engine, or be gone."""
        try:
            if self._sessions.get(item.id) != item.session:
                now = self._good_item(one, item.index, model, version)
                item.session, item.engine, item.served, item.given = now.session, now.engine, now.served, now.given
        except CarouselError as error:
            item.error = error

    async def _open(self, items: list[Item]) -> dict[str, Session]:
        """Open the sessions of the items that have none."""
        opened: dict[str, Session | CarouselError] = {}
        async for part in slices([item for item in items if item.session is None]):
            for item in part:
                await self._open_one(item, opened)
        return {id: session for id, session in opened.items() if isinstance(session, Session)}

    async def _open_one(self, item: Item, opened: dict[str, Session | CarouselError]) -> None:
        if item.id not in opened:
            try:
                opened[item.id] = await item.engine.lifecycle.open(item.id, self._settings.default_ttl_seconds)
            except CarouselError as error:
                opened[item.id] = error
        session = opened[item.id]
        if isinstance(session, Session):
            item.session = session
        elif not isinstance(session, SessionExists):  # else another call opened it meanwhile: it is looked for again
            item.error = session

    async def _told(self, asked: list[Any], items: list[Item | CarouselError], opened: set[str]) -> bytes:
        """The answers, written as they are made: to hand so many small arrays to the second process takes longer."""
        texts, faults = list[bytes](), 0
        async for part in slices(list(zip(asked, items, strict=True))):
            views, numbers = [], 0
            for one, item in part:
                error = item if isinstance(item, CarouselError) else item.error
                faults += error is not None
                views.append(_view(one, item, error, opened, shown=faults <= _NAMED))
                numbers += 0 if isinstance(item, CarouselError) or error is not None else item.outputs.size
            texts.append((await self._pool.dump(views, numbers))[1:-1])
        return b'{"items":[%b]}' % b",".join(texts)


def _refuse_unknown(items: list[Item | CarouselError], may_open: bool) -> None:
    """Put an error in the place of each item whose session does not exist and cannot be opened."""
    opening: set[str] = set()
    for index, item in enumerate(items):
        if isinstance(item, CarouselError) or item.session is not None or item.id in opening:
            continue
        if not may_open or item.step not in (UNCHECKED, 0):
            items[index] = SessionNotFound(f"no session {item.id!r}")
        elif NAME.fullmatch(item.id):
            opening.add(item.id)
        else:
            items[index] = views.bad_name(f"items[{index}].session", item.id)


def _view(
    one: Any, item: Item | CarouselError, error: CarouselError | None, opened: set[str], *, shown: bool
) -> dict[str, Any]:
    """What an item is answered; the first answer of a session that was opened says so."""
    named = one.get("session") if isinstance(one, dict) else None
    view: dict[str, Any] = {"session": named if isinstance(named, str) else None}
    if error is not None:
        view["error"] = error.problem() if shown else CarouselError.problem(error) | {"detail": _MANY}
    elif isinstance(item, Item):
        view |= {"outputs": item.given.outputs(item.outputs, item.served.description.outputs), "step": item.end}
        if item.id in opened:
            view["created"] = True
            opened.remove(item.id)
    return view
