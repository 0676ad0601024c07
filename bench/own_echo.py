"""The floor below our own connection of a stream: uvicorn's handshake, our frames, an answer that is always there."""

import asyncio
import sys
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from service.api.websocket import Socket, WebSocket


class Echo:
    """Answers every frame with the bytes of a real answer, under the frame's own id."""

    def __init__(self, answer: bytes) -> None:
        self._after_id = answer[4:]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, until the stream is attached."""
        await receive()
        await send({"type": "websocket.accept"})
        socket: Socket = scope["extensions"]["carousel.socket"]  # type: ignore[index]  # our connection put it there
        lost = asyncio.Event()
        socket.attach(lambda frame: self._answer(socket, frame), lambda: None, lost.set)
        await lost.wait()

    def _answer(self, socket: Socket, frame: bytes | str) -> None:
        assert isinstance(frame, bytes)
        socket.answer(frame[:4] + self._after_id, text=False)


if __name__ == "__main__":
    uvicorn.run(
        Echo(Path(sys.argv[1]).read_bytes()),
        port=int(sys.argv[2]),
        loop="uvloop",
        ws=WebSocket,
        ws_max_size=2**26,
        ws_per_message_deflate=False,
        ws_ping_timeout=None,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )
