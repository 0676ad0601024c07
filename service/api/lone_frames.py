"""Binary frames of one session each: those that one turn of the loop brings, of all sockets, are taken together.

They are decoded as one array and submitted as one call, and their answers are cut from one buffer. To take each by
itself costs twice the CPU.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.api.frames import F4, I8, OVERHEAD, U4, failure, id_of, named_steps
from service.engine.call import Call
from service.errors import CarouselError
from service.sessions.table import every

if TYPE_CHECKING:
    from service.api.stream import Stream
    from service.engine.engine import Engine
    from service.models.model import Array, Index

_HEAD = 24  # bytes: id, n, channel, length, step
_LONGEST = 2**14  # bytes; a longer frame gains nothing by company
_ONE = b"\1\0\0\0"


def is_lone(content: bytes) -> bool:
    """Whether a frame is of one session and short."""
    return _HEAD < len(content) <= _LONGEST and content[4:8] == _ONE


class Turn:
    """What a turn of the loop has brought. Invariant: frames of one session are taken in the order they came."""

    def __init__(self) -> None:
        self._frames: list[tuple[Stream, bytes]] = []
        self._engines: set[Engine] = set()  # that may have one step and nothing else to run
        self._ends = False  # its end is scheduled

    def add(self, stream: Stream, content: bytes) -> None:
        """Take a lone frame at the end of the turn."""
        self._frames.append((stream, content))
        if not self._ends:
            self._end_soon()

    def run_soon(self, engine: Engine) -> None:
        """Let an engine run at the end of the turn, if one step is all that it has."""
        self._engines.add(engine)
        if not self._ends:
            self._end_soon()

    def flush(self) -> None:
        """Take the frames that have come so far: of each session the first, then the second of those that have one …"""
        frames, self._frames = self._frames, []
        rounds: list[dict[tuple[Engine, int], _Group]] = []  # groups by engine and size
        counts: dict[tuple[Engine, int], int] = {}  # frames of a session, by its row
        now = time.monotonic()
        for stream, content in frames:
            stream.ahead = False
            try:
                row, engine = stream.channels.row(int.from_bytes(content[8:12], "little"), now)
            except CarouselError:
                stream.take(content)  # it is told what is wrong
                continue
            count = counts[engine, row] = counts.get((engine, row), 0) + 1
            if count > len(rounds):
                rounds.append({})
            key = engine, len(content)
            if (group := rounds[count - 1].get(key)) is None:
                group = rounds[count - 1][key] = _Group(engine)
            group.add(stream, content, row)
        for groups in rounds:
            for group in groups.values():
                if group.submit():
                    self._engines.add(group.engine)

    def _end_soon(self) -> None:
        self._ends = True
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        self._ends = False
        self.flush()
        engines, self._engines = self._engines, set()
        for engine in engines:
            engine.run_now()


class _Group:
    """Frames of one size, of N different sessions of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._streams: list[Stream] = []
        self._contents: list[bytes] = []
        self._rows: list[int] = []
        self._words: NDArray[np.uint32]  # [N, size / 4] of the frames

    def add(self, stream: Stream, content: bytes, row: int) -> None:
        """Add a frame."""
        self._streams.append(stream)
        self._contents.append(content)
        self._rows.append(row)

    def submit(self) -> bool:
        """Submit the frames as one call. Where that cannot be, each is taken by itself → whether it could."""
        size, features = len(self._contents[0]), self.engine.model.features
        steps, rest = divmod(size - _HEAD, 4 * features)
        if rest or not steps or any(stream.waits for stream in self._streams):
            return self._take_each()
        words = np.frombuffer(b"".join(self._contents), U4).reshape(-1, size // 4)
        inputs = np.ascontiguousarray(words[:, _HEAD // 4 :]).view(F4)
        if not (every(words[:, 3] == steps) and every(np.isfinite(inputs))):
            return self._take_each()
        asked = named_steps(np.ascontiguousarray(words[:, 4:6]).view(I8)[:, 0])
        lengths, places = np.full(len(words), steps), range(len(words))
        call = Call(np.array(self._rows), lengths, asked, inputs.reshape(-1, features), self._ended, tags=places)
        self._words, self._size = words, OVERHEAD + size + 4 * steps * self.engine.model.outputs
        try:
            self.engine.submit(call)
        except CarouselError:
            return self._take_each()
        for stream in self._streams:
            stream.count(self._size)
        return True

    def _take_each(self) -> bool:
        for stream, content in zip(self._streams, self._contents, strict=True):
            stream.take(content)
        return False

    def _ended(self, part: Call) -> None:
        """Answer the frames of some sessions."""
        assert part.tags is not None
        places, starts, outputs = part.tags, part.starts, part.outputs
        if part.errors:
            for index, error in part.errors.items():
                self._fail(places[index], error, refused=part.refused)
            good = [index for index in range(len(places)) if index not in part.errors]
            if not good:
                return
            outputs = outputs.reshape(len(places), -1)[good]
            places, starts = [places[index] for index in good], starts[good]
        answers = self._answers(places, starts + part.each, outputs.reshape(len(places), -1))
        width = len(answers) // len(places)
        for index, place in enumerate(places):
            self._streams[place].answer(answers[index * width : (index + 1) * width], self._size)

    def _answers(self, places: Sequence[int], steps: Index, outputs: Array) -> bytes:
        """The answers to the frames at these places [n], one behind the other: next steps [n], outputs [n, T · K]."""
        words = np.empty((len(places), _HEAD // 4 + outputs.shape[1]), U4)
        words[:, :4] = self._words[:, :4] if len(places) == len(self._words) else self._words[places, :4]
        words[:, 4:6] = steps.astype(I8, copy=False).view(U4).reshape(-1, 2)
        words[:, 6:] = outputs.astype(F4, copy=False).view(U4)
        return words.tobytes()

    def _fail(self, place: int, error: CarouselError, *, refused: bool) -> None:
        content = self._contents[place]
        errors = {int.from_bytes(content[8:12], "little"): error}
        self._streams[place].tell({"id": id_of(content)} | failure(errors, refused=refused), self._size)
