"""What was not applied since another process had its session: it is asked once more, of the session as it is then.

It knows sessions by id; not models, clients or stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, cast

import numpy as np

from service.engine.call import Call
from service.errors import CarouselError, SessionMoved, SessionNotFound, StoreUnavailable

if TYPE_CHECKING:
    from service.engine.call import Again
    from service.models.model import Index
    from service.sessions.session import Session
    from service.sessions.sessions import Sessions


class Reruns:
    """Invariant: what waits for a session is asked again in the order in which it was asked first."""

    def __init__(self, sessions: Sessions, home: object, accept: Callable[[Call], None]) -> None:
        self._sessions, self._home, self._accept = sessions, home, accept
        self._waiting: dict[tuple[str, int], list[tuple[int, Again]]] = {}  # by id and birth

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def close(self) -> None:
        """Let go of what refers back: nothing waits."""
        del self._home, self._accept

    def add(self, id: str, birth: int, serial: int, again: Again) -> None:
        """Do it again on a session once that is here, or tell why it cannot be."""
        waiting = self._waiting.setdefault((id, birth), [])
        waiting.append((serial, again))
        if len(waiting) == 1:  # what was accepted on it ends before it is loaded
            asyncio.get_running_loop().call_soon(self._load, id, birth)

    def settle(self, call: Call, births: Index, answer: Callable[[Call], None]) -> None:
        """Answer a call that has ended, once its rows whose session another process had have run once more.

        `births` are of the sessions of all table rows.
        """
        moved = [row for row, error in call.errors.items() if may_rerun(call, error)]
        if call.tags is not None and moved and len(call.rows) > 1:  # each row stands for itself
            others = [row for row in range(len(call.rows)) if row not in moved]
            for rows in (others, *([row] for row in moved)):
                if rows:
                    self.settle(_apart(call, rows), births, answer)
        elif moved:
            rerun = _Rerun(call, len(moved), self._accept, answer)
            for row in moved:
                id, birth = cast("SessionMoved", call.errors[row]).id, births.item(call.rows.item(row))
                self.add(id, birth, call.serial, partial(rerun.run, row))
        else:
            answer(call)

    def abort(self, error: CarouselError) -> None:
        """Nothing is asked again any more."""
        for id, birth in [*self._waiting]:
            self._go_on(id, birth, error)

    def _load(self, id: str, birth: int) -> None:
        if (id, birth) not in self._waiting:
            return  # aborted
        try:
            looking = self._sessions.missing(id)
            if looking is not None:
                looking.add_done_callback(lambda _: self._load(id, birth))
                return
            self._sessions.owned()
            found: Session | CarouselError = self._sessions.find(id) or self._sessions.known(id)
        except CarouselError as error:
            found = error
        if not isinstance(found, CarouselError) and found.birth != birth:
            found = SessionNotFound(f"no session {id!r}")
        elif not isinstance(found, CarouselError) and found.home is not self._home:
            found = SessionMoved(id)
        self._go_on(id, birth, found)

    def _go_on(self, id: str, birth: int, found: Session | CarouselError) -> None:
        for _, again in sorted(self._waiting.pop((id, birth)), key=itemgetter(0)):
            again(found)


class _Rerun:
    """Rows of a call that run once more, each by itself; then the call is answered."""

    def __init__(self, call: Call, left: int, accept: Callable[[Call], None], answer: Callable[[Call], None]) -> None:
        self._call, self._left, self._accept, self._answer = call, left, accept, answer

    def run(self, row: int, found: Session | CarouselError) -> None:
        """Run a row on its session as it is now, or end it by an error."""
        call = self._call
        error = found if isinstance(found, CarouselError) else found.home.refusal
        if error is not None or isinstance(found, CarouselError):
            self._end(row, error)
            return
        lengths, asked, inputs = call.lengths[[row]], call.asked[[row]], call.inputs[call.span(row)]
        ended, where = partial(self._ended, row), np.array([found.row])
        part = Call(where, lengths, asked, inputs, ended, call.deadline, opens=call.opens)
        part.again = True
        self._accept(part)

    def _ended(self, row: int, part: Call) -> None:
        call = self._call
        if not part.errors:
            if len(call.outputs) < len(call.inputs):
                call.outputs = np.empty((len(call.inputs), part.outputs.shape[1]), np.float32)
            call.outputs[call.span(row)], call.starts[row] = part.outputs, part.starts[0]
        self._end(row, part.errors.get(0))

    def _end(self, row: int, error: CarouselError | None) -> None:
        del self._call.errors[row]
        if isinstance(error, SessionMoved):  # twice
            error = StoreUnavailable(error.detail, 50)
        if error is not None:
            self._call.errors[row] = error
        self._left -= 1
        if not self._left:
            self._call.again = True
            self._answer(self._call)


def may_rerun(call: Call, error: CarouselError) -> bool:
    """Whether a row of a call that ended so is asked once more."""
    return isinstance(error, SessionMoved) and not call.again


def _apart(call: Call, rows: list[int]) -> Call:
    """Some rows of a merged call that has ended."""
    places = np.array(rows)
    part = call.part(places, call.ended)
    part.outputs, part.serial, part.again = call.steps_of(call.outputs, places), call.serial, call.again
    part.errors = {rows.index(row): error for row, error in call.errors.items() if row in rows}
    part.repeats = [one._replace(place=rows.index(one.place)) for one in call.repeats if one.place in rows]
    return part
