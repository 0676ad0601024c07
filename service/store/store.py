"""The Store protocol, and the changes of sessions that a store makes durable before they are answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from service.errors import CarouselError

if TYPE_CHECKING:
    from asyncio import Future

    from service.models.model import Array, Index, State


class Opened(NamedTuple):
    """A session begins: new, a fork, or made of exported bytes. `state` [1, …] is None for the zero state."""

    row: int
    id: str
    ttl: float  # seconds
    step: int
    state: State | None


class Copied(NamedTuple):
    """N sessions begin as copies of one."""

    rows: Index  # [N]
    ids: Sequence[str]
    ttl: float  # seconds
    step: int
    state: State  # [1, …] of all of them


class Advanced(NamedTuple):
    """N sessions have done the steps of one call; inputs and outputs of row i lie behind those of row i − 1."""

    rows: Index  # [N]
    starts: Index  # [N] index of the first step in its session
    lengths: Index  # [N] time steps
    inputs: Array  # [ΣT, F]
    outputs: Array  # [ΣT, K]
    state: State | None  # [N, …] after them; None: a later change of the same commit has it


class Replaced(NamedTuple):
    """A session stands at another step with another state [1, …]; kept answers and later snapshots are forgotten."""

    row: int
    step: int
    state: State


class Deleted(NamedTuple):
    """A session has ended."""

    row: int


class Snapped(NamedTuple):
    """A snapshot of a session is kept, to which it may be rewound. In a commit it follows the steps that lead there."""

    row: int
    step: int
    state: State  # [1, …]


class Moved(NamedTuple):
    """A session goes on in another engine, without kept answers and snapshots; the only change of its commit."""

    row: int  # its new row
    id: str
    step: int
    state: State  # [1, …]
    home: Home  # where it goes
    source: Home  # that it leaves
    left: int  # its old row


Change: TypeAlias = Opened | Copied | Advanced | Replaced | Deleted | Snapped | Moved
Conflicts: TypeAlias = Mapping[int, CarouselError]  # by table row: its change was not written, and why


class Home(Protocol):
    """The engine whose table rows the changes name."""

    name: str
    version: str


class Store(Protocol):
    """Writes changes in the order of the calls of `commit`.

    Everything that a commit holds may be read until it is done: the arrays are not written again before that.
    """

    def commit(self, home: Home, changes: Sequence[Change]) -> Future[Conflicts] | None:
        """Write changes: those of one row together or not at all. None: all of them are written.

        Raises, or the future raises:
            StoreUnavailable: none of them is written.

        """


class Keeper(Store, Protocol):
    """A store with its life cycle: what the composition root starts, asks for sessions and closes.

    A store that keeps nothing for itself has nothing to do for most of it.
    """

    def start(self) -> None:
        """Open the store and read what it has. Blocks.

        Raises:
            StoreRefusedError: it is in use, or cannot be read.

        """
        return

    def stored(self) -> set[tuple[str, str]]:
        """Models and versions of whose sessions it knows before they are recovered."""

    def holds(self, home: Any) -> bool:
        """Whether sessions of an engine are in the store and not in memory."""

    def release(self, home: Any) -> None:
        """Forget an engine in which no session lives."""
        return

    async def recover(self, home: Any) -> None:
        """Give the stored sessions of an engine back to it, before it is served."""
        return

    async def recovered(self, absent: Callable[[str, str], Any]) -> None:
        """All engines have been started: begin to work in the background.

        Sessions that found no engine get one from `absent`, which is told model and version.
        """
        return

    def ends(self) -> None:
        """This process drains: tell the successor that waits for the store."""
        return

    async def close(self) -> None:
        """Write what is left to write, and give the store up."""
        return


class StoreRefusedError(Exception):
    """The store cannot be used; the message says why and what to do."""
