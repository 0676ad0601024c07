"""What callers ask for: calls, and turns between them. Plain values that the queue, the runner and the engine share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from service.errors import CarouselError
from service.models.model import Array, Index
from service.rows import ZERO

if TYPE_CHECKING:  # only the queue arms timers and settles turns; the pure parts carry them
    from asyncio import Future, TimerHandle

    from service.bundle import Bundle

UNCHECKED = -1  # a step that the caller did not name
LAST = 2**63 - 1  # stands for every step that no session will reach


class Answer(NamedTuple):
    """Outputs [T, K], and the count of steps the session has consumed after them."""

    outputs: Array
    step: int


@dataclass(slots=True, eq=False)
class Patience:
    """How long a caller waits for the first chunk. Calls that share one are refused by it together, or not at all."""

    deadline: float
    taken: bool = False  # a first chunk ran or runs: the deadline means nothing any more
    timer: "TimerHandle | None" = None
    calls: "dict[Call, None]" = field(default_factory=dict)  # accepted and not done

    @classmethod
    def until(cls, deadline: float | None) -> "Patience | None":
        """Of a caller who may have said nothing about it."""
        return None if deadline is None else cls(deadline)


@dataclass(slots=True, eq=False)
class Call:
    """Works that somebody asked for at once: N rows, all different unless they are ZERO, the steps of row i behind
    those of row i − 1 in the inputs. A step that does not fit refuses all of it; what fails later fails alone.

    When the last work is done `ended` is told, and `outputs`, `starts` and `errors` hold what became of each.
    """

    rows: Index  # [N]; ZERO: a predict
    lengths: Index  # [N] time steps
    asked: Index  # [N] the step that the caller named, or UNCHECKED
    inputs: Array  # [ΣT, F], C-contiguous
    ended: "Callable[[Any], None]"  # gets the call
    patience: Patience | None = None
    kept: bool = True  # its answers are kept for a retry
    outputs: Array = field(init=False)  # [ΣT, K]
    starts: Index = field(init=False)  # [N] the index of the first step of each in its session
    errors: dict[int, CarouselError] = field(default_factory=dict)  # of row i, unapplied
    refused: bool = False  # nothing of it ran; `errors` says why
    count: int = field(init=False)  # N
    left: int = field(init=False)  # of them are not done
    size: int = 0  # bytes it holds while it waits
    bundle: "Bundle | None" = None
    first: int = 0  # where its rows begin in the bundle
    stateless: bool = field(init=False)  # it is a predict

    def __post_init__(self) -> None:
        self.stateless = int(self.rows[0]) == ZERO
        self.count = self.left = len(self.rows)


class One(Call):
    """A call of one row, of which there are most: its numbers are plain, and arrays only in a bundle."""

    __slots__ = ("row", "start", "step")

    def __init__(
        self,
        row: int,
        step: int | None,
        inputs: Array,
        ended: "Callable[[Any], None]",
        patience: Patience | None = None,
        *,
        kept: bool = True,
    ) -> None:
        self.row, self.step, self.inputs = row, UNCHECKED if step is None else min(step, LAST), inputs
        self.ended, self.patience, self.kept = ended, patience, kept
        self.start = 0  # the index of the first step in the session, once it is done
        self.errors, self.refused, self.size = {}, False, 0
        self.count = self.left = 1
        self.bundle, self.first, self.stateless = None, 0, row == ZERO

    def only(self) -> Answer:
        """What became of it. Raises its error."""
        if self.errors:
            raise self.errors[0]
        return Answer(self.outputs, self.start + len(self.outputs))


@dataclass(slots=True, eq=False)
class Turn:
    """Something done to a session, between two of its calls: fork, delete, read or replace its state."""

    session: int  # its row
    act: Callable[[], Any]
    answer: "Future[Any]"
    step_after: int | None = None  # where the session will stand; None: where it stood
