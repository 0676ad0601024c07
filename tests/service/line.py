"""The server's end of a connection without a socket: hot routes that wait for the test, and an application beside."""

import asyncio
from typing import Any

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from service.api.edge import REQUEST_ID, Edge
from service.api.hot import Asked, Hot
from service.api.http import Http
from service.errors import Overloaded
from service.reply import Reply

MOST = 1000  # bytes of a body


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = self.held = False

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
        """It has the test's own ways."""

    def pause_reading(self) -> None:
        self.held = True

    def resume_reading(self) -> None:
        self.held = False


class Line:
    """A connection; `/v1/sessions/ID/steps` echoes, `/v1/models/WHAT/predict` does what its name says."""

    def __init__(self) -> None:
        self.wire, self.edge, self.asked = Wire(), Edge(), []  # type: ignore[var-annotated]
        self.reply: Reply[bytes] = Reply()  # of an engine, to a predict
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # what the routes wait for
        hot = Hot({"/v1/sessions/{id}/steps": self._echo, "/v1/models/{model}/predict": self._do}, self.edge)
        config = Config(_by_asgi, ws="none", log_config=None, access_log=False, server_header=False)
        config.load()
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        self.http = Http(hot, MOST, config=config, server_state=state, app_state={})
        self.http.connection_made(self.wire)

    async def _echo(self, asked: Asked, id: str) -> Response:
        content = await asked.read()
        self.asked.append((id, asked))
        await asyncio.shield(self.turn)
        return Response(content, headers={"what": id})

    async def _do(self, asked: Asked, what: str) -> Response:
        if what == "overloaded":
            raise Overloaded("too much", retry_after_ms=1_500)
        if what == "replied":
            asked.leaving(self.reply.cancel)
            return Response(await self.reply, headers={"in": str(REQUEST_ID.get())})
        raise ZeroDivisionError(what)

    async def answers(self) -> list[bytes]:
        """What was written once the loop has nothing more to do."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.wire.written

    @property
    def counted(self) -> dict[tuple[str, str, int], int]:
        """Answers by method, route and status."""
        return dict(self.edge.answers)


async def _by_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await PlainTextResponse("by ASGI")(scope, receive, send)


def request(path: str = "/v1/sessions/s/steps", body: bytes = b"abc", *, verb: str = "POST", **headers: str) -> bytes:
    """Bytes of a request."""
    given = {"content-length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}\r\n" for name, value in given.items()]
    return f"{verb} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body


def parts(answer: bytes) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body."""
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), content
