"""Door two: `WS /v1/stream`. One socket carries any number of sessions; its frames are decoded, run and encoded.

A frame is accepted in the order sent, and answered when it is done: answers may overtake each other. What a socket has
in flight is bounded, so a slow reader stops its own writes and nothing else. Text frames are read in `control`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from service.api.aside import LARGE, MANY, Aside
from service.api.binary import Binary
from service.api.channels import Channels
from service.api.control import CONTROL, Control, View, echo
from service.api.frames import id_of
from service.api.socket import Socket
from service.api.texts import dump, parse
from service.engine import Engine
from service.errors import CarouselError, InvalidRequest, Overloaded
from service.repository import Repository
from service.sessions import Sessions
from service.settings import Settings
from service.work import Call

_IN_FLIGHT = 4 * 2**20  # bytes of frames and answers that one socket may have under way
_AHEAD = 4 * 2**20  # bytes that are read while they wait: a client that sends before it reads is not stopped at once
_GOING_AWAY, _FAILED = 1001, 1011  # close codes

_log = logging.getLogger("carousel.stream")

Waits = Callable[[], Awaitable[Any]]


class Streams:
    """All open sockets."""

    def __init__(self, repository: Repository, sessions: Sessions, settings: Settings, aside: Aside) -> None:
        self._parts = (repository, sessions, settings, aside)
        self._open: set[Stream] = set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._open)

    def serve(self, socket: Socket) -> None:
        """Serve one socket until it is lost or the server drains."""
        stream = Stream(socket, *self._parts)
        self._open.add(stream)
        stream.task = asyncio.create_task(self._run(stream))

    async def _run(self, stream: "Stream") -> None:
        try:
            await stream.run(reading=not self._draining)
        finally:
            self._open.discard(stream)
            stream.finished.set()

    def stop(self) -> None:
        """Read no more frames, from now on."""
        self._draining = True
        for stream in self._open:
            stream.stop()

    async def drained(self) -> None:
        """Return when the accepted frames are answered and the sockets closed with 1001."""
        await asyncio.gather(*(stream.finished.wait() for stream in self._open))


class Stream:
    """One socket. Invariant: frames are taken in the order sent; those in the backlog wait for what `_take` named."""

    def __init__(
        self, socket: Socket, repository: Repository, sessions: Sessions, settings: Settings, aside: Aside
    ) -> None:
        self._socket, self._channels, self._aside = socket, Channels(sessions), aside
        self._control = Control(repository, sessions, settings, self._channels)
        self._binary = Binary(self._channels, self._send, self._tell)
        self._backlog: deque[bytes | str] = deque()
        self._behind = 0  # bytes of it
        self._reading: asyncio.Future[View] | None = None  # of its first frame, if that is a large text
        self._pump: asyncio.Task[None] | None = None
        self._under_way = 0  # frames that are accepted and not answered
        self._in_flight = 0  # bytes of them, and of answers that the client has not read
        self._unread = 0  # of these, the answers
        self._landed = asyncio.Event()  # less is in flight
        self._stopped = asyncio.Event()
        self._failed = False
        self.finished = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        socket.attach(self._message, self._writable, self.stop)

    async def run(self, *, reading: bool) -> None:
        """Take frames until the socket is lost or `stop` is called; then wait for the answers under way and close."""
        if not reading:
            self.stop()
        await self._stopped.wait()
        for waiting in (self._pump, self._reading):
            if waiting is not None:
                waiting.cancel()
        self._backlog.clear()
        while self._under_way:
            self._landed.clear()
            await self._landed.wait()
        self._socket.close(_FAILED if self._failed else _GOING_AWAY)

    def stop(self) -> None:
        """Accept no further frame."""
        self._socket.discard()
        self._stopped.set()

    # Frames in.

    def _message(self, frame: bytes | str) -> None:
        if self._pump is None and self._take(frame) is None:
            return
        self._backlog.append(frame)
        self._behind += len(frame) + CONTROL
        if self._behind > _AHEAD:
            self._socket.hold()
        if self._pump is None:
            self._pump = asyncio.create_task(self._work_off())

    async def _work_off(self) -> None:
        """Take the backlog in its order, each frame when there is room for it; then read on."""
        while self._backlog and not self._stopped.is_set():
            if (wait := self._take(self._backlog[0])) is None:
                self._behind -= len(self._backlog.popleft()) + CONTROL
                self._reading = None
            else:
                await wait()
        self._pump = None
        self._socket.go_on()

    def _take(self, frame: bytes | str) -> Waits | None:
        """Accept a frame, or refuse it by an error; or return what it has to wait for."""
        if self._in_flight > _IN_FLIGHT:
            self._landed.clear()
            return self._landed.wait
        try:
            return self._binary_frame(frame) if isinstance(frame, bytes) else self._text_frame(frame)
        except Exception as error:
            _log.error("a stream failed", exc_info=error)
            self._failed = True
            self.stop()
            return None

    def _binary_frame(self, content: bytes) -> Waits | None:
        told: View = {}
        try:
            return self._submit(*self._binary.call(content, told))
        except CarouselError as error:
            self._refuse({"id": id_of(content)} | told, error)
            return None

    def _text_frame(self, text: str) -> Waits | None:
        told: View = {"id": None}
        if len(text) > LARGE:
            if (reading := self._reading) is None:
                reading = self._reading = asyncio.ensure_future(self._aside.parse(text.encode(), patient=True))
            if not reading.done():
                return lambda: asyncio.wait([reading])
        try:
            frame = parse(text) if self._reading is None else self._reading.result()
            told = echo(frame)
            if told["id"] is None:
                raise InvalidRequest("id: not a whole number from 0 to 4294967295")
            if "open" in frame:
                if (wait := self._control.waits(frame)) is not None:
                    return wait
                self._say(told | self._control.opened(frame))
            elif "close" in frame:
                self._close(told, *self._control.closed(frame))
            else:
                return self._submit(*self._control.step(frame, self._tell))
        except CarouselError as error:
            self._refuse(told, error)
        return None

    def _submit(self, call: Call, size: int, engine: Engine) -> Waits | None:
        try:
            engine.submit(call)
        except Overloaded:
            return engine.freed
        self._count(size)
        return None

    def _close(self, told: View, view: View, deleted: "asyncio.Future[None] | None") -> None:
        if deleted is None:
            self._say(told | view)
            return

        def done(future: "asyncio.Future[None]") -> None:
            error = future.exception()
            self._tell(told | ({"error": error.problem()} if isinstance(error, CarouselError) else view), CONTROL)

        self._count(CONTROL)
        deleted.add_done_callback(done)

    # Answers out.

    def _refuse(self, told: View, error: CarouselError) -> None:
        self._say(told | {"error": error.problem()})

    def _say(self, view: View) -> None:
        """Answer at once."""
        self._count(CONTROL)
        self._tell(view, CONTROL)

    def _tell(self, view: View, size: int) -> None:
        numbers = getattr(view.get("outputs"), "size", 0)
        if numbers <= MANY:
            self._send(dump(view), size, text=True)
            return

        def written(answer: "asyncio.Future[bytes]") -> None:
            try:
                text = answer.result()
            except CarouselError as error:
                text = dump({"id": view["id"], "channel": view["channel"], "error": error.problem()})
            self._send(text, size, text=True)

        asyncio.ensure_future(self._aside.dump(view, numbers)).add_done_callback(written)

    def _count(self, size: int) -> None:
        self._under_way += 1
        self._in_flight += size

    def _send(self, answer: bytes, size: int, *, text: bool = False) -> None:
        """Send the answer of a frame that had `size` bytes in flight; if the socket was lost it is kept for a retry."""
        self._under_way -= 1
        if self._socket.answer(answer, text=text):
            self._in_flight -= size
        else:  # an error may be longer than what its frame was reckoned for
            held = max(size, len(answer))
            self._in_flight += held - size
            self._unread += held
        self._landed.set()

    def _writable(self) -> None:
        """The client has read what was sent."""
        self._in_flight -= self._unread
        self._unread = 0
        self._landed.set()
