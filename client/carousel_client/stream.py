"""The stream for threads: AsyncStream with calls that block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Self

from carousel_client.async_stream import AsyncChannel, AsyncStream
from carousel_client.blocking import Blocking, blocking, run
from carousel_client.frames import Inputs, Outputs


class Stream(Blocking):
    """One WebSocket to the service, with any number of sessions on it. `with` closes it. Threads may share it.

    AsyncStream says what is guaranteed.
    """

    close = blocking(AsyncStream.close)

    def open(self, model: str, session: str | None = None, **options: Any) -> Channel:
        """A session, created or resumed. See AsyncStream.open."""
        return Channel(run(self._async.open(model, session, **options)))

    def open_many(self, model: str, sessions: Iterable[str | None], **options: Any) -> list[Channel]:
        """`open` for many sessions, without a round trip for each."""
        return [Channel(one) for one in run(self._async.open_many(model, sessions, **options))]

    def step(self, channels: Sequence[Channel], inputs: Inputs, *, timeout: float | None = None) -> Outputs:
        """Advance sessions of one model version, and wait for the outputs. See AsyncStream.step."""
        outputs: Outputs = run(self._async.step([one._async for one in channels], inputs, timeout=timeout))
        return outputs

    def submit(self, channels: Sequence[Channel], inputs: Inputs, *, timeout: float | None = None) -> Future[Outputs]:
        """See AsyncStream.submit. The future cannot be cancelled; its `result` may be waited for more than once."""
        answer: Future[Outputs] = Future()
        answer.set_running_or_notify_cancel()
        run(self._async._submit([one._async for one in channels], inputs, timeout, answer))
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        run(self._async.__aexit__(*error))


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

    step = blocking(AsyncChannel.step)
    close = blocking(AsyncChannel.close)

    def resume(self) -> None:
        """After a failed `submit`: take calls again. See AsyncChannel.resume."""
        self._async.resume()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        run(self._async.__aexit__(*error))
