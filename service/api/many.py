"""Many sessions in one call: `POST /v1/models/{model}/steps`. One bad item never harms another."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from service.api import views
from service.api.values import Sequenced, fields, sequence
from service.engine import Engine
from service.errors import CarouselError, SessionNotFound, StateMismatch
from service.model import OnnxModel
from service.repository import NAME, Repository
from service.sessions import Session, Sessions
from service.settings import Settings
from service.work import Answer


@dataclass
class _Item:
    """A good item. Without a session it opens one, unless an item before it did."""

    id: str
    session: Session | None
    engine: Engine
    served: OnnxModel
    given: Sequenced
    step: int | None
    created: bool = False


class Many:
    """Reads items, admits them all or none, and answers each in its place."""

    def __init__(self, repository: Repository, sessions: Sessions, settings: Settings) -> None:
        self._repository, self._sessions, self._settings = repository, sessions, settings

    async def steps(
        self, asked: list[Any], model: str, version: str | None, *, may_open: bool, deadline: float | None
    ) -> list[dict[str, Any]]:
        """The answers of all items, in the order asked.

        Raises:
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed: nothing of the call was applied.

        """
        items = self._read(asked, model, version, may_open)
        self._admit([item for item in items if isinstance(item, _Item)])
        opened: dict[str, Session] = {}
        answers = [self._accept(item, opened, deadline) for item in items]
        results = await asyncio.gather(*answers, return_exceptions=True)
        return [_view(*one) for one in zip(asked, items, results, strict=True)]

    def _read(self, asked: list[Any], model: str, version: str | None, may_open: bool) -> list[_Item | CarouselError]:
        items: list[_Item | CarouselError] = []
        opening: set[str] = set()
        for index, one in enumerate(asked):
            try:
                item = self._item(one, f"items[{index}]", model, version)
                if item.session is None and item.id not in opening:
                    if not may_open or item.step or not NAME.fullmatch(item.id):
                        raise SessionNotFound(f"no session {item.id!r}")
                    opening.add(item.id)
                    item.created = True
                items.append(item)
            except CarouselError as error:
                items.append(error)
        return items

    def _item(self, one: Any, place: str, model: str, version: str | None) -> _Item:
        known = fields(one, place, {"session": str, "inputs": object}, {"step": int})
        id, step = known["session"], views.step(known, place)
        try:
            session = self._sessions.get(id)
        except SessionNotFound:
            if self._sessions.find(id) is not None:  # being opened or deleted
                raise
            session = None
        if session is not None and (session.model, version or session.version) != (model, session.version):
            raise StateMismatch(f"session {id!r} is of {session.model}/{session.version}")
        engine, served = self._repository.ready(model, session.version if session else version)
        engine.streamable()
        given = sequence(known["inputs"], served.description.features, f"{place}.inputs")
        return _Item(id, session, engine, served, given, step)

    def _admit(self, items: list[_Item]) -> None:
        groups: defaultdict[Engine, list[_Item]] = defaultdict(list)
        for item in items:
            groups[item.engine].append(item)
        for engine, group in groups.items():
            opening = sum(item.created for item in group)
            engine.admit([item.given.inputs for item in group], opening)

    async def _answered(self, item: _Item, session: Session, answer: Awaitable[Answer]) -> Answer:
        try:
            return await answer
        except CarouselError:
            if item.created:
                item.engine.forget_unused(session)
            raise

    def _accept(
        self, item: _Item | CarouselError, opened: dict[str, Session], deadline: float | None
    ) -> Awaitable[Answer]:
        """Accept the item now → its answer, or its error, to await."""
        try:
            if isinstance(item, CarouselError):
                raise item
            if item.created:
                opened[item.id] = item.engine.open_now(item.id, self._settings.default_ttl_seconds)
            session = item.session or opened[item.id]
            answer = item.engine.accept(session, item.given.inputs, item.step, deadline)
            return self._answered(item, session, answer)
        except CarouselError as error:
            return _raised(error)


async def _raised(error: CarouselError) -> Answer:
    raise error


def _view(asked: Any, item: _Item | CarouselError, result: Answer | BaseException) -> dict[str, Any]:
    named = asked.get("session") if isinstance(asked, dict) else None
    view: dict[str, Any] = {"session": named if isinstance(named, str) else None}
    if isinstance(result, CarouselError):
        return view | {"error": result.problem()}
    if isinstance(result, BaseException):
        raise result
    assert isinstance(item, _Item)
    created = {"created": True} if item.created else {}
    outputs = item.given.outputs(result.outputs, item.served.description.outputs)
    return view | {"outputs": outputs, "step": result.step} | created
