"""One WebSocket to the service, spoken to frame by frame."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from websockets.sync.client import ClientConnection, connect

from tests.wire.binary import Answer, Item, answer, request

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

    def hear_binary(self) -> Answer:
        content = self.connection.recv(timeout=20)
        assert isinstance(content, bytes), content
        return answer(content)

    def step(self, items: Sequence[Item], id: int = 0) -> Answer:
        """Send a binary frame and hear its answer."""
        self.tell(request(id, items))
        return self.hear_binary()

    def ask(self, frame: Frame | str | bytes) -> Frame:
        self.tell(frame)
        return self.hear()

    def open(self, model: str, session: str | None = None, **more: Any) -> Frame:
        """What `opened` says."""
        named = {} if session is None else {"session": session}
        opened: Frame = self.ask({"id": 1, "open": {"model": model, **named, **more}})["opened"]
        return opened

    def open_many(self, model: str, ids: Sequence[str]) -> list[int]:
        """The channels of many sessions; opened some at a time, as who never reads is held back."""
        channels = []
        for begin in range(0, len(ids), 500):
            some = ids[begin : begin + 500]
            for id in some:
                self.tell({"id": 1, "open": {"model": model, "session": id}})
            channels += [self.hear()["opened"]["channel"] for _ in some]
        return channels


@contextmanager
def dial(url: str) -> Iterator[Socket]:
    """A socket, closed afterwards."""
    with connect(url, max_size=None, compression=None, proxy=None, open_timeout=10) as connection:
        yield Socket(connection)
