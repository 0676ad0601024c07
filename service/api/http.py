"""Below ASGI: what the parsers refuse is answered like everything else. Knows uvicorn; nothing of Carousel."""

import secrets

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api import body
from service.errors import InvalidRequest


class Http(HttpToolsProtocol):
    """uvicorn's protocol, whose own refusal would be plain text without a request id."""

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP request, and close."""
        self.transport.write(refusal(msg))
        self.transport.close()


def refusal(detail: str) -> bytes:
    """An answer to bytes that are no HTTP request."""
    content = body.dump(InvalidRequest(detail).problem())
    head = (
        f"HTTP/1.1 400 Bad Request\r\ncontent-type: {body.PROBLEM}\r\ncontent-length: {len(content)}\r\n"
        f"x-request-id: {secrets.token_urlsafe(12)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + content
