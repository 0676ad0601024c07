"""Items of one call on many sessions: their place in the queue, and their way through the engine, slice by slice."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from service.engine.call import Call, Deadline
from service.errors import CarouselError

if TYPE_CHECKING:
    from service.api.json.fields import Sequenced
    from service.engine.engine import Engine
    from service.models.model import Array, OnnxModel
    from service.sessions.session import Session

AT_ONCE = 500  # items that are looked at, opened, submitted or told before others are served: 3 to 30 ms

_T = TypeVar("_T")


@dataclass(slots=True, eq=False, weakref_slot=True)
class Item:
    """A good item, and what became of it. It does not hold its call, which holds it: both would outlive the answer."""

    index: int
    id: str
    session: Session | None  # None: it is to be opened
    engine: Engine
    served: OnnxModel
    given: Sequenced
    step: int
    error: CarouselError | None = None
    outputs: Array = field(init=False)
    end: int = field(init=False)  # the next step of its session

    def told(self, call: Call, row: int) -> None:
        """It was a row of a call that has ended."""
        self.error = call.errors.get(row)
        if self.error is None:
            self.outputs = call.outputs[call.span(row)]
            self.end = call.starts.item(row) + len(self.outputs)


async def slices(things: Sequence[_T]) -> AsyncIterator[Sequence[_T]]:
    """A few at a time; others are served before the next ones."""
    for first in range(0, len(things), AT_ONCE):
        if first:
            await asyncio.sleep(0)
        yield things[first : first + AT_ONCE]


def hold(items: Iterable[Item]) -> None:
    """Hold room for all items, or none.

    Raises:
        Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed: there is none.

    """
    groups: defaultdict[Engine, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.engine].append(item)
    for engine, group in groups.items():
        try:
            steps = sum(len(item.given.inputs) for item in group)
            engine.admission.check_many(steps, [item.session or item.id for item in group])
        except CarouselError as error:
            engine.admission.refuse(error)
            raise
    for item in items:
        item.engine.admission.hold_rows(1, len(item.given.inputs))


def free(items: Iterable[Item]) -> None:
    """Let go of the room of items that are submitted now, or never."""
    for item in items:
        item.engine.admission.hold_rows(-1, -len(item.given.inputs))


class Calls:
    """The calls of items for which room is held. `again` finds the session of an item as it is when it is submitted."""

    def __init__(self, items: list[Item], deadline: Deadline | None, again: Callable[[Item], None]) -> None:
        self._items, self._deadline, self._again = items, deadline, again
        self._left = len(items)
        self._ended = asyncio.Event()
        self.clocks: dict[str, float] = {}  # where the idle clock of each session stood when its last item was accepted

    async def run(self) -> None:
        """Submit all items, each behind those before it on its session, and return when all have ended."""
        async for part in slices(_in_rounds(self._items)):
            free(part)
            for item in part:
                if item.error is None:
                    self._again(item)
            self._end(sum(item.error is not None for item in part))
            for one in _rounds([item for item in part if item.error is None]):
                self._submit(one)
            self.clocks |= {item.id: item.session.deadline for item in part if item.session is not None}
        if self._left:
            await self._ended.wait()

    def _submit(self, items: list[Item]) -> None:
        for engine, call, these in _calls(items, self._deadline, self._tell):
            try:
                engine.submit(call, held=True)
            except CarouselError as error:
                call.errors = dict.fromkeys(range(len(these)), error)
                self._tell(call, these)

    def _tell(self, call: Call, these: Sequence[Item]) -> None:
        for row, item in enumerate(these):
            item.told(call, row)
        self._end(len(these))

    def _end(self, count: int) -> None:
        self._left -= count
        if not self._left:
            self._ended.set()


def _rounds(items: Iterable[Item]) -> list[list[Item]]:
    """The items in rounds, each with one item of a session."""
    rounds: list[list[Item]] = []
    seen: Counter[str] = Counter()
    for item in items:
        if seen[item.id] == len(rounds):
            rounds.append([])
        rounds[seen[item.id]].append(item)
        seen[item.id] += 1
    return rounds


def _in_rounds(items: Iterable[Item]) -> list[Item]:
    return [item for one in _rounds(items) for item in one]


_Tell = Callable[[Call, Sequence[Item]], None]


def _calls(items: list[Item], deadline: Deadline | None, tell: _Tell) -> Iterator[tuple[Engine, Call, list[Item]]]:
    """Calls of items of different sessions: single steps of an engine are merged."""
    singles: defaultdict[Engine, list[Item]] = defaultdict(list)
    for item in items:
        if len(item.given.inputs) == 1:
            singles[item.engine].append(item)
        else:
            yield item.engine, _call([item], deadline, _teller(tell, [item])), [item]
    for engine, these in singles.items():
        call = _call(these, deadline, lambda call: tell(call, call.tags or ()))
        call.tags = these
        yield engine, call, these


def _teller(tell: _Tell, items: list[Item]) -> Callable[[Call], None]:
    return lambda call: tell(call, items)


def _call(items: list[Item], deadline: Deadline | None, ended: Callable[[Call], None]) -> Call:
    rows = np.array([item.session.row for item in items if item.session is not None])
    lengths = np.array([len(item.given.inputs) for item in items])
    inputs = items[0].given.inputs if len(items) == 1 else np.concatenate([item.given.inputs for item in items])
    return Call(rows, lengths, np.array([item.step for item in items]), inputs, ended, deadline)
