"""Clients of the stream that outlive a server: they name their steps, and send again what was not answered."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from service.models.model import Array, State
from tests.chaos.reference import Reference
from tests.wire.binary import Item, answer, request
from tests.wire.frames import BINARY, TEXT, Frames

_DEPTH = 3  # frames in flight: with the last answered one as many as answers are kept
_LATER = {"overloaded", "shutting_down", "store_unavailable", "commit_unknown"}
GONE = (OSError, asyncio.IncompleteReadError, TimeoutError, AssertionError)


class Violation(Exception):
    """The server answered what it must not."""


class _TryLater(OSError):
    """The server cannot answer now."""


@dataclass(eq=False)
class Stream:
    """A session as its client knows it."""

    id: str
    state: State  # after all that was sent
    step: int = 0  # that was answered
    sent: int = 0  # steps that were sent
    opened: bool = False
    channel: int = 0


@dataclass(eq=False)
class Sent:
    """A frame, and what its answer has to be."""

    streams: list[Stream]
    starts: list[int]
    inputs: list[Array]
    expected: list[Array]

    def items(self) -> list[Item]:
        told = zip(self.streams, self.inputs, self.starts, strict=True)
        return [Item(stream.channel, inputs, start) for stream, inputs, start in told]


@dataclass
class Figures:
    """What was seen."""

    steps: int = 0  # answered
    frames: int = 0  # answered
    replayed: int = 0  # frames that were sent again after they were answered
    resumed: int = 0  # sessions, on a new connection
    harms: Counter[str] = field(default_factory=Counter)  # of Redis and of its owners
    unnamed: int = 0  # steps answered of clients that name none
    resent: int = 0  # calls that were answered, and lost by a server that writes behind


class Client:
    """One socket after another, over sessions of one model."""

    def __init__(
        self,
        model: str,
        reference: Reference,
        streams: int,
        seed: int,
        figures: Figures,
        *,
        behind: float = 0.0,
        leaves: float = 0.0,
    ) -> None:
        self._leaves = leaves  # how often it hangs up after an answer, for another worker to have its sessions
        self._behind, self._answered = behind, deque[tuple[float, Sent]]()  # what was answered so many seconds before
        self._model, self._reference, self._figures = model, reference, figures
        self._rng = np.random.default_rng(seed)
        self.streams = [Stream(f"{model}-{seed}-{index}", reference.zero()) for index in range(streams)]
        self._pending: list[Sent] = []
        self._last: Sent | None = None

    async def run(self, port: Callable[[], int], stop: asyncio.Event) -> None:
        """Send until `stop`, then until all is answered. `port` tells that of the server that lives."""
        while True:
            frames = None
            try:
                frames = await Frames.dial(port())
                await self._resume(frames)
                while not stop.is_set() or self._pending:
                    await self._exchange(frames, more=not stop.is_set())
                    if self._rng.random() < self._leaves:
                        raise _TryLater("by another worker")
                return
            except GONE as error:
                if isinstance(error, AssertionError) and "HTTP/1.1 503" not in str(error):
                    raise
                await asyncio.sleep(0.1)
            finally:
                if frames is not None:
                    frames.hang_up()

    async def _resume(self, frames: Frames) -> None:
        for stream in self.streams:
            await frames.send([orjson.dumps({"id": 1, "open": {"model": self._model, "session": stream.id}})])
            told = await self._hear_text(frames)
            opened = told["opened"]
            stream.channel = opened["channel"]
            if stream.opened and opened["created"]:
                raise Violation(f"session {stream.id} is lost at step {stream.step}")
            if self._behind and opened["step"] < stream.step:
                await self._send_again(frames, stream, opened["step"])
                opened["step"] = stream.step
            if not stream.step <= opened["step"] <= stream.sent:
                raise Violation(f"{stream.id} stands at {opened['step']}, not {stream.step} to {stream.sent}")
            self._figures.resumed += stream.opened
            stream.opened = True
        for sent in ([self._last] if self._last else []) + self._pending:
            await frames.send([request(0, sent.items())], BINARY)
            self._check(sent, await self._hear(frames))
            if sent is self._last:
                self._figures.replayed += 1
        for sent in self._pending:
            self._acknowledge(sent)
        self._pending = []

    async def _send_again(self, frames: Frames, stream: Stream, step: int) -> None:
        """Send the answered calls of a session again that the server has lost, within its promise."""
        for _, sent in self._answered:
            place = sent.streams.index(stream)
            if sent.starts[place] < step:
                continue
            if sent.starts[place] != step:
                break
            one = Sent([stream], [step], [sent.inputs[place]], [sent.expected[place]])
            await frames.send([request(0, one.items())], BINARY)
            self._check(one, await self._hear(frames))
            step += len(one.inputs[0])
            self._figures.resent += 1
        if step != stream.step:
            raise Violation(f"{stream.id} has lost more than was promised: it is back at {step} of {stream.step}")

    async def _exchange(self, frames: Frames, *, more: bool) -> None:
        while more and len(self._pending) < _DEPTH:
            sent = self._make()
            self._pending.append(sent)
            await frames.send([request(0, sent.items())], BINARY)
        content = await self._hear(frames)
        told = answer(content)
        sent = next(one for one in self._pending if [s.channel for s in one.streams] == list(told.steps))
        self._check(sent, content)
        self._pending.remove(sent)
        self._acknowledge(sent)

    def _make(self) -> Sent:
        """The next steps of some sessions; all of them in every frame, so that they are answered in order."""
        lengths = np.where(self._rng.random(len(self.streams)) < 0.9, 1, self._rng.integers(1, 9, len(self.streams)))
        inputs = [self._reference.inputs(self._rng, int(length)) for length in lengths]
        moved = self._reference.advance([stream.state for stream in self.streams], inputs)
        starts = [stream.sent for stream in self.streams]
        for stream, one, (_, state) in zip(self.streams, inputs, moved, strict=True):
            stream.state, stream.sent = state, stream.sent + len(one)
        return Sent(self.streams, starts, inputs, [outputs for outputs, _ in moved])

    def _check(self, sent: Sent, content: bytes) -> None:
        told = answer(content)
        for stream, start, expected in zip(sent.streams, sent.starts, sent.expected, strict=True):
            if told.steps[stream.channel] != start + len(expected):
                raise Violation(f"{stream.id} is at {told.steps[stream.channel]}, not {start + len(expected)}")
            if told.outputs[stream.channel].tobytes() != expected.tobytes():
                raise Violation(f"{stream.id} from step {start}: {told.outputs[stream.channel]}, not {expected}")

    def _acknowledge(self, sent: Sent) -> None:
        for stream, start, expected in zip(sent.streams, sent.starts, sent.expected, strict=True):
            stream.step = start + len(expected)
            self._figures.steps += len(expected)
        self._last = sent
        self._figures.frames += 1
        if self._behind:
            now = time.monotonic()
            self._answered.append((now, sent))
            while self._answered[0][0] < now - self._behind:
                self._answered.popleft()

    async def _hear(self, frames: Frames) -> bytes:
        kind, content = await frames.hear()
        if kind == TEXT:
            self._refused(orjson.loads(content))
        if kind != BINARY:
            raise _TryLater(f"frame of kind {kind}")
        return content

    async def _hear_text(self, frames: Frames) -> dict[str, object]:
        kind, content = await frames.hear()
        if kind != TEXT:
            raise _TryLater(f"frame of kind {kind}")
        told = orjson.loads(content)
        if "error" in told:
            self._refused(told)
        return dict(told)

    def _refused(self, told: dict[str, dict[str, Any]]) -> None:
        code, expected = told["error"]["code"], told["error"].get("expected_step")
        here = [stream for stream in self.streams if stream.channel == told.get("channel")]
        # a part of the frame before failed, and is told when all of it has ended
        overtakes = code == "step_conflict" and all(one.step <= expected <= one.sent for one in here)
        if code not in _LATER and not overtakes:
            raise Violation(str(told))
        raise _TryLater(code)
