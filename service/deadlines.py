"""Until when callers wait for the first chunk of their calls. Knows calls and the loop's timers; it fails nobody."""

import asyncio
from collections.abc import Callable, Iterable

from service.work import Call, Patience


class Deadlines:
    """Those that may still pass. Invariant: each has a timer, unless it is at no time."""

    def __init__(self, clock: Callable[[], float], passed: Callable[[Patience], None]) -> None:
        self._clock, self._passed = clock, passed
        self._armed: set[Patience] = set()

    def __len__(self) -> int:
        return len(self._armed)

    def __contains__(self, patience: Patience) -> bool:
        return patience in self._armed

    def add(self, call: Call, patience: Patience) -> None:
        """A call that waits so long was accepted."""
        patience.calls[call] = None
        self._arm(patience)

    def extend(self, patience: Patience, other: Patience | None) -> None:
        """Wait until the later of both; None waits for ever."""
        if not patience.taken:
            patience.deadline = max(patience.deadline, float("inf") if other is None else other.deadline)
            self._arm(patience)

    def done(self, call: Call, patience: Patience) -> None:
        """One of its calls is done."""
        del patience.calls[call]
        if not patience.calls:
            self._disarm(patience)

    def run(self, calls: Iterable[Call]) -> None:
        """These are about to run: those whose deadline has passed do not, and for the others it means nothing more."""
        for call in calls:
            patience = call.patience
            if patience is None or patience not in self._armed:
                continue
            if self._clock() >= patience.deadline:
                self._passed(patience)
            else:
                patience.taken = True
                self._disarm(patience)

    def _arm(self, patience: Patience) -> None:
        if patience.timer is not None:
            patience.timer.cancel()
        self._armed.add(patience)
        left = max(0.0, patience.deadline - self._clock())
        if left < float("inf"):
            patience.timer = asyncio.get_running_loop().call_later(left, self._passed, patience)

    def _disarm(self, patience: Patience) -> None:
        self._armed.discard(patience)
        if patience.timer is not None:
            patience.timer.cancel()  # the loop would hold its arrays until then
            patience.timer = None
