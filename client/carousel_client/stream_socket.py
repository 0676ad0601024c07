"""One WebSocket of a stream: carries the frames of a StreamProtocol until it is lost, and says what the loss means."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from carousel_client.answers import Answer
from carousel_client.errors import AnswerTooLarge, CarouselError, ConnectionFailed, ForeignAnswer, Unavailable
from carousel_client.retry import PROXY_FAILURES
from carousel_client.stream_protocol import TOO_BIG, StreamProtocol

LOG = logging.getLogger("carousel_client.websocket")
LOG.addFilter(lambda record: "Authorization" not in str(record.args))  # of the headers, which websockets logs
FAILURES = (OSError, WebSocketException, ForeignAnswer, ValueError, EOFError)  # OSError: TimeoutError too
# A service whose queue is full does not read: it would not answer a ping.
OPTIONS: dict[str, Any] = {"compression": None, "ping_interval": None, "close_timeout": 2, "logger": LOG}


class Connect(connect):
    """A WebSocket to the service. Redirects are not followed."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """A redirect is a refusal."""
        return exc


class StreamSocket:
    """Sockets to `url`, one after the other; what the protocol has to send is sent when `news` is set."""

    def __init__(self, url: str, headers: Mapping[str, str], max_size: int, protocol: StreamProtocol) -> None:
        self.url = url
        self.news = asyncio.Event()
        self._options = {"additional_headers": headers, "max_size": max_size, **OPTIONS}
        self._protocol = protocol
        self._connection: ClientConnection | None = None

    def abort(self) -> None:
        """Lose the socket."""
        if self._connection is not None:
            self._connection.transport.abort()

    async def carry(self) -> float:
        """Send and receive over a new socket until it is lost; seconds to wait before the next one."""
        try:
            async with Connect(self.url, **self._options) as self._connection:
                self._protocol.connected()
                writer = asyncio.create_task(self._write(self._connection))
                try:
                    while True:
                        self._protocol.received(await self._connection.recv())
                        self.news.set()
                finally:
                    writer.cancel()
                    await asyncio.wait([writer])
        except FAILURES as failure:
            error, code, again = _meaning(failure)
            return self._protocol.lost(error, code=code, again=again)
        finally:
            self._connection = None

    async def _write(self, connection: ClientConnection) -> None:
        with suppress(ConnectionClosed):  # the reader meets it too
            while True:
                while (frame := self._protocol.next_frame()) is not None:
                    await connection.send(frame)
                self.news.clear()
                await self.news.wait()


def _meaning(failure: Exception) -> tuple[CarouselError, int | None, bool]:
    """Of one of FAILURES: the error, the close code of the service if any, and whether another socket may help."""
    if isinstance(failure, ForeignAnswer):
        return failure, None, False
    if isinstance(failure, ConnectionClosed):
        if failure.sent is not None and failure.sent.code == TOO_BIG and not failure.rcvd_then_sent:
            return AnswerTooLarge("a frame of more than max_answer_bytes"), None, False
        code = None if failure.rcvd is None else failure.rcvd.code
        return ConnectionFailed(f"the socket was lost: {failure}"), code, True
    if isinstance(failure, InvalidStatus):
        refused = failure.response
        error = Answer.of(refused.status_code, refused.headers, bytes(refused.body or b"")).error()
        return error, None, isinstance(error, Unavailable) or error.status in PROXY_FAILURES
    return ConnectionFailed(f"{type(failure).__name__}: {failure}"), None, not isinstance(failure, InvalidURI)
