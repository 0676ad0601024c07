"""Batches binary frames of one session each: all that arrive in one turn of the loop, on any socket.

They are decoded as one array and submitted as one call, and their answers are cut from one buffer. To take each by
itself costs half as much CPU again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.api.stream.frames import F4, I8, U4, failure, named
from service.engine.call import Call
from service.errors import CarouselError
from service.sessions.table import every

if TYPE_CHECKING:
    from service.api.stream.stream import Stream
    from service.engine.engine import Engine
    from service.models.model import Array, Index

_HEAD = 24  # bytes: id, n, channel, length, step
_LONGEST = 2**14  # bytes; longer frames gain nothing by batching
_ONE = b"\1\0\0\0"

_Frame: TypeAlias = "tuple[Stream, bytes]"


class Turn:
    """What a turn of the loop has brought. Invariant: frames of one session are taken in the order they came."""

    def __init__(self) -> None:
        self._frames: list[_Frame] = []
        self._came = 0  # frames of this turn
        self._lonely = True  # the last turn with frames had one: the next frame is taken at once

    def add(self, stream: Stream, content: bytes) -> bool:
        """Queue a short frame of one session until the turn ends, at the latest → whether it is one."""
        if content[4:8] != _ONE or not _HEAD < len(content) <= _LONGEST:
            return False
        self._frames.append((stream, content))
        stream.ahead = True
        self._came += 1
        if self._came == 1:
            asyncio.get_running_loop().call_soon(self._end)
            if self._lonely:
                self.flush()
        return True

    def flush(self) -> None:
        """Take the frames that have come so far: of each session the first, then the second of those that have one …"""
        frames, self._frames = self._frames, []
        if len(frames) == 1:
            [(stream, content)] = frames
            stream.ahead = False
            stream.take(content)
            return
        now = frames[0][0].channels.now() if frames else 0.0
        while frames:
            frames = self._take_first(frames, now)

    def _take_first(self, frames: list[_Frame], now: float) -> list[_Frame]:
        """Take the first frame of each session → the others."""
        groups: dict[tuple[Engine, int], _Group] = {}  # by engine and size
        taken: set[tuple[Engine, int]] = set()  # sessions, by engine and row
        others: list[_Frame] = []
        for one in frames:
            stream, content = one
            stream.ahead = False
            place = stream.channels.place(content[8:12], now)
            if place is None:
                stream.take(content)  # it is told what is wrong
            elif place in taken:
                others.append(one)
            else:
                taken.add(place)
                engine, row = place
                group = groups.get((engine, len(content)))
                if group is None:
                    group = groups[engine, len(content)] = _Group(engine)
                group.frames.append((stream, content, row))
        for group in groups.values():
            try:
                group.submit()
            except Exception as error:
                for stream, _, _ in group.frames:
                    stream.fail(error)
        return others

    def _end(self) -> None:
        self._lonely, self._came = self._came == 1, 0
        self.flush()


class _Group:
    """Frames of one size, of N different sessions of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.frames: list[tuple[Stream, bytes, int]] = []  # and the rows of their sessions
        self._words: NDArray[np.uint32]  # [N, size / 4] of the frames
        self._size = 0  # bytes that each of them has in flight

    def submit(self) -> None:
        """Submit the frames as one call. Where that cannot be, each is taken by itself."""
        streams, contents, rows = zip(*self.frames, strict=True)
        size, model = len(contents[0]), self.engine.model
        steps, rest = divmod(size - _HEAD, 4 * model.features)
        if rest or not steps or any([stream.pump for stream in streams]):  # noqa: C419  # a list is faster
            self._take_each()
            return
        words = np.frombuffer(b"".join(contents), U4).reshape(-1, size // 4)
        inputs = np.ascontiguousarray(words[:, 6:]).view(F4)
        if not (every(words[:, 3] == steps) and every(np.isfinite(inputs))):
            self._submit_good((words[:, 3] == steps) & np.isfinite(inputs).all(axis=1))
            return
        asked = np.ascontiguousarray(words[:, 4:6]).view(I8)[:, 0]
        if not every(asked >= 0):
            asked = named(asked)
        lengths, places = np.full(len(words), steps), range(len(words))
        call = Call(np.array(rows), lengths, asked, inputs.reshape(-1, model.features), self._ended, tags=places)
        self._words = words
        try:
            self.engine.submit(call)
        except CarouselError:
            self._take_each()
            return
        self._size = size + 4 * steps * model.outputs
        for stream in streams:
            stream.outbox.count(self._size)

    def _submit_good(self, good: NDArray[np.bool_]) -> None:
        """Take the frames at fault by themselves, so that they are told what is wrong, and submit the others."""
        others = _Group(self.engine)
        for one, fine in zip(self.frames, good.tolist(), strict=True):
            if fine:
                others.frames.append(one)
            else:
                one[0].take(one[1])
        if others.frames:
            others.submit()

    def _take_each(self) -> None:
        for stream, content, _ in self.frames:
            stream.take(content)

    def _ended(self, part: Call) -> None:
        """Answer the frames of some sessions, [n]."""
        assert part.tags is not None, "the places of its frames"
        places, steps, outputs = part.tags, part.starts + part.each, part.outputs
        if part.errors:
            for index, error in part.errors.items():
                stream, content, _ = self.frames[places[index]]
                view = failure(content, {int.from_bytes(content[8:12], "little"): error}, refused=part.refused)
                stream.outbox.tell(view, self._size)
            good = [index for index in range(len(places)) if index not in part.errors]
            if not good:
                return
            outputs = outputs.reshape(len(places), -1)[good]
            places, steps = [places[index] for index in good], steps[good]
        answers = self._answers(places, steps, outputs.reshape(len(places), -1))
        size = len(answers) // len(places)
        for place, at in zip(places, range(0, len(answers), size), strict=True):
            self.frames[place][0].outbox.answer(answers[at : at + size], self._size)

    def _answers(self, places: Sequence[int], steps: Index, outputs: Array) -> bytes:
        """Answers one behind the other: next steps [n], outputs [n, T · K]."""
        words = np.empty((len(places), 6 + outputs.shape[1]), U4)
        words[:, :4] = self._words[:, :4] if len(places) == len(self._words) else self._words[places, :4]
        words[:, 4:6] = steps.astype(I8, copy=False).view(U4).reshape(-1, 2)
        words[:, 6:] = outputs.astype(F4, copy=False).view(U4)
        return words.tobytes()
