"""The blocking stream: an AsyncStream on a thread of its own; decides nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Self, TypeVar

import httpx
import numpy as np
from numpy.typing import ArrayLike

from carousel_client.async_stream import AsyncStream
from carousel_client.channels import ChannelView
from carousel_client.errors import CarouselError, ConnectionFailed
from carousel_client.exchange import Policy
from carousel_client.frames import Array, Inputs, Outputs
from carousel_client.lanes import Lane

T = TypeVar("T")


class Stream:
    """One WebSocket to the service, with any number of sessions on it. `with` closes it. Threads may share it.

    AsyncStream says what is guaranteed.
    """

    def __init__(self, url: httpx.URL, policy: Policy) -> None:
        self._stream = AsyncStream(url, policy, asyncio.sleep)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="carousel-stream", daemon=True)
        self._thread.start()

    def open(
        self,
        model: str,
        session: str | None = None,
        *,
        version: str | None = None,
        ttl_seconds: float | None = None,
        timeout: float | None = None,
    ) -> Channel:
        """See AsyncStream.open."""
        return Channel(self, self._run(self._stream._open(model, session, version, ttl_seconds, timeout)))

    def open_many(
        self,
        model: str,
        sessions: Iterable[str | None],
        *,
        version: str | None = None,
        ttl_seconds: float | None = None,
        timeout: float | None = None,
    ) -> list[Channel]:
        """See AsyncStream.open_many."""
        lanes = self._run(self._stream._open_many(model, sessions, version, ttl_seconds, timeout))
        return [Channel(self, lane) for lane in lanes]

    def step(self, channels: Sequence[ChannelView], inputs: Inputs, *, timeout: float | None = None) -> Outputs:
        """See AsyncStream.step."""
        return self._run(self._stream.step(channels, inputs, timeout=timeout))

    def submit(
        self, channels: Sequence[ChannelView], inputs: Inputs, *, timeout: float | None = None
    ) -> Future[Outputs]:
        """See AsyncStream.submit. The future cannot be cancelled; its `result` may be waited for more than once."""
        answer: Future[Outputs] = Future()
        answer.set_running_or_notify_cancel()
        self._run(self._stream._submit(channels, inputs, timeout, answer))
        return answer

    def close(self) -> None:
        """See AsyncStream.close."""
        self._end(self._stream.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._end(self._stream.__aexit__(*error))

    def __repr__(self) -> str:
        return repr(self._stream).replace("Async", "")

    def _end(self, closing: Coroutine[Any, Any, None]) -> None:
        if self._loop.is_closed():
            closing.close()
            return
        try:
            self._run(closing)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            call.close()
            raise ConnectionFailed("the stream is closed")
        result = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return result.result()
        except BaseException:
            result.cancel()
            raise


class Channel(ChannelView):
    """A session on a Stream. `with` closes it."""

    def __init__(self, stream: Stream, lane: Lane) -> None:
        super().__init__(lane)
        self._stream = stream

    def step(self, inputs: ArrayLike, *, timeout: float | None = None) -> Array:
        """Advance the session alone: by a row [F] → [K], or by [T, F] → [T, K]. See AsyncStream.step."""
        return self._stream.step([self], np.asarray(inputs)[None], timeout=timeout)[0]

    def close(self, *, end: bool | None = None, timeout: float | None = None) -> None:
        """Give the channel up once its calls are over. `end` deletes the session; None: if the client made its id."""
        self._stream._run(self._stream._stream._close(self._lane, end, timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        with suppress(*[CarouselError] if error else []):  # the block's own error says more
            self.close()
