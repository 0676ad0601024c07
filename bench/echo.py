"""The floor of the edge: uvicorn, set as the service sets it, and an application that reads and answers."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send


class Echo:
    """Answers every request with the bytes of a real answer; a frame too, under the frame's own id."""

    def __init__(self, answer: bytes) -> None:
        head, _, body = answer.partition(b"\r\n\r\n")
        self._body = body if head.startswith(b"HTTP/") else answer
        lines = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]] if body else []
        self._headers = [(name, value) for name, value in lines if name != b"date"]  # uvicorn adds it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "websocket":
            await self._frames(receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})

    async def _frames(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        after_id = self._body[4:]
        while (message := await receive())["type"] == "websocket.receive":
            frame = message["bytes"]
            await send({"type": "websocket.send", "bytes": frame[:4] + after_id})


def serve(app: ASGIApp, ws: Callable[..., asyncio.BaseProtocol] | str = "websockets-sansio") -> None:
    """An application on the port of the command line, by uvicorn as the service sets it."""
    uvicorn.run(
        app,
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        ws=ws,  # type: ignore[arg-type]  # one of uvicorn's names, or a protocol
        ws_max_size=2**26,
        ws_per_message_deflate=False,
        ws_ping_timeout=None,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )


if __name__ == "__main__":
    serve(Echo(Path(sys.argv[1]).read_bytes()))
