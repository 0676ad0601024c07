"""Many sessions in one call: `POST /v1/models/{model}/steps`. One bad item never harms another."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from service.api import views
from service.api.json.fields import Sequenced, fields, sequence
from service.engine.call import UNCHECKED, Call, Deadline
from service.errors import CarouselError, SessionExists, SessionNotFound
from service.models.repository import NAME, Repository
from service.sessions.reach import reach, vacant
from service.sessions.session import Session

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.model import OnnxModel
    from service.sessions.sessions import Sessions
    from service.settings import Settings

_NAMED = 100  # faults of a call that are told in full; of the others their code
_MANY = f"only the first {_NAMED} faults of a call are told in full"
_AT_ONCE = 500  # items that are looked at before others are served: 3 ms


@dataclass(slots=True, eq=False)
class _Item:
    """A good item, and what became of it."""

    id: str
    session: Session | None  # None: it is to be opened
    engine: Engine
    served: OnnxModel
    given: Sequenced
    step: int
    error: CarouselError | None = None
    call: Call | None = None  # of which it was a row, and which
    row: int = 0


class Many:
    """Reads items, admits them all or none, and answers each in its place."""

    def __init__(self, repository: Repository, sessions: Sessions, settings: Settings) -> None:
        self._repository, self._sessions, self._settings = repository, sessions, settings

    async def steps(
        self, asked: list[Any], model: str, version: str | None, *, may_open: bool, deadline: Deadline | None
    ) -> tuple[list[dict[str, Any]], int]:
        """The answers of all items, in the order asked, and how many numbers they have.

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
        good = [item for item in items if isinstance(item, _Item)]
        self._admit(good)
        opened = await self._open(good)
        await reach(self._sessions, *dict.fromkeys(item.id for item in good))  # some may have left meanwhile
        for index, item in enumerate(items):
            if isinstance(item, _Item) and item.error is None:
                items[index] = self._again(item, asked[index], index, model, version)
        good = [item for item in items if isinstance(item, _Item)]
        done = self._submit(good, deadline)
        clocks = [(session, session.deadline) for session in opened.values()]
        await done
        for session, clock in clocks:
            self._repository.of(session)[0].lifecycle.take_back(session, clock)
        return _views(asked, items, set(opened)), sum(
            item.given.inputs.shape[0] * item.engine.model.outputs for item in good
        )

    async def _read(self, asked: list[Any], model: str, version: str | None) -> list[Any]:
        """Each item, or its error, as all of them are at one moment."""
        items: list[_Item | CarouselError] = []
        while len(items) < len(asked):
            if items:
                await asyncio.sleep(0)
            begin = len(items)
            for index, one in enumerate(asked[begin : begin + _AT_ONCE], begin):
                items.append(self._item(one, index, model, version))
        if len(asked) > _AT_ONCE:  # sessions may have begun or ended meanwhile
            for index, item in enumerate(items):
                if isinstance(item, _Item) and item.session != self._sessions.find(item.id):
                    items[index] = self._item(asked[index], index, model, version)
        return items

    def _item(self, one: Any, index: int, model: str, version: str | None) -> _Item | CarouselError:
        try:
            return self._good_item(one, f"items[{index}]", model, version)
        except CarouselError as error:
            return error

    def _good_item(self, one: Any, place: str, model: str, version: str | None) -> _Item:
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
        return _Item(id, session, engine, served, given, step)

    def _admit(self, items: list[_Item]) -> None:
        groups: defaultdict[Engine, list[_Item]] = defaultdict(list)
        for item in items:
            groups[item.engine].append(item)
        for engine, group in groups.items():
            try:
                steps = sum(len(item.given.inputs) for item in group)
                engine.admission.check_many(steps, [item.session or item.id for item in group])
            except CarouselError as error:
                engine.admission.refuse(error)
                raise

    def _again(self, item: _Item, one: Any, index: int, model: str, version: str | None) -> _Item | CarouselError:
        """An item with its session as it is now: it may have another row, or have been migrated to another engine."""
        try:
            same = self._sessions.get(item.id) == item.session
        except CarouselError as error:
            return error
        return item if same else self._item(one, index, model, version)

    async def _open(self, items: list[_Item]) -> dict[str, Session]:
        """Open the sessions of the items that have none."""
        opened: dict[str, Session | CarouselError] = {}
        for item in items:
            if item.session is not None:
                continue
            if item.id not in opened:
                try:
                    opened[item.id] = await item.engine.lifecycle.open(item.id, self._settings.default_ttl_seconds)
                except CarouselError as error:
                    opened[item.id] = error
            if isinstance(opened[item.id], SessionExists):
                continue  # another process opened it meanwhile: it is looked for again
            session = opened[item.id]
            if isinstance(session, Session):
                item.session = session
            else:
                item.error = session
        return {id: session for id, session in opened.items() if isinstance(session, Session)}

    def _submit(self, items: list[_Item], deadline: Deadline | None) -> asyncio.Future[None]:
        """Submit the items in rounds, each with one item of a session → done when all have ended."""
        rounds: list[list[_Item]] = []
        seen: Counter[str] = Counter()
        for item in items:
            if item.error is None:
                if seen[item.id] == len(rounds):
                    rounds.append([])
                rounds[seen[item.id]].append(item)
                seen[item.id] += 1
        left = sum(map(len, rounds))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        submitted = False

        def tell(call: Call, these: Sequence[_Item]) -> None:
            nonlocal left
            for row, item in enumerate(these):
                item.call, item.row, item.error = call, row, call.errors.get(row)
            left -= len(these)
            if not left and submitted:
                done.set_result(None)

        for one in rounds:
            for engine, call, these in _calls(one, deadline, tell):
                try:
                    engine.submit(call)
                except CarouselError as error:
                    call.errors = dict.fromkeys(range(len(these)), error)
                    tell(call, these)
        submitted = True
        if not left:
            done.set_result(None)
        return done


