"""Below ASGI: serves hot routes, and answers what the parser refuses like everything else. Knows uvicorn."""

import math
import secrets
import sys
from typing import Any

from httptools import HttpParserUpgrade
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api import body, head
from service.api.exchange import Exchange
from service.api.hot import Hot
from service.api.texts import dump
from service.errors import InvalidRequest


class Http(HttpToolsProtocol):
    """uvicorn's protocol, past which hot routes are served, and whose own refusal would be plain text without an id."""

    _rests_since = math.inf  # by the loop's clock: nothing is asked
    _parses = False  # the parser has a part of a request
    _upgraded = 0  # bytes of the data under way that end with a handshake
    _first: "Exchange | RequestResponseCycle | None" = None  # that is to answer

    def __init__(self, hot: Hot, most: int, **how: Any) -> None:
        super().__init__(**how)
        self.hot, self._most = hot, most  # bytes of a body

    def data_received(self, data: bytes) -> None:
        """Begin or go on with an exchange; what is not of one is for the parser, and a matter of ASGI."""
        if isinstance(self._first, Exchange) and self._first.more_body:
            data = self._first.take(data)
        elif not (self._parses or self.flow.write_paused) and (self.cycle is None or self.cycle.response_complete):
            data = self._begin(data)
        if data:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Leave data to the parser. What follows a handshake in them is for the protocol that it led to."""
        self._upgraded = 0
        super().data_received(data)
        if 0 < self._upgraded < len(data):
            self.transport.get_protocol().data_received(data[self._upgraded :])  # type: ignore[attr-defined]

    def _begin(self, data: bytes) -> bytes:
        """Begin an exchange, if data ask a hot route in the usual way → what of them is left."""
        request = head.read(data)
        if request is None or request.length > self._most or (found := self.hot.find(request.path)) is None:
            return data
        self._unset_keepalive_if_required()
        exchange = Exchange(self, found, request)
        self.cycle = self._first = exchange  # type: ignore[assignment]  # it has what is asked of a cycle
        end = request.size + request.length
        exchange.begin(data[request.size : end])
        return data[end:]

    def on_message_begin(self) -> None:
        """Leave to the parser what it has begun."""
        self._parses = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """See on_message_begin."""
        self._parses = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._first = cycle
        super()._start_asgi_task(cycle, app)

    def _unset_keepalive_if_required(self) -> None:
        self._rests_since = math.inf

    def on_response_complete(self) -> None:
        """Begin what was sent ahead, or wait for more: by one timer, since to set it at each answer took 2 µs."""
        rests_since = math.inf if self.pipeline else self.loop.time()
        if self.pipeline or self.timeout_keep_alive_task is None or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
        self._rests_since = rests_since

    def timeout_keep_alive_handler(self) -> None:
        """Close, unless the connection has not rested for so long."""
        left = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            left = min(left, self.timeout_keep_alive)
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who is to answer first too; uvicorn tells the last of those that were sent ahead."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        if self._first is not None and not self._first.response_complete:
            self._first.disconnected = True
            self._first.message_event.set()
        super().connection_lost(exc)
        self._first = self.cycle = None  # type: ignore[assignment]  # they know this

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to another protocol."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        self._first = self.cycle = None  # type: ignore[assignment]  # as above
        super().handle_websocket_upgrade()
        upgrade = sys.exception()  # by which the parser tells where it stopped
        assert isinstance(upgrade, HttpParserUpgrade)
        self._upgraded = upgrade.args[0]

    def shutdown(self) -> None:
        """Wait for no body that is still on its way: nothing of its call was accepted."""
        if self._first is not None and self._first.more_body:
            self.transport.close()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP request, and close."""
        self.transport.write(refusal(msg))
        self.transport.close()


def refusal(detail: str) -> bytes:
    """An answer to bytes that are no HTTP request."""
    content = dump(InvalidRequest(detail).problem())
    lines = (
        f"HTTP/1.1 400 Bad Request\r\ncontent-type: {body.PROBLEM}\r\ncontent-length: {len(content)}\r\n"
        f"x-request-id: {secrets.token_urlsafe(12)}\r\nconnection: close\r\n\r\n"
    )
    return lines.encode() + content
