"""What clients ask of an engine: calls, which advance sessions by time steps, and operations between them.

Plain values: the engine decides when they run, and in which order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from asyncio import Future, TimerHandle
    from collections.abc import Callable, Sequence

    from service.errors import CarouselError
    from service.models.model import Array, Index, State
    from service.sessions.digests import Digests
    from service.sessions.session import Session
    from service.store.store import Change

UNCHECKED = -1  # the step of a call that names none
LAST = 2**63 - 1  # stands for every step that no session reaches
Places: TypeAlias = "Index | slice"
Again: TypeAlias = "Callable[[Session | CarouselError], None]"  # asks once more of a session, or tells why it cannot be
ALL = slice(None)
_NO_OUTPUTS: Array = np.empty((0, 0), np.float32)


@dataclass(slots=True, eq=False, repr=False)
class Deadline:
    """When calls must have begun. Calls of one request share one: they expire together, or not at all."""

    at: float  # on the engine's clock
    taken: bool = False  # a first chunk was taken: the deadline is void
    timer: TimerHandle | None = None
    calls: dict[Call, None] = field(default_factory=dict)  # accepted and not told


@dataclass(slots=True, eq=False, repr=False)
class Entry:
    """What has a place in the order of its sessions: see `order`."""

    rows: Index  # [N] table rows, all different
    where: Places = field(init=False)  # the same, as NumPy indexes one row soonest
    serial: int = field(init=False, default=0)
    before: set[Entry] = field(init=False, default_factory=set)  # unfinished, and on one of its rows
    behind: list[Entry] = field(init=False, default_factory=list)
    told: bool = field(init=False, default=False)  # it has ended; it keeps its place until its turn
    pending: int = field(init=False, default=0)  # commits of it that are under way

    def __post_init__(self) -> None:
        """Derive what is looked at often."""
        row = self.rows.item(0)
        self.where = slice(row, row + 1) if len(self.rows) == 1 else self.rows

    def place(self, row: int) -> int:
        """Where a table row of it stands in `rows`."""
        return 0 if len(self.rows) == 1 else int((self.rows == row).argmax())


@dataclass(slots=True, eq=False, repr=False)
class Call(Entry):
    """Time steps of N rows, asked for at once: atomic for each session, in order, told once.

    A step that does not fit refuses all of it; rows that fail later fail alone. With `tags` it merges one step each of
    N clients: every row stands for itself, and the engine may split it. Then `ended` gets each part, whose tags,
    starts, outputs and errors belong together. A call of ZERO rows is a predict: it starts from the zero state and
    commits nothing.
    """

    lengths: Index  # [N] time steps, at least 1
    asked: Index  # [N] index of the first step as named by the client, or UNCHECKED
    inputs: Array  # [ΣT, F], C-contiguous: the steps of row i behind those of row i − 1
    ended: Callable[[Call], object]  # is told on the loop's thread, and does not raise
    deadline: Deadline | None = None
    tags: Sequence[Any] | None = None  # [N]
    opens: tuple[str, float] | None = None  # a history: the session of this id and TTL begins with it
    state: ClassVar[State | None] = None  # [N, …] from which it begins; None: those of its rows
    # What became of it, once it is told.
    outputs: Array = field(init=False)  # [ΣT, K]
    starts: Index = field(init=False)  # [N] index of the first step in its session
    errors: dict[int, CarouselError] = field(init=False, default_factory=dict)  # by row: it was not applied
    refused: bool = field(init=False, default=False)  # nothing of it ran: `errors` has the row at fault
    # Of the engine.
    commits: bool = field(init=False)  # it moves sessions: it is no predict
    left: int = field(init=False)  # rows not done
    each: int = field(init=False)  # steps of every row; 0: they differ, and it is run in parts
    ends: Index | None = field(init=False, default=None)  # [N] of the steps of each row, where they differ; see `span`
    parts: list[Call] = field(init=False, default_factory=list)  # calls that are run in its place
    charge: tuple[int, int] = field(init=False, default=(0, 0))  # rows and bytes that it counts for while it waits
    arrived: float = field(init=False, default=0.0)
    digests: Digests | None = field(init=False, default=None)  # [N, 2] of the inputs
    repeats: list[Repeat] = field(init=False, default_factory=list)  # retries that wait for rows of it
    again: bool = field(init=False, default=False)  # it was asked before, when another process had the session

    def __post_init__(self) -> None:
        """Derive what is looked at often."""
        Entry.__post_init__(self)
        self.left, self.outputs, self.starts = len(self.rows), _NO_OUTPUTS, self.rows
        self.commits = self.rows.item(0) != 0
        self.each = common_length(self.lengths, len(self.inputs))

    @property
    def kept(self) -> bool:
        """Whether its answers are kept for a retry."""
        return self.opens is None

    def span(self, index: int) -> slice:
        """Where the steps of a row lie in inputs and outputs."""
        if self.each:
            return slice(index * self.each, (index + 1) * self.each)
        if self.ends is None:
            self.ends = np.cumsum(self.lengths)
        end = self.ends.item(index)
        return slice(end - self.lengths.item(index), end)

    def steps_of(self, array: Array, places: Places) -> Array:
        """The steps of some rows of inputs or outputs [ΣT, W], one row behind the other."""
        if isinstance(places, slice):
            return array
        if not self.each:
            return np.concatenate([array[self.span(index)] for index in places.tolist()])
        steps: Array = array.reshape(len(self.rows), self.each, -1)[places]
        return steps.reshape(-1, array.shape[1])

    def take(self, index: int, other: Call, row: int) -> None:
        """What became of a row is what became of a row of another call: of a part of it, or of what it repeats."""
        if row in other.errors:
            self.errors[index] = other.errors[row]
        elif other.commits or not other.errors:  # else a predict failed whole
            self.outputs[self.span(index)] = other.outputs[other.span(row)]
            self.starts[index] = other.starts[row]

    def part(self, places: Index, ended: Callable[[Call], object] | None = None) -> Call:
        """A call of some of its rows; of all of them it is itself, unless something else is to be told."""
        if len(places) == len(self.rows) and ended is None:
            return self
        tags = None if self.tags is None else [self.tags[place] for place in places.tolist()]
        rows, lengths, asked = self.rows[places], self.lengths[places], self.asked[places]
        inputs = self.steps_of(self.inputs, places)
        how = lengths, asked, inputs, ended or self.ended, self.deadline, tags, self.opens
        if self.state is None:
            part = Call(rows, *how)
        else:
            part = Onward(rows, *how, state={name: array[places] for name, array in self.state.items()})
        part.digests = None if self.digests is None else self.digests[places]
        part.starts = self.starts[places]
        return part


@dataclass(slots=True, eq=False, repr=False)
class Onward(Call):
    """A call that does not commit, from a state of its own; told, it has the state after it."""

    state: State | None = field(kw_only=True)  # type: ignore[misc]  # of other calls it is that of their rows


class Repeat(NamedTuple):
    """A row of a retry that waits for a row of the call that it repeats."""

    place: int  # of the row that is repeated
    call: Call
    row: int  # of the retry


@dataclass(slots=True, eq=False, repr=False)
class Operation(Entry):
    """Something done to one session between two calls: fork, read, replace, delete, …

    When it is its turn its `changes` are committed, then it acts. `step_after` is where the session stands then, where
    that is known before; None: where it stood.
    """

    act: Callable[[], Any]
    answer: Future[Any]
    changes: Callable[[], Sequence[Change]] | None = None  # None: it commits nothing
    step_after: int | None = None
    again: tuple[Session, Again] | None = None  # whose it is, and how it is asked again if another process had that
    stays: bool = False  # it acts whatever becomes of what is before it


@dataclass(slots=True, eq=False, repr=False)
class Piece:
    """Rows of a call that advance together: at most a batch of them, and each by as many steps."""

    call: Call
    places: Places  # of its rows in the call
    count: int  # of them
    done: int = 0  # steps of each that were run
    state: State | None = None  # [count, …] after them; None: that of the sessions

    @property
    def left(self) -> int:
        """Steps that each row has left."""
        return self.call.each - self.done

    def index(self, row: int) -> int:
        """The place in the call of a row, which is counted from 0."""
        return row if isinstance(self.places, slice) else self.places.item(row)

    def pick(self, which: Index) -> Piece:
        """Some of its rows, which are counted from 0."""
        places = which if isinstance(self.places, slice) else self.places[which]
        state = None if self.state is None else {name: array[which] for name, array in self.state.items()}
        return Piece(self.call, places, len(which), self.done, state)


def common_length(lengths: Index, steps: int) -> int:
    """The length of all sequences of `steps` steps together, or 0 if they differ."""
    if steps == len(lengths):
        return 1
    first = lengths.item(0)
    return first if first * len(lengths) == steps and bool((lengths == first).all()) else 0
