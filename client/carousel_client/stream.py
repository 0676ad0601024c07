"""The stream for threads: AsyncStream with calls that block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Unpack

from numpy.typing import ArrayLike

from carousel_client.async_channel import AsyncChannel
from carousel_client.async_stream import AsyncStream, OpenOptions
from carousel_client.blocking import Blocking, blocking, giving, run
from carousel_client.errors import CarouselError
from carousel_client.frames import Array, Inputs, Outputs, alone
from carousel_client.order import Call


class Channel(Blocking):
    """A session on a Stream. `with` closes it. AsyncChannel tells the attributes."""

    session: str
    model: str
    version: str
    created: bool
    next_step: int
    replay: int
    feature_count: int
    output_count: int

    close = blocking(AsyncChannel.close)
    forecast = blocking(AsyncChannel.forecast)
    rewind = blocking(AsyncChannel.rewind)

    def step(self, inputs: ArrayLike, *, timeout: float | None = None) -> Array:
        """Advance the session alone: by a row [F] → [K], or by [T, F] → [T, K]. See AsyncStream.step."""
        return _step(self._async._stream, [self], alone(inputs), timeout)[0]

    def resume(self) -> None:
        """After a failed `submit`: take calls again. See AsyncChannel.resume."""
        self._async.resume()


class Stream(Blocking):
    """One WebSocket to the service, with any number of sessions on it. `with` closes it. Threads may share it.

    AsyncStream says what is guaranteed.
    """

    close = blocking(AsyncStream.close)
    open = giving(Channel, AsyncStream.open)

    def open_many(self, model: str, sessions: Iterable[str | None], **options: Unpack[OpenOptions]) -> list[Channel]:
        """`open` for many sessions, without a round trip for each."""
        return [Channel(one) for one in run(self._async.open_many(model, sessions, **options))]

    def step(self, channels: Sequence[Channel], inputs: Inputs, *, timeout: float | None = None) -> Outputs:
        """Advance sessions of one model version, and wait for the outputs. See AsyncStream.step."""
        return _step(self._async, channels, inputs, timeout)

    def submit(self, channels: Sequence[Channel], inputs: Inputs, *, timeout: float | None = None) -> Future[Outputs]:
        """See AsyncStream.submit. The future cannot be cancelled; its `result` may be waited for more than once."""
        answer: Future[Outputs] = Future()
        answer.set_running_or_notify_cancel()
        run(self._async._submit([one._async for one in channels], inputs, timeout, answer))
        return answer


def _step(stream: AsyncStream, channels: Sequence[Channel], inputs: Inputs, timeout: float | None) -> Outputs:
    answer: Future[Outputs] = Future()
    calls: list[Call] = []

    async def start() -> None:
        calls.append(stream._start([one._async for one in channels], inputs, timeout, answer))

    async def give_up() -> None:
        for call in calls:
            stream._give_up(call)

    try:
        run(start())
        return answer.result()
    except CarouselError:
        raise
    except BaseException:  # an interrupt, as of Ctrl-C: even an answered call may be made again
        run(give_up())
        raise
