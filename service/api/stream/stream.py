"""The stream, `WS /v1/stream`: one socket carries any number of sessions; its frames are decoded, run and encoded.

A frame is accepted in the order sent, and answered when it is done: answers may overtake each other. What a socket has
in flight is bounded, so a client that does not read stops its own writes and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from service.api.json.codec import parse
from service.api.json.pool import LARGE
from service.api.stream.control import Asked, Control, echo
from service.api.stream.frames import View, failure, id_of, numbers, read
from service.api.stream.outbox import IN_FLIGHT, OVERHEAD, Outbox
from service.engine.call import Call
from service.errors import CarouselError, InvalidRequest, Overloaded

if TYPE_CHECKING:
    from service.api.stream.channels import Channels
    from service.api.stream.streams import Streams
    from service.api.stream.websocket import Socket

_AHEAD = 4 * 2**20  # bytes that are read while they wait: a client that sends before it reads is not stopped at once
_AT_ONCE = 64  # frames taken before others have a turn
_GOING_AWAY, _FAILED = 1001, 1011  # close codes

_log = logging.getLogger("carousel.stream")

Waits = Callable[[], Awaitable[Any]]


class Stream:
    """One socket. Invariant: frames are taken in the order sent; those in the backlog wait for what `_take` named."""

    def __init__(self, all: Streams, socket: Socket, channels: Channels, control: Control) -> None:
        self._all, self._socket, self.channels, self._control = all, socket, channels, control
        self._turn, self.outbox = all.turn, Outbox(socket, all.pool)
        self._backlog: deque[bytes | str] = deque()
        self._behind = 0  # bytes of it
        self._reading: Future[View] | None = None  # of its first frame, if that is a large text
        self.pump: asyncio.Task[None] | None = None  # takes the backlog; None: no frame waits there
        self._taken = 0  # frames, since others had a turn
        self._stopped = self._failed = False
        self.refusal: CarouselError | None = None  # of every frame: a page can read it, and no refused handshake
        self.ahead = False  # frames of this socket are in the turn
        socket.attach(self._receive, self.outbox.writable, self._lost)

    def stop(self) -> None:
        """Accept no further frame; close when the accepted ones are answered."""
        if self._stopped:
            return
        self._stopped = True
        self._socket.discard()
        for waiting in (self.pump, self._reading):
            if waiting is not None:
                waiting.cancel()
        self._backlog.clear()
        self.outbox.when_empty(self._finish)

    def fail(self, error: Exception) -> None:
        """A defect of ours: close with 1011 when the accepted frames are answered."""
        _log.error("a stream failed", exc_info=error)
        self._failed = True
        self.stop()

    def _lost(self) -> None:
        self._control.leave()
        self.stop()

    def _finish(self) -> None:
        self._socket.close(_FAILED if self._failed else _GOING_AWAY)
        self._all.forget(self)

    # Frames in.

    def _receive(self, frame: bytes | str) -> None:
        if self.pump is None:
            if (
                self.refusal is None
                and isinstance(frame, bytes)
                and self.outbox.in_flight <= IN_FLIGHT
                and self._turn.add(self, frame)
            ):
                return
            if self.ahead:
                self._turn.flush()
        self.take(frame)

    def take(self, frame: bytes | str) -> None:
        """Take a frame, behind those that wait."""
        if self.pump is None and self._taken < _AT_ONCE and self._take(frame) is None:
            self._taken += 1
            return
        self._backlog.append(frame)
        self._behind += len(frame) + OVERHEAD
        if self._behind > _AHEAD:
            self._socket.transport.pause_reading()
        if self.pump is None:
            self.pump = asyncio.create_task(self._take_backlog())

    async def _take_backlog(self) -> None:
        """Take the backlog in its order, each frame when there is room for it; then read on."""
        while self._backlog and not self._stopped:
            if self._taken >= _AT_ONCE:
                self._taken = 0
                await asyncio.sleep(0)
            elif (wait := self._take(self._backlog[0])) is not None:
                await wait()
            else:
                self._taken += 1
                self._behind -= len(self._backlog.popleft()) + OVERHEAD
                self._reading = None
        self.pump = None
        self._socket.transport.resume_reading()

    def _take(self, frame: bytes | str) -> Waits | None:
        """Accept a frame, or refuse it by an error; or return what it has to wait for."""
        if self.outbox.in_flight > IN_FLIGHT:
            return self.outbox.landed
        told: View = {"id": id_of(frame) if isinstance(frame, bytes) else None}
        try:
            if self.refusal is not None:
                told.update(echo(parse(frame)) if isinstance(frame, str) and len(frame) <= LARGE else {})
                raise self.refusal
            return self._take_binary(frame, told) if isinstance(frame, bytes) else self._take_text(frame, told)
        except CarouselError as error:
            self.outbox.count(0)
            self.outbox.tell(told | {"error": error.problem()}, 0)
        except Exception as error:
            self.fail(error)
        return None

    def _take_binary(self, content: bytes, told: View) -> Waits | None:
        def blame(channel: int) -> None:
            told["channel"] = channel

        frame = read(content, blame)
        try:
            found = self.channels.rows(frame.channels, blame, self.channels.now())
        except CarouselError:
            if (wait := self.channels.waits(numbers(frame.channels))) is not None:
                return wait
            raise
        if found is None:
            return lambda: asyncio.sleep(0)
        rows, engine = found
        inputs = frame.inputs(self._all.columns(engine), blame)
        size = len(content) + 4 * len(inputs) * engine.model.outputs

        def ended(call: Call) -> None:
            if call.errors:
                channels = numbers(frame.channels)
                errors = {channels[row]: error for row, error in sorted(call.errors.items())}
                self.outbox.tell(failure(content, errors, refused=call.refused), size)
            else:
                self.outbox.answer(frame.answer(call.starts, call.outputs), size)

        call = Call(rows, frame.lengths, frame.asked, inputs, ended)
        if frame.steps == 1 and engine.run_alone(call):
            self.outbox.count(size)
            return None
        return self._submit((call, size, engine))

    def _take_text(self, text: str, told: View) -> Waits | None:
        if len(text) > LARGE:
            if (reading := self._reading) is None:
                reading = self._reading = asyncio.ensure_future(self._all.pool.parse(text.encode(), wait=True))
            if not reading.done():
                return lambda: asyncio.wait([reading])
        frame = parse(text) if self._reading is None else self._reading.result()
        told.update(echo(frame))
        if told["id"] is None:
            raise InvalidRequest("id: not a whole number from 0 to 4294967295")
        if (wait := self._control.waits(frame)) is not None:
            return wait
        if "open" in frame:
            self._tell_when_done(told, self._control.open(frame))
        elif "close" in frame:
            closed, deleted = self._control.close(frame)
            self._tell_when_done(told | closed, deleted)
        elif "rewind" in frame:
            self._tell_when_done(told, self._control.rewind(frame))
        elif "forecast" in frame:
            self.outbox.count(self._control.forecast(frame, self.outbox.tell))
        else:
            return self._submit(self._control.step(frame, self.outbox.tell))
        return None

    def _submit(self, asked: Asked) -> Waits | None:
        call, size, engine = asked
        try:
            engine.submit(call)
        except Overloaded:
            return engine.freed
        except CarouselError as error:
            engine.admission.refuse(error)
            raise
        self.outbox.count(size)
        return None

    def _tell_when_done(self, told: View, operation: Future[Any]) -> None:
        """Answer when an operation is done, with what it tells too."""

        def done(operation: Future[Any]) -> None:
            if isinstance(error := operation.exception(), CarouselError):  # raised here, it would hold this frame
                view = {key: told[key] for key in ("id", "channel") if key in told} | {"error": error.problem()}
            else:
                view = told | (operation.result() or {})
            self.outbox.tell(view, 0)

        self.outbox.count(0)
        if operation.done():
            done(operation)
        else:
            operation.add_done_callback(done)
