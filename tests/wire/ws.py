"""One WebSocket to the service, spoken to frame by frame."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from websockets.sync.client import ClientConnection, connect

Frame = dict[str, Any]


class Socket:
    """`tell` sends, `hear` receives, `ask` does both."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def tell(self, frame: Frame | str | bytes) -> None:
        self.connection.send(orjson.dumps(frame).decode() if isinstance(frame, dict) else frame)

    def hear(self) -> Frame:
        text = self.connection.recv(timeout=10)
        assert isinstance(text, str)
        told: Frame = orjson.loads(text)
        return told

    def ask(self, frame: Frame | str | bytes) -> Frame:
        self.tell(frame)
        return self.hear()

    def open(self, model: str, session: str | None = None, **more: Any) -> Frame:
        """What `opened` says."""
        named = {} if session is None else {"session": session}
        opened: Frame = self.ask({"id": 1, "open": {"model": model, **named, **more}})["opened"]
        return opened


@contextmanager
def dial(url: str) -> Iterator[Socket]:
    """A socket, closed afterwards."""
    with connect(url, max_size=None, compression=None, proxy=None, open_timeout=10) as connection:
        yield Socket(connection)
