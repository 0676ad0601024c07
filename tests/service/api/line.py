"""The server's end of a connection without a socket: a lane that answers when the test lets it, and an application."""

import asyncio
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from service.api.guard import Guard
from service.api.http import body
from service.api.http.connection import HttpConnection
from service.api.http.request import Request
from service.errors import Overloaded
from service.settings import Settings

MOST = 1000  # bytes of a body
OVERLOADED = "/v1/models/overloaded/predict"


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = self.held = False
        self.protocol: Any = None
        self.unread = 0  # bytes

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self.protocol
        return protocol

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        self.held = True

    def resume_reading(self) -> None:
        self.held = False


class Lane:
    """Echoes bodies once `turn` is set; to a model `overloaded` it answers before it has the body."""

    most = MOST

    @staticmethod
    def serves(host: bytes) -> bool:
        """Every name."""
        return True

    def __init__(self) -> None:
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked: list[Request] = []
        self.abandoned: list[str] = []
        self.counted: dict[tuple[str, int], int] = {}

    def early(self, request: Request) -> None:
        request.id = request.headers.get(b"x-request-id", b"ours")
        if request.name == "overloaded":
            request.answer(body.problem(Overloaded("too much", retry_after_ms=1_500)))

    def add(self, request: Request) -> None:
        self.early(request)
        if request.name == "overloaded":
            return
        self.asked.append(request)
        if request.name == "abandoned":
            request.abandon = lambda: self.abandoned.append(request.name)
        self.turn.add_done_callback(lambda _: request.answer(PlainTextResponse(request.content)))

    def note(self, request: Request, status: int) -> None:
        self.counted[request.route, status] = self.counted.get((request.route, status), 0) + 1


class Line:
    """A connection."""

    def __init__(self, **settings: Any) -> None:
        self.wire, self.lane, self.guard = Wire(), Lane(), Guard(Settings(**settings))
        config = Config(_by_asgi, ws="none", log_config=None, access_log=False, server_header=False)
        config.load()
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        self.http = HttpConnection(self.lane, self.guard, config=config, server_state=state, app_state={})
        self.http.connection_made(self.wire)

    def send(self, data: bytes) -> None:
        """Let data come, in one piece."""
        self.http.data_received(data)

    async def answers(self) -> list[bytes]:
        """What was written once the loop has nothing more to do."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.wire.written

    async def answer(self) -> tuple[str, dict[str, str], bytes]:
        """Status line, headers and body of all that was written."""
        return parts(b"".join(await self.answers()))


async def _by_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    more = scope["path"] != "/early"  # which is answered before its body is read
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    await PlainTextResponse("by ASGI")(scope, receive, send)


def request(path: str = "/v1/sessions/s/steps", body: bytes = b"abc", *, verb: str = "POST", **headers: str) -> bytes:
    """Bytes of a request."""
    given = {"host": "x", "content-length": str(len(body))}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}\r\n" for name, value in given.items()]
    return f"{verb} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body


def parts(answer: bytes) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body."""
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), content
