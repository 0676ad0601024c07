"""A caller whose streams are cut: it resumes, sends again what may be unanswered, and keeps every answer it hears."""

import asyncio
import random
from typing import NoReturn

import numpy as np
import orjson
from websockets.asyncio.client import ClientConnection, connect

from bench import frames
from bench.check import Kept, WrongAnswerError
from bench.inputs import pool, rows_of
from bench.models import SIZES
from bench.servers import Server

_SESSIONS = 4  # of a caller, all in each of its frames
_WINDOW = 4  # frames in flight: as many answers as a session keeps
_LENGTHS = (1, 2, 3, 5, 8, 40)  # the last takes more than a chunk
_PATIENCE = 60.0
_ROWS = pool(SIZES["S"].inputs)


class Caller:
    """One caller of four sessions. Invariant: `_sent` are its last frames, first step → length, without a gap; what
    comes before them has been heard.
    """

    def __init__(self, server: Server, number: int, kept: Kept) -> None:
        self._url = server.url.replace("http", "ws") + "/v1/stream"
        self._sessions = range(_SESSIONS * number, _SESSIONS * (number + 1))
        self._random = random.Random(number)
        self._kept = kept
        self._sent: dict[int, int] = {}
        self._next = 0  # the first step that was never sent
        self._heard = 0  # the step behind the last answer
        self.answers = self.frames = 0

    async def run(self, cuts: int) -> None:
        """Connect, send, hear some of the answers, cut; at last hear all of them and delete the sessions."""
        for _ in range(cuts):
            socket, channels = await self._resume()
            missing = set(self._sent)
            for _ in range(self._random.randint(1, 2 * _WINDOW)):
                await self._send_new(socket, channels, missing)
            for _ in range(self._random.randint(0, len(missing))):
                await self._hear(socket, channels, missing)
            await self._cut(socket)
        socket, channels = await self._resume()
        missing = set(self._sent)
        while missing:
            await self._hear(socket, channels, missing)
        for channel in channels:
            await self._ask(socket, {"close": {"channel": channel, "end": True}}, "closed")
        await socket.close()

    async def _resume(self) -> tuple[ClientConnection, list[int]]:
        """A new socket with the four sessions; all frames that may be unanswered are sent again."""
        socket = await connect(self._url, max_size=None, compression=None, proxy=None)
        told = [
            await self._ask(socket, {"open": {"model": "S", "session": f"cut-{session}"}}, "opened")
            for session in self._sessions
        ]
        steps, channels = {one["step"] for one in told}, [one["channel"] for one in told]
        if len(steps) > 1 or not steps <= {self._next, *self._sent} or max(steps) < self._heard:
            _fail(f"resumed at {steps}; sent were {self._sent}, heard was up to {self._heard}")
        for step in self._sent:
            await socket.send(self._frame(channels, step))
        return socket, channels

    async def _ask(self, socket: ClientConnection, frame: dict[str, object], key: str) -> dict[str, int]:
        await socket.send(orjson.dumps({"id": 0, **frame}).decode())
        text = await asyncio.wait_for(socket.recv(), _PATIENCE)
        told = orjson.loads(text) if isinstance(text, str) else {}
        asked: dict[str, int] = told[key] if key in told else _fail(f"{frame} is answered {text!r}")
        return asked

    async def _send_new(self, socket: ClientConnection, channels: list[int], missing: set[int]) -> None:
        """Send a frame that was never sent; first hear the oldest if as many are kept as a session keeps answers."""
        if len(self._sent) == _WINDOW:
            oldest = next(iter(self._sent))
            while oldest in missing:
                await self._hear(socket, channels, missing)
            del self._sent[oldest]
        step, length = self._next, self._random.choice(_LENGTHS)
        self._sent[step] = length
        self._next += length
        self.frames += 1
        missing.add(step)
        await socket.send(self._frame(channels, step))

    def _frame(self, channels: list[int], step: int) -> bytes:
        inputs = np.stack([_ROWS[rows_of(session, step, self._sent[step])] for session in self._sessions])
        return frames.request(step, channels, step, inputs)

    async def _hear(self, socket: ClientConnection, channels: list[int], missing: set[int]) -> None:
        content = await asyncio.wait_for(socket.recv(), _PATIENCE)
        if isinstance(content, str):
            _fail(content)
        step, after, outputs = frames.answer(content, channels)
        if step not in missing or after != step + self._sent[step]:
            _fail(f"frame {step} of {missing} is answered with step {after}")
        missing.discard(step)
        self._heard = max(self._heard, after)
        self.answers += 1
        for session, one in zip(self._sessions, outputs, strict=True):
            self._kept[session].append((step, one))

    async def _cut(self, socket: ClientConnection) -> None:
        """At once, within a frame, or by a close that does not wait for the answers."""
        how = self._random.randrange(3)
        if how == 0:
            await socket.close()
            return
        if how == 1:
            part = self._random.randbytes(self._random.randint(0, 900))  # of a frame of 1 000 bytes
            socket.transport.write(b"\x82\xfe\x03\xe8key!" + part)
            await asyncio.sleep(0)
        socket.transport.abort()


def _fail(what: str) -> NoReturn:
    raise WrongAnswerError(what)
