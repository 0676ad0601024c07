"""Many sessions in one call: `POST /v1/models/{model}/steps`. One bad item never harms another."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from service.api import views
from service.api.values import Sequenced, fields, sequence
from service.engine import Engine
from service.errors import CarouselError, SessionNotFound
from service.lifetimes import vacant
from service.models.model import OnnxModel
from service.models.repository import NAME, Repository
from service.sessions import Session, Sessions
from service.settings import Settings
from service.work import Answer, Patience


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
    ) -> tuple[list[dict[str, Any]], int]:
        """The answers of all items, in the order asked, and how many numbers they have.

        Raises:
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed: nothing of the call was applied.

        """
        if may_open:
            for one in asked:
                if isinstance(one, dict) and isinstance(one.get("session"), str):
                    await vacant(self._sessions, one["session"])
        items = self._read(asked, model, version, may_open)
        self._admit([item for item in items if isinstance(item, _Item)])
        opened: dict[str, Session] = {}
        patience = Patience.until(deadline)
        answers = [self._accept(item, opened, patience) for item in items]
        for engine in {item.engine for item in items if isinstance(item, _Item)}:
            engine.settle()
        clocks = {id: session.deadline for id, session in opened.items()}
        results: list[Answer | BaseException] = await asyncio.gather(*answers, return_exceptions=True)
        for item in items:
            if isinstance(item, _Item) and item.created:
                item.engine.lifetimes.take_back(opened[item.id], clocks[item.id])
        numbers = sum(result.outputs.size for result in results if isinstance(result, Answer))
        return _views(asked, items, results, set(opened)), numbers

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
        if session is not None:
            session.belongs(model, version)
        engine, served = self._repository.ready(model, session.version if session else version)
        engine.admission.streamable()
        given = sequence(known["inputs"], served.description.features, f"{place}.inputs")
        return _Item(id, session, engine, served, given, step)

    def _admit(self, items: list[_Item]) -> None:
        groups: defaultdict[Engine, list[_Item]] = defaultdict(list)
        for item in items:
            groups[item.engine].append(item)
        for engine, group in groups.items():
            steps = sum(len(item.given.inputs) for item in group)
            engine.admission.admit_many(steps, [item.session or item.id for item in group])

    def _accept(
        self, item: _Item | CarouselError, opened: dict[str, Session], patience: Patience | None
    ) -> Awaitable[Answer]:
        """Accept the item now → its answer, or its error, to await."""
        try:
            if isinstance(item, CarouselError):
                raise item
            if item.created:
                opened[item.id] = item.engine.lifetimes.open_now(item.id, self._settings.default_ttl_seconds)
            session = item.session or opened[item.id]
            return item.engine.accept(session, item.given.inputs, item.step, patience)
        except CarouselError as error:
            return _raised(error)


async def _raised(error: CarouselError) -> Answer:
    raise error


def _views(
    asked: list[Any], items: list[_Item | CarouselError], results: list[Answer | BaseException], opened: set[str]
) -> list[dict[str, Any]]:
    """What each item is answered; the first answer of a session that was opened says so."""
    answered = []
    for one, item, result in zip(asked, items, results, strict=True):
        named = one.get("session") if isinstance(one, dict) else None
        view: dict[str, Any] = {"session": named if isinstance(named, str) else None}
        if isinstance(result, CarouselError):
            view["error"] = result.problem()
        elif isinstance(result, BaseException):
            raise result
        else:
            assert isinstance(item, _Item)
            view["outputs"] = item.given.outputs(result.outputs, item.served.description.outputs)
            view["step"] = result.step
            if item.id in opened:
                view["created"] = True
                opened.remove(item.id)
        answered.append(view)
    return answered
