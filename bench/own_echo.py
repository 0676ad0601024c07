"""The floor below a stream: the service's own handshake and connection, and an answer that is always there."""

import sys
from functools import partial
from pathlib import Path

from bench.echo import Echo, serve
from service.api.guard import Guard
from service.api.http.edge import Edge
from service.api.stream.websocket import Socket
from service.settings import Settings


class FrameEcho:
    """Answers every frame with the bytes of a real answer, under the frame's own id."""

    def __init__(self, answer: bytes) -> None:
        self._after_id = answer[4:]

    def serve(self, socket: Socket) -> None:
        """Attach to a connection."""
        socket.attach(partial(self._answer, socket), lambda: None, lambda: None)

    def _answer(self, socket: Socket, frame: bytes | str) -> None:
        assert isinstance(frame, bytes)
        socket.answer(frame[:4] + self._after_id, text=False)


if __name__ == "__main__":
    answer, settings = Path(sys.argv[1]).read_bytes(), Settings()
    ws = partial(Socket, FrameEcho(answer).serve, Edge(), Guard(settings), settings.max_body_bytes)
    serve(Echo(answer), ws)
