"""A request of a hot route and its answer: from its head to the last byte of both. Knows HTTP; nothing of Carousel."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, Protocol

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from service.api import body
from service.api.head import Head
from service.api.hot import LEFT, Asked, Hot, Route
from service.errors import CarouselError
from service.reply import Reply

_log = logging.getLogger("carousel.request")


class Connection(Protocol):
    """What an exchange needs of its connection."""

    hot: Hot
    transport: asyncio.Transport
    server_state: ServerState

    def on_response_complete(self) -> None:
        """On to the next exchange."""


class Exchange:
    """A request of a hot route and its answer, where uvicorn has a cycle of its own: it looks at the public attributes,
    and tells by `message_event` that the connection is lost.

    The route runs without a task, in company (`cohort`): it begins with the head, and goes on when what it waits for is
    there. It may answer before the body is there; the rest is then thrown away.
    """

    more_body, keep_alive, disconnected, response_complete = True, True, False, False
    # None of these is kept once the answer is written: a connection may rest, and nobody should wait for the collector.
    _asked: Asked | None = None
    _running: Coroutine[Any, Any, Response] | None = None
    _response: Response | None = None

    def __init__(self, connection: Connection, found: tuple[str, Route, str], request: Head) -> None:
        self._connection, self._found, self._request, self._begin = connection, found, request, time.perf_counter()
        self._pieces = list[bytes]()  # of a body that is still on its way
        self._missing = request.length  # bytes of it
        self._context = copy_context()  # of its log lines

    def begin(self, content: bytes) -> None:
        """Begin, with what has come of the body."""
        self._missing -= len(content)
        self.more_body = self._missing > 0
        if self.more_body:
            self._pieces.append(content)
        self._asked = Asked(self._request.headers, self._request.length, None if self.more_body else content)
        self._running = self._run(self._asked)
        self._later()

    def take(self, data: bytes) -> bytes:
        """Take what data have of the rest of the body → what is left of them."""
        mine, rest = data[: self._missing], data[self._missing :]
        self._missing -= len(mine)
        self.more_body = self._missing > 0
        if self._asked is None:
            if not self.more_body:
                self._finish()
            return rest
        self._pieces.append(mine)
        if not self.more_body:
            content, self._pieces = b"".join(self._pieces), []
            self._asked.arrive(content)
        return rest

    @property
    def message_event(self) -> "Exchange":
        """What uvicorn tells."""
        return self

    def set(self) -> None:
        """See message_event."""
        if self._asked is not None:
            self._asked.leave()

    async def _run(self, asked: Asked) -> Response:
        _, route, name = self._found
        self._id = self._connection.hot.edge.name(self._request.headers)
        try:
            return await route(asked, name)
        except CarouselError as error:
            return body.problem(error)
        except Exception:
            _log.exception("%s", self._request.path.decode("ascii"))
            return body.problem(CarouselError())

    def _later(self, _: object = None) -> None:
        self._connection.hot.cohort.add(self._go_on)

    def _go_on(self) -> None:
        self._context.run(self._advance)

    def _advance(self) -> None:
        try:
            if self._response is None:
                self._run_on()
            else:
                self._answer(self._response)
        except Exception:
            _log.exception("%s", self._request.path.decode("ascii"))
            self._connection.transport.abort()

    def _run_on(self) -> None:
        try:
            future = self._running.send(None)  # type: ignore[union-attr]  # it is there until it answers
        except StopIteration as done:
            self._response = done.value
            self._later()
        except asyncio.CancelledError:
            self._end(LEFT)
            self._connection.transport.abort()
        else:
            if future is None:  # it lets others come first
                self._later()
            elif isinstance(future, Reply):
                future.at_once = self._later
                if future.hurry is not None and self._connection.hot.cohort.alone:
                    future.hurry()
            else:
                future.add_done_callback(self._later)

    def _answer(self, response: Response) -> None:
        self._end(response.status_code)
        if self.disconnected:
            return
        connection = self._connection
        headers = [*connection.server_state.default_headers, *response.raw_headers, (b"x-request-id", self._id)]
        if not self.keep_alive:
            headers.append((b"connection", b"close"))
        fields = [b"%b: %b\r\n" % header for header in headers]
        connection.transport.write(b"".join((STATUS_LINE[response.status_code], *fields, b"\r\n", response.body)))
        if not self.more_body:
            self._finish()

    def _end(self, status: int) -> None:
        self._running = self._response = self._asked = None
        self._pieces.clear()
        self._connection.hot.edge.note("POST", self._found[0], self._request.path.decode("ascii"), status, self._begin)

    def _finish(self) -> None:
        """The answer is written and the body is through: on to the next exchange."""
        self.response_complete = True
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()
