"""Who may come in now: what an engine refuses before it has accepted anything of it.

It knows how much waits, how long that takes and whether the engine lives; not what becomes of what is let in.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from service.errors import CarouselError, EngineFailed, NotStreamable, Overloaded, PayloadTooLarge
from service.gate import Gate
from service.models.fitness import Fitness
from service.models.model import Index, Model
from service.rows import ZERO, Rows
from service.sessions import Session, Sessions
from service.statistics import Tally
from service.work import Call, One

PENDING = 1024  # calls that may wait on one session
_LONGEST_NUMBER = 25  # characters of a number in JSON, as programs write it


class Admission:
    """The checks of one engine. Whoever is refused has changed nothing, but may be counted."""

    def __init__(
        self, gate: Gate, rows: Rows, sessions: Sessions, tally: Tally, *, model: Model, fitness: Fitness, name: str
    ) -> None:
        self._gate, self._rows, self._sessions, self._tally = gate, rows, sessions, tally
        self._name, self._steps_fit = name, fitness.streamable
        numbers = model.features + model.outputs
        self._step_bytes, self._step_characters = 4 * numbers, _LONGEST_NUMBER * numbers
        self._seconds_per_byte = fitness.seconds_per_step / self._step_bytes
        self.dead: Exception | None = None  # what the engine died of: nobody enters any more

    def admit(self, count: int = 0, steps: int = 0, *, opening: int = 0) -> None:
        """Refuse, all or nothing: room for `count` more works of so many time steps together and for `opening` more
        sessions.

        Raises:
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed: nothing was accepted.

        """
        if self.dead is not None:
            raise self.failure()
        self._gate.check(count, steps * self._step_bytes, seconds_per_byte=self._seconds_per_byte)
        if opening and not self._sessions.room(opening, self._rows.row_bytes):
            raise Overloaded(f"the session table has no room for {opening} more")

    def admit_call(self, call: Call) -> None:
        """Refuse a call for which there is no room, or one more that would wait on some session."""
        self.admit(call.count, len(call.inputs))
        if not call.stateless and self._gate.rows >= PENDING:  # else not so many wait on any session
            self._may_wait(np.array([call.row]) if isinstance(call, One) else call.rows)

    def admit_turn(self, session: Session) -> None:
        """Refuse something to be done between the calls on a session."""
        self.admit()
        self._may_wait(np.array([session.row]))

    def admit_many(self, steps: int, calls: Sequence[Session | str]) -> None:
        """Refuse, all or nothing, calls on these sessions, or on new ones by id."""
        each = Counter(calls)
        opening = sum(isinstance(one, str) for one in each)
        self.counted(lambda: self.admit(len(calls), steps, opening=opening))
        for session, count in each.items():
            self._may_wait(np.array([session.row if isinstance(session, Session) else ZERO]), count)

    def spare(self, length: int) -> None:
        """Refuse a JSON body of that many bytes if the fewest numbers that a plain one can hold find no room now.

        Raises:
            Overloaded, ShuttingDown, EngineFailed: as `admit` would.

        """

        def check() -> None:
            with suppress(PayloadTooLarge):  # never is too long for a guess: names and blanks are no numbers
                self.admit(1, length // self._step_characters)

        self.counted(check)

    def streamable(self) -> None:
        """Raise NotStreamable if the model needs the whole sequence."""
        if not self._steps_fit:
            raise NotStreamable(f"{self._name} needs the whole sequence")

    def counted(self, check: Callable[..., None], *asked: Any) -> None:
        """Whom a check refuses is counted; a stream that waits for room is not refused."""
        try:
            check(*asked)
        except CarouselError as error:
            self._tally.refused[error.code] += 1
            raise

    def failure(self) -> EngineFailed:
        """What is told to whoever asks a dead engine."""
        return EngineFailed(f"the engine of {self._name} died: {self.dead}")

    def _may_wait(self, sessions: Index, each: int = 1) -> None:
        """Refuse if `each` more calls would be too many to wait on one of the sessions in these rows.

        Raises:
            Overloaded, PayloadTooLarge: not now; not ever.

        """
        if each > PENDING:
            raise PayloadTooLarge(f"{each} calls on one session at once; at most {PENDING} can wait")
        if self._rows.waiting[sessions].max() > PENDING - each:
            raise Overloaded(f"{PENDING} calls wait on a session already")
