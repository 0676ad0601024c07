"""The store's own clock: seconds that go on while a process lives, and between two as the system's clock tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_JUMP = 1.0  # seconds by which the system's clock has moved against the monotonic one


class Clock:
    """Jumps of the system's clock while a process lives do not count, nor does one that was set back between two."""

    def __init__(
        self, monotonic: Callable[[], float], wall: Callable[[], float], alive: tuple[float, float] | None
    ) -> None:
        """Go on from where a process was last seen alive: its seconds, and the system's clock then."""
        self.monotonic, self.wall = monotonic, wall
        seconds, then = alive or (wall(), wall())
        self.offset = seconds + max(0.0, wall() - then) - monotonic()  # to the clock of the table's deadlines
        self._apart = wall() - self.seconds()

    def seconds(self) -> float:
        """The time."""
        return self.monotonic() + self.offset

    def jumped(self) -> bool:
        """Whether the system's clock was set since the last time."""
        apart, self._apart = self._apart, self.wall() - self.seconds()
        return abs(apart - self._apart) > _JUMP