_Tell = Callable[[Call, Sequence[_Item]], None]


def _calls(items: list[_Item], deadline: Deadline | None, tell: _Tell) -> Iterator[tuple[Engine, Call, list[_Item]]]:
    """Calls of items of different sessions: single steps of an engine are merged."""
    singles: defaultdict[Engine, list[_Item]] = defaultdict(list)
    for item in items:
        if len(item.given.inputs) == 1:
            singles[item.engine].append(item)
        else:
            yield item.engine, _call([item], deadline, _teller(tell, [item])), [item]
    for engine, these in singles.items():
        call = _call(these, deadline, lambda call: tell(call, call.tags or ()))
        call.tags = these
        yield engine, call, these


def _teller(tell: _Tell, items: list[_Item]) -> Callable[[Call], None]:
    return lambda call: tell(call, items)


def _call(items: list[_Item], deadline: Deadline | None, ended: Callable[[Call], None]) -> Call:
    rows = np.array([item.session.row for item in items if item.session is not None])
    lengths = np.array([len(item.given.inputs) for item in items])
    inputs = items[0].given.inputs if len(items) == 1 else np.concatenate([item.given.inputs for item in items])
    return Call(rows, lengths, np.array([item.step for item in items]), inputs, ended, deadline)


def _refuse_unknown(items: list[_Item | CarouselError], may_open: bool) -> None:
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


def _views(asked: list[Any], items: list[_Item | CarouselError], opened: set[str]) -> list[dict[str, Any]]:
    """What each item is answered; the first answer of a session that was opened says so."""
    answered, faults = [], 0
    for one, item in zip(asked, items, strict=True):
        named = one.get("session") if isinstance(one, dict) else None
        view: dict[str, Any] = {"session": named if isinstance(named, str) else None}
        error = item if isinstance(item, CarouselError) else item.error
        if error is not None:
            faults += 1
            view["error"] = error.problem() if faults <= _NAMED else CarouselError.problem(error) | {"detail": _MANY}
        elif isinstance(item, _Item) and item.call is not None:
            span = item.call.span(item.row)
            view["outputs"] = item.given.outputs(item.call.outputs[span], item.served.description.outputs)
            view["step"] = item.call.starts.item(item.row) + len(item.given.inputs)
            if item.id in opened:
                view["created"] = True
                opened.remove(item.id)
        answered.append(view)
    return answered
