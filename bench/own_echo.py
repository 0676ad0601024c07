"""The floor below our own connection of a stream: uvicorn's handshake, our frames, an answer that is always there."""

import asyncio
import sys
from pathlib import Path

from service.api.websocket import Socket, WebSocket
from starlette.types import Receive, Scope, Send

from bench.echo import serve


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
    serve(Echo(Path(sys.argv[1]).read_bytes()), WebSocket)
