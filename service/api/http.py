"""Below ASGI: what the parsers refuse is answered like everything else. Knows uvicorn; nothing of Carousel."""

import secrets

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service.api import body
from service.errors import InvalidRequest


class Http(HttpToolsProtocol):
    """uvicorn's protocol, whose own refusal would be plain text without a request id."""

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP request, and close."""
        self.transport.write(_refusal(msg))
        self.transport.close()


class WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which would never answer a handshake that cannot be parsed, and would close while the client
    still sends: the reset overtakes the close code.
    """

    def data_received(self, data: bytes) -> None:
        """Refuse a handshake that cannot be parsed; it may have a body, say."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(_refusal(f"no WebSocket handshake: {self.conn.handshake_exc}"))
            self.transport.close()

    def handle_parser_exception(self) -> None:
        """Say why (1009: a frame over the limit), then discard what still comes until the client closes."""
        if self.close_timer is not None:
            return
        told = self.conn.close_sent
        assert told is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": told.code, "reason": told.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.close_sent = True
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)


def _refusal(detail: str) -> bytes:
    content = body.dump(InvalidRequest(detail).problem())
    head = (
        f"HTTP/1.1 400 Bad Request\r\ncontent-type: {body.PROBLEM}\r\ncontent-length: {len(content)}\r\n"
        f"x-request-id: {secrets.token_urlsafe(12)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + content
