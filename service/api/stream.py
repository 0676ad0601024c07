"""The stream, `WS /v1/stream`: one socket carries any number of sessions; its frames are decoded, run and encoded.

A frame is accepted in the order sent, and answered when it is done: answers may overtake each other. What a socket has
in flight is bounded, so a client that does not read stops its own writes and nothing else.
"""

import asyncio
import logging
from asyncio import Future
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from service.api.channels import Channels
from service.api.control import Control, echo
from service.api.frames import OVERHEAD, Asked, Frame, View, id_of
from service.api.json_codec import dump, parse
from service.api.json_pool import LARGE, MANY, JsonPool
from service.api.lone_frames import Turn, is_lone
from service.api.socket import Socket
from service.engine.engine import Engine
from service.engine.sessions import Sessions
from service.errors import CarouselError, InvalidRequest, Overloaded
from service.models.model import Column
from service.models.repository import Repository
from service.settings import Settings

_IN_FLIGHT = 4 * 2**20  # bytes of frames and answers that one socket may have under way
_AHEAD = 4 * 2**20  # bytes that are read while they wait: a client that sends before it reads is not stopped at once
_AT_ONCE = 256  # frames taken before others have a turn
_GOING_AWAY, _FAILED = 1001, 1011  # close codes

_log = logging.getLogger("carousel.stream")

Waits = Callable[[], Awaitable[Any]]


class Streams:
    """All open sockets, and what they share."""

    def __init__(self, repository: Repository, sessions: Sessions, settings: Settings, pool: JsonPool) -> None:
        self._repository, self._sessions, self._settings = repository, sessions, settings
        self.pool, self.turn = pool, Turn()
        self._open: set[Stream] = set()
        self._closed = asyncio.Event()  # one of them was
        self._draining = False

    def __len__(self) -> int:
        return len(self._open)

    def serve(self, socket: Socket) -> None:
        """Serve a socket until it is lost or the server drains."""
        channels = Channels(self._sessions)
        stream = Stream(self, socket, channels, Control(self._repository, self._sessions, self._settings, channels))
        self._open.add(stream)
        if self._draining:
            stream.stop()

    def stop(self) -> None:
        """Read no more frames from now on; those that were read are accepted."""
        self._draining = True
        self.turn.flush()
        for stream in [*self._open]:
            stream.stop()

    async def drained(self) -> None:
        """Return when the accepted frames are answered and the sockets closed with 1001."""
        while self._open:
            self._closed.clear()
            await self._closed.wait()

    def forget(self, stream: "Stream") -> None:
        """A stream has answered all that it accepted, and takes no more."""
        self._open.discard(stream)
        self._closed.set()

    def columns(self, engine: Engine) -> Sequence[Column]:
        """The features of the model of an engine."""
        return self._repository.ready(engine.name, engine.version)[1].description.features


