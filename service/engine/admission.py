"""What an engine accepts now: bounds on waiting rows and bytes, on calls of one session and on sessions.

It knows how much waits, how long that takes, and whether the engine lives; not what becomes of what it lets in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.errors import (
    CarouselError,
    EngineFailed,
    NotStreamable,
    Overloaded,
    PayloadTooLarge,
    ShuttingDown,
    StoreUnavailable,
)
from service.sessions.session import Session
from service.sessions.table import ZERO, Table

if TYPE_CHECKING:
    from service.engine.call import Call, Places
    from service.engine.statistics import Counters
    from service.models.fitness import Fitness
    from service.models.model import Model
    from service.sessions.sessions import Sessions

PENDING = 1024  # calls and operations that may wait on one session
_LONGEST_NUMBER = 25  # characters of a number in JSON, as programs write it
_LONGEST_WAIT = 30.0  # seconds that a refusal tells at most


@dataclass(frozen=True)
class Bounds:
    """What may wait for one engine: rows, and bytes of their inputs and outputs."""

    rows: int
    size: int


class Admission:
    """The checks of one engine, all or nothing. Invariant: rows and bytes are those that entered and did not leave."""

    def __init__(
        self,
        bounds: Bounds,
        table: Table,
        sessions: Sessions,
        counters: Counters,
        *,
        model: Model,
        fitness: Fitness,
        name: str,
    ) -> None:
        self._bounds, self._table, self._sessions, self._counters = bounds, table, sessions, counters
        self._name, self._fitness = name, fitness
        numbers = model.features + model.outputs
        self._step_bytes, self._step_characters = 4 * numbers, _LONGEST_NUMBER * numbers
        self.rows = self.size = 0
        self.kept = 0  # bytes of forecasts under way
        self.closed = False  # draining: nothing enters any more
        self.dead: Exception | None = None  # what the engine died of

    def __repr__(self) -> str:
        return f"<Admission {self.rows} of {self._bounds.rows} rows, {self.size} of {self._bounds.size} B>"

    def check(self, count: int = 0, steps: int = 0, *, opening: int = 0) -> None:
        """Refuse unless there is room for `count` rows of `steps` time steps together, and for `opening` sessions.

        Raises:
            Overloaded, ShuttingDown, EngineFailed: not now.
            PayloadTooLarge: not ever.

        """
        if self.dead is not None:
            raise self.failure()
        if self.closed:
            raise ShuttingDown
        size = steps * self._step_bytes
        if count > self._bounds.rows or size > self._bounds.size:
            raise PayloadTooLarge(
                f"{count} sequences of {size} bytes with their answers in one call;"
                f" at most {self._bounds.rows} and {self._bounds.size} bytes can wait"
            )
        if self.rows + count > self._bounds.rows or self.size + size > self._bounds.size:
            raise Overloaded(f"{self.rows} sequences wait already", self._retry_after_ms())
        if opening and not self._sessions.fits(opening, opening * self._table.row_bytes):
            raise PayloadTooLarge(f"{opening} sessions in one call; the session table has no room for as many")
        if opening and not self._sessions.room(opening, self._table.row_bytes):
            raise Overloaded(f"the session table has no room for {opening} more")

    def check_call(self, call: Call, *, held: bool = False) -> None:
        """Refuse a call for which there is no room, or one that would be too many on one of its sessions.

        `held`: room was held for it, so it is accepted while the service drains, too.
        """
        if not held:
            self.check(len(call.rows), len(call.inputs))
        elif self.dead is not None:
            raise self.failure()
        if call.commits and call.opens is None:  # else `create` has looked
            self._sessions.owned()
        if call.commits and self.rows >= PENDING:  # with fewer rows none of them has so many
            self._may_wait(call.where)

    def check_operation(self, session: Session) -> None:
        """Refuse an operation that would be one too many on a session."""
        self.check()
        self._sessions.owned()
        self._may_wait(np.array([session.row]))

    def check_many(self, steps: int, calls: Sequence[Session | str]) -> None:
        """Refuse, all or nothing, calls on these sessions, or on new ones by id."""
        each = Counter(calls)
        self.check(len(calls), steps, opening=sum(isinstance(one, str) for one in each))
        rows = np.array([one.row if isinstance(one, Session) else ZERO for one in each], np.int64)
        counts = np.array([*each.values()])
        for count in np.unique(counts).tolist():
            self._may_wait(rows[counts == count], count)

    def room(self) -> int:
        """How many single steps fit now; 0 where `check` would refuse any."""
        if self.closed or self.dead is not None:
            return 0
        try:
            self._sessions.owned()
        except StoreUnavailable:
            return 0
        return max(0, min(self._bounds.rows - self.rows, (self._bounds.size - self.size) // self._step_bytes))

    def spare(self, length: int) -> None:
        """Refuse a JSON body of `length` bytes if even the fewest numbers that it can hold find no room now.

        Raises:
            Overloaded, ShuttingDown, EngineFailed: as `check` would.

        """
        try:
            with suppress(PayloadTooLarge):  # a guess is no reason to refuse for ever: names and blanks are no numbers
                self.check(1, length // self._step_characters)
        except CarouselError as error:
            self.refuse(error)
            raise

    def streamable(self) -> None:
        """Raise NotStreamable if the model needs the whole sequence."""
        if not self._fitness.streamable:
            reason = f": {self._fitness.reason}" if self._fitness.reason else ""
            raise NotStreamable(f"{self._name} needs the whole sequence{reason}")

    def refuse(self, error: CarouselError) -> None:
        """Count a refusal by its code. A stream that waits for room is not refused."""
        self._counters.refused[error.code] += 1

    def hold_rows(self, count: int, steps: int) -> None:
        """Count rows that were checked and enter in a later turn of the loop, or count them off."""
        self.rows += count
        self.size += steps * self._step_bytes

    def enter(self, call: Call) -> None:
        """Count a call that was accepted."""
        call.charge = len(call.rows), len(call.inputs) * self._step_bytes
        self.rows += call.charge[0]
        self.size += call.charge[1]

    def leave(self, call: Call, seconds: float) -> None:
        """Count off a call that has ended so many seconds after it arrived."""
        if (done := call.charge[0] - max(call.left, len(call.errors))) > 0:
            self._counters.tell(done, seconds)
        self.rows -= call.charge[0]
        self.size -= call.charge[1]

    def hold(self, steps: int) -> None:
        """Count so many steps that a forecast keeps until it ends, or count them off.

        Raises:
            Overloaded: the forecasts under way keep as much as may wait.

        """
        size = self.kept + steps * self._step_bytes
        if size > self._bounds.size:
            raise Overloaded(f"the forecasts under way keep {self.kept} bytes of outputs")
        self.kept = size

    def failure(self) -> EngineFailed:
        """The error of every call on a dead engine."""
        return EngineFailed(f"the engine of {self._name} died: {self.dead}")

    def _retry_after_ms(self) -> int:
        """When what waits now will be done, about."""
        seconds = self.size / self._step_bytes * self._fitness.seconds_per_step
        return max(1, round(1000 * min(_LONGEST_WAIT, seconds)))

    def _may_wait(self, rows: Places, each: int = 1) -> None:
        """Refuse if `each` more calls are too many to wait on one of the sessions of these rows."""
        if each > PENDING:
            raise PayloadTooLarge(f"{each} calls on one session at once; at most {PENDING} can wait")
        if self._table.waiting[rows].max() > PENDING - each:
            raise Overloaded(f"{PENDING} calls wait on a session already")
