"""One worker of several: a process that serves, tells the supervisor that it lives, and asks the others through it.

`python -m service.workers.worker N` is what the supervisor runs; N is the descriptor of its end of the channel.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from service.workers.channel import Channel, FailedError, LostError, Order, connect

BEATS = 5  # a worker tells so many times within a lease that it lives
_PR_SET_PDEATHSIG = 1


class Worker:
    """What a worker knows of the others. `answers` are what they may ask it, by name: parts add theirs."""

    def __init__(self, end: socket.socket, order: Order) -> None:
        self._end, self.order = end, order
        self._every = order.settings.store_lease_seconds / BEATS
        self.answers: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {"others": self._hear}
        self.unready: str | None = "the others have not started"  # why others should get no traffic
        self.count = order.settings.workers - 1  # of the others
        self._channel: Channel | None = None

    async def run(self, unready: Callable[[], str | None]) -> None:
        """Send heartbeats, and why this process should get no traffic.

        This process ends when the supervisor does: only that one keeps it and its successor apart.
        """
        self._channel = await connect(self._end, self.answers)
        while not self._channel.closed.is_set():
            self._channel.tell("alive", unready())
            try:
                await asyncio.wait_for(self._channel.closed.wait(), self._every)
            except TimeoutError:
                continue
        os.kill(os.getpid(), signal.SIGKILL)

    def ask(self, what: str, *given: Any) -> asyncio.Future[Any]:
        """Ask the supervisor."""
        assert self._channel is not None
        return self._channel.ask(what, *given)

    def tell(self, what: str, *given: Any) -> None:
        """Tell the supervisor."""
        assert self._channel is not None
        self._channel.tell(what, *given)

    async def ask_others(self, what: str, *given: Any) -> list[Any]:
        """Ask all other workers that serve → their answers; those that do not answer in time are left out."""
        try:
            answers: list[Any] = await self.ask("ask_others", what, given)
        except (LostError, FailedError):
            return []
        return answers

    async def _hear(self, unready: str | None) -> None:
        self.unready = unready


def main(descriptor: int) -> None:
    """Serve as the supervisor orders."""
    from service.server import serve

    if sys.platform == "linux":  # a stopped worker too ends with its supervisor
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    end = socket.socket(fileno=descriptor)
    order = Order.receive(end)
    serve(order.settings, Worker(end, order))


if __name__ == "__main__":
    main(int(sys.argv[1]))
