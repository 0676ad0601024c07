"""A unit of work: advance one state row by T time steps, whoever asked and by whichever door.

It knows no queue and no clock; the scheduler, the sessions and the engine share these values.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from service.rows import ZERO, Array

if TYPE_CHECKING:  # only the queue makes futures; the pure parts carry them
    from asyncio import Future, TimerHandle

    from service.sessions import Session


class Answer(NamedTuple):
    """Outputs [T, K], and the count of steps the session has consumed after them."""

    outputs: Array
    step: int


@dataclass(slots=True, eq=False)
class Call:
    """What a caller asked for at once: it is taken, or refused by its deadline, as one."""

    deadline: float | None = None
    taken: bool = False  # its first chunk ran or runs: the deadline means nothing any more
    timer: "TimerHandle | None" = None  # ends it at its deadline; cancelled when the first of its works leaves
    waiting: int = 0  # of its works, those accepted and not answered
    works: list["Work"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Work:
    """One row's share of a call.

    Invariant: `row` is where its running state lies; ZERO or the session's own row before the first chunk, a row of
    its own between chunks. The session's row is written with the last chunk only.
    """

    inputs: Array  # [T, F]
    outputs: Array  # [T, K], filled chunk by chunk
    call: Call
    answer: "Future[Answer]"
    session: "Session | None" = None  # None: a predict, from the zero row
    row: int = ZERO
    start: int = 0  # index of its first step in the session
    checked: bool = False  # the caller named the step
    kept: bool = True  # its answer is kept for a retry
    digest: bytes = b""  # of the inputs, to recognise a retry
    done: int = 0

    @property
    def steps(self) -> int:
        """T, the number of its time steps."""
        return len(self.inputs)

    @property
    def owns_row(self) -> bool:
        """Whether `row` was allocated for this work alone."""
        return self.row != ZERO and (self.session is None or self.row != self.session.row)

    @property
    def size(self) -> int:
        """Bytes it holds while it waits."""
        return self.inputs.nbytes + self.outputs.nbytes


@dataclass(slots=True, eq=False)
class Turn:
    """Something done to a session, between two of its calls: fork, delete, read or replace its state."""

    act: Callable[[], Any]
    answer: "Future[Any]"
    step_after: int | None = None  # where the session will stand; None: where it stood
