"""Streams over an engine of running sums, whose sockets are not there: frames go in, answers come out."""

import struct
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import orjson

from service.api.http.browser import Browsers
from service.api.json.pool import JsonPool
from service.api.stream.streams import Streams
from service.models.description import Column, Description
from service.settings import Settings
from tests.fakes import until
from tests.service.engine.serving import Serving
from tests.wire.binary import UNCHECKED, Item, answer, request


class FakeSocket:
    """What a stream sees of a connection, and what it did to it."""

    headers: ClassVar[dict[bytes, bytes]] = {}  # of a client that is no browser

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.reads, self.held, self.code = True, False, 0
        self.transport = SimpleNamespace(pause_reading=self.hold, resume_reading=self.go_on)

    def hold(self) -> None:
        self.held = True

    def go_on(self) -> None:
        self.held = False

    def attach(self, take: Any, writable: Any, lost: Any) -> None:
        self.take, self.writable, self.lost = take, writable, lost

    def discard(self) -> None:
        self.take = lambda message: None

    def answer(self, content: bytes, *, text: bool) -> bool:
        self.answers.append(content)
        return self.reads

    def close(self, code: int) -> None:
        self.code = self.code or code


class Sockets:
    """Any number of sockets to one engine."""

    def __init__(self, it: Serving) -> None:
        described = SimpleNamespace(description=Description((Column("x"),), (Column("sum"),), ""))
        repository: Any = SimpleNamespace(
            new=lambda model, version, name: (it.engine, described),
            of=lambda session: (it.engine, described),
            file=lambda engine: described,
        )
        settings = Settings()
        self.streams = Streams(repository, it.sessions, settings, JsonPool(10**6, 10**6), Browsers(settings))

    def open(self, *ids: str) -> FakeSocket:
        """A socket whose channels 1, 2, … are these sessions."""
        socket = FakeSocket()
        self.streams.serve(cast("Any", socket))
        for id in ids:
            socket.take(orjson.dumps({"id": 0, "open": {"model": "model", "session": id}}).decode())
        assert len(socket.answers) == len(ids)
        socket.answers.clear()
        return socket


def frame(id: int, *items: tuple[int, Sequence[float]], step: int = UNCHECKED) -> bytes:
    """A binary frame of (channel, values)."""
    return request(id, [Item(channel, np.array(values, np.float32)[:, None], step) for channel, values in items])


def text(id: int, channel: int, values: Sequence[float]) -> str:
    """A text frame that steps a channel."""
    return orjson.dumps({"id": id, "channel": channel, "inputs": [[value] for value in values]}).decode()


def told(content: bytes) -> tuple[int, dict[int, tuple[int, list[float]]] | str]:
    """An answer: its id, and by channel the next step and the sums; or the code of the error."""
    if content[:1] != b"{":
        read = answer(content)
        return read.id, {channel: (step, read.outputs[channel][:, 0].tolist()) for channel, step in read.steps.items()}
    view = orjson.loads(content)
    if "error" in view:
        return view["id"], view["error"]["code"]
    return view["id"], {view["channel"]: (view["step"], [sums[0] for sums in view["outputs"]])}


async def answered(socket: FakeSocket, count: int) -> dict[int, Any]:
    """So many answers, by id."""
    await until(lambda: len(socket.answers) >= count)
    assert len(socket.answers) == count
    return dict(told(content) for content in socket.answers)


NAN = struct.unpack("<f", b"\0\0\xc0\x7f")[0]
