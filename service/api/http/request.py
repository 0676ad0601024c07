"""Requests for steps and predicts: what is asked, and the head of those that are written as most clients write them.

A turn of the HTTP parser through Python costs as much as reading such a head at a glance, and a request takes eight.
"""

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol

from starlette.responses import Response
from uvicorn.server import ServerState

from service.api.http import body
from service.api.http.head import HOST
from service.errors import CarouselError

STEPS, MANY, PREDICT = "/v1/sessions/{id}/steps", "/v1/models/{model}/steps", "/v1/models/{model}/predict"
INFER = "/v2/models/{model}/infer"
LEFT = 499  # the status that is counted where the client left before the answer

_FIRST = re.compile(
    rb"POST (/v1/(?:sessions/([\w.:@-]++)|models/([\w.:@-]++))/(steps|predict)"
    rb"|/v2/models/([\w.:@-]++)(?:/versions/([\w.:@-]++))?/infer) HTTP/1\.1\r\n"
)
_LINES = re.compile(rb"(?:[\w-]++: [ -~]*+\r\n)*+")
_LINE = re.compile(rb"([\w-]++): ([ -~]*+)\r\n")
_LENGTH = re.compile(rb"[0-9]{1,9}")
_OTHERWISE = frozenset(  # what changes how a request is read, or comes from a browser
    (b"content-encoding", b"expect", b"origin", b"sec-fetch-site", b"transfer-encoding", b"upgrade")
)
_KEEP_ALIVE = b"keep-alive"
_LONGEST = 2048  # bytes of a head that is read here: `_read` remembers so many of them
_REMEMBERED = 1024  # heads of one client differ in little but the length of the body


class Asked(ABC):
    """One request. Invariant: `answer` is called once, or never if the client has left a predict."""

    __slots__ = ("abandon", "content", "headers", "left", "length", "name", "route", "version")

    def __init__(self, route: str, name: str, headers: Mapping[bytes, bytes], length: int) -> None:
        self.route, self.name, self.headers, self.length = route, name, headers, length
        self.version: str | None = None  # of the model, if the query names one
        self.content = b""  # the body
        self.left = False  # the client has
        self.abandon: Callable[[], None] | None = None  # what the client has left

    @abstractmethod
    def answer(self, response: Response) -> None:
        """Take the answer."""

    def refuse(self, error: CarouselError) -> None:
        """Take an error as the answer."""
        self.answer(body.refusal(error, self.route))

    def leave(self) -> bool:
        """The client has left → whether the call is abandoned, and has no answer."""
        self.left = True
        if self.abandon is None:
            return False
        self.abandon()
        return True


class Awaited(Asked):
    """A request by the application, which awaits the answer."""

    __slots__ = ("response",)

    def __init__(self, route: str, name: str, headers: Mapping[bytes, bytes], content: bytes) -> None:
        super().__init__(route, name, headers, len(content))
        self.content = content
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def answer(self, response: Response) -> None:
        """See Asked."""
        if not self.response.done():
            self.response.set_result(response)

    def leave(self) -> bool:
        """See Asked."""
        if super().leave():
            self.answer(Response(status_code=LEFT))
        return self.response.done()


class Connection(Protocol):
    """What a request needs of its connection."""

    server_state: ServerState

    def answer(self, request: "Request", response: Response) -> None:
        """Write an answer."""

    def hears(self, request: "Request") -> bool:
        """Whether a plain answer to this request can be written now by `write`."""

    def write(self, text: bytes) -> None:
        """Write the whole answer to the request."""


class Request(Asked):
    """A request that its connection has read itself."""

    __slots__ = ("_pieces", "begin", "connection", "id", "missing", "path")

    def __init__(self, connection: Connection, head: "Head") -> None:
        super().__init__(head.route, head.name, head.headers, head.length)
        self.connection, self.path, self.version = connection, head.path, head.version
        self.id = b""  # see `Edge.id`
        self.begin = time.perf_counter()
        self.missing = head.length  # bytes of the body
        self._pieces: list[bytes] = []

    def take(self, data: bytes, at: int, *, keep: bool = True) -> int:
        """Take what data have of the body from `at` on, or throw it away → where the rest of them begins."""
        end = min(at + self.missing, len(data))
        piece = data[at:end]
        self.missing -= len(piece)
        if not keep:
            self._pieces.clear()
        elif self.missing:
            self._pieces.append(piece)
        elif self._pieces:
            self.content, self._pieces = b"".join((*self._pieces, piece)), []
        else:
            self.content = piece
        return end

    def answer(self, response: Response) -> None:
        """See Asked."""
        self.connection.answer(self, response)


class Head(NamedTuple):
    """Of a POST to one of the routes, by a connection that stays open, with its body as it is in one piece of HTTP."""

    path: bytes
    route: str
    name: str  # of the session or model in the path
    headers: Mapping[bytes, bytes]  # by name in small letters; each comes once
    end: int  # where the head ends in the data
    length: int  # bytes of the body
    version: str | None = None  # of the model


def read(data: bytes, at: int) -> Head | None:
    """The head with which data begin at `at`, if all of it is there and it is like most."""
    first = _FIRST.match(data, at)
    end = data.find(b"\r\n\r\n", at, at + _LONGEST)
    if first is None or end < 0 or (lines := _read(data[first.end() : end + 2])) is None:
        return None
    path, session, model, verb, inferred, version = first.groups()
    if inferred is not None:
        told = None if version is None else version.decode("ascii")
        return Head(path, INFER, inferred.decode("ascii"), lines[0], end + 4, lines[1], told)
    if session is None:
        return Head(path, MANY if verb == b"steps" else PREDICT, model.decode("ascii"), lines[0], end + 4, lines[1])
    if verb == b"predict":
        return None
    return Head(path, STEPS, session.decode("ascii"), lines[0], end + 4, lines[1])


@lru_cache(_REMEMBERED)
def _read(lines: bytes) -> tuple[Mapping[bytes, bytes], int] | None:
    """The headers in these lines and the length that they tell, if they are like most."""
    if not _LINES.fullmatch(lines):
        return None
    found = _LINE.findall(lines)
    headers = {name.lower(): value.strip() for name, value in found}
    length = headers.get(b"content-length", b"0")
    like = (
        len(headers) == len(found)
        and _OTHERWISE.isdisjoint(headers)
        and HOST.fullmatch(headers.get(b"host", b" "))
        and headers.get(b"connection", _KEEP_ALIVE).lower() == _KEEP_ALIVE
        and _LENGTH.fullmatch(length)
    )
    return (headers, int(length)) if like else None