class Stream:
    """One socket. Invariant: frames are taken in the order sent; those in the backlog wait for what `_take` named."""

    def __init__(self, all: Streams, socket: Socket, channels: Channels, control: Control) -> None:
        self._all, self._socket, self.channels, self._control = all, socket, channels, control
        self._backlog: deque[bytes | str] = deque()
        self._behind = 0  # bytes of it
        self._reading: Future[View] | None = None  # of its first frame, if that is a large text
        self._pump: asyncio.Task[None] | None = None  # takes the backlog
        self._taken = 0  # frames, since others had a turn
        self._under_way = 0  # frames that are accepted and not answered
        self._in_flight = 0  # bytes of them, and of answers that the client has not read
        self._unread = 0  # of these, the answers
        self._landed = asyncio.Event()  # less is in flight
        self._stopped = self._failed = False
        self.ahead = False  # frames of this socket are in the turn
        socket.attach(self._receive, self._writable, self.stop)

    @property
    def waits(self) -> bool:
        """Whether frames wait in the backlog."""
        return self._pump is not None

    def stop(self) -> None:
        """Accept no further frame; close when the accepted ones are answered."""
        if self._stopped:
            return
        self._stopped = True
        self._socket.discard()
        for waiting in (self._pump, self._reading):
            if waiting is not None:
                waiting.cancel()
        self._backlog.clear()
        self._finish()

    def _finish(self) -> None:
        if not self._under_way:
            self._socket.close(_FAILED if self._failed else _GOING_AWAY)
            self._all.forget(self)

    # Frames in.

    def _receive(self, frame: bytes | str) -> None:
        if self._pump is None:
            if isinstance(frame, bytes) and is_lone(frame) and self._in_flight <= _IN_FLIGHT:
                self.ahead = True
                self._all.turn.add(self, frame)
                return
            if self.ahead:
                self._all.turn.flush()
        self.take(frame)

    def take(self, frame: bytes | str) -> None:
        """Take a frame, behind those that wait."""
        if self._pump is None and self._taken < _AT_ONCE and self._take(frame) is None:
            self._taken += 1
            return
        self._backlog.append(frame)
        self._behind += len(frame) + OVERHEAD
        if self._behind > _AHEAD:
            self._socket.transport.pause_reading()
        if self._pump is None:
            self._pump = asyncio.create_task(self._take_backlog())

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
        self._pump = None
        self._socket.transport.resume_reading()

    def _take(self, frame: bytes | str) -> Waits | None:
        """Accept a frame, or refuse it by an error; or return what it has to wait for."""
        if self._in_flight > _IN_FLIGHT:
            self._landed.clear()
            return self._landed.wait
        told: View = {"id": id_of(frame) if isinstance(frame, bytes) else None}
        try:
            if isinstance(frame, bytes):
                return self._submit(self._read(frame, told).call(self.answer, self.tell))
            return self._take_text(frame, told)
        except CarouselError as error:
            self.count(OVERHEAD)
            self.tell(told | {"error": error.problem()}, OVERHEAD)
        except Exception as error:
            _log.error("a stream failed", exc_info=error)
            self._failed = True
            self.stop()
        return None

    def _read(self, content: bytes, told: View) -> Frame:
        frame = Frame(content, lambda channel: told.update(channel=channel))
        frame.find(self.channels)
        frame.read_inputs(self._all.columns)
        return frame

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
        if "open" in frame:
            if (wait := self._control.waits(frame)) is not None:
                return wait
            self._tell_when_done(told, self._control.open(frame))
        elif "close" in frame:
            closed, deleted = self._control.close(frame)
            self._tell_when_done(told | closed, deleted)
        else:
            return self._submit(self._control.step(frame, self.tell))
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
        self.count(size)
        if len(call.inputs) == 1:
            self._all.turn.run_soon(engine)
        return None

    def _tell_when_done(self, told: View, operation: "Future[Any]") -> None:
        """Answer when an operation is done, with what it tells too."""

        def done(operation: "Future[Any]") -> None:
            try:
                view = told | (operation.result() or {})
            except CarouselError as error:
                view = {"id": told["id"], "error": error.problem()}
            self.tell(view, OVERHEAD)

        self.count(OVERHEAD)
        if operation.done():
            done(operation)
        else:
            operation.add_done_callback(done)

    # Answers out.

    def count(self, size: int) -> None:
        """A frame that was accepted has so many bytes in flight."""
        self._under_way += 1
        self._in_flight += size

    def tell(self, view: View, size: int) -> None:
        """Send JSON as the answer of a frame: see `answer`."""
        numbers = getattr(view.get("outputs"), "size", 0)
        if numbers <= MANY:
            self.answer(dump(view), size, text=True)
            return

        def written(answer: "Future[bytes]") -> None:
            try:
                text = answer.result()
            except CarouselError as error:
                text = dump({"id": view["id"], "channel": view["channel"], "error": error.problem()})
            self.answer(text, size, text=True)

        asyncio.ensure_future(self._all.pool.dump(view, numbers)).add_done_callback(written)

    def answer(self, content: bytes, size: int, *, text: bool = False) -> None:
        """Answer a frame that has `size` bytes in flight; if the socket is lost the answer is kept for a retry."""
        self._under_way -= 1
        if self._socket.answer(content, text=text):
            self._in_flight -= size
        else:  # an error may be longer than what its frame was counted for
            held = max(size, len(content))
            self._in_flight += held - size
            self._unread += held
        if self._pump is not None:
            self._landed.set()
        if self._stopped:
            self._finish()

    def _writable(self) -> None:
        """The client has read what was sent."""
        self._in_flight -= self._unread
        self._unread = 0
        self._landed.set()
