"""Text frames of the stream: open a channel, step it, close it. Reads and decides; sends nothing."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from service.api import forecasts, views
from service.api.json.fields import fields, sequence
from service.api.stream.frames import View
from service.engine.call import Call
from service.errors import CarouselError, SessionExists, SessionNotFound
from service.models.repository import NAME, Repository
from service.sessions.reach import reach, vacant

if TYPE_CHECKING:
    from service.api.stream.channels import Channels
    from service.engine.engine import Engine
    from service.models.model import Array
    from service.sessions.session import Session
    from service.sessions.sessions import Sessions
    from service.settings import Settings

Tell = Callable[[View, int], None]  # an answer, and the bytes that its frame had in flight
Asked: TypeAlias = "tuple[Call, int, Engine]"  # the bytes that the call has in flight


def echo(frame: View) -> View:
    """What of a frame its answer repeats: the id, null where it cannot be read, and the channel."""
    id, channel = frame.get("id"), frame.get("channel")
    told: View = {"id": id if type(id) is int and 0 <= id < 2**32 else None}
    return told | ({"channel": channel} if type(channel) is int else {})


class Control:
    """What the text frames of one socket do. Futures are done at once, unless something waits on the session."""

    def __init__(self, repository: Repository, sessions: Sessions, settings: Settings, channels: Channels) -> None:
        self._repository, self._sessions, self._settings = repository, sessions, settings
        self._channels = channels
        self._forecasts: set[Future[Any]] = set()  # under way

    def leave(self) -> None:
        """The client has left: end its forecasts."""
        for forecast in [*self._forecasts]:
            forecast.cancel()

    def waits(self, frame: View) -> Callable[[], Awaitable[Any]] | None:
        """What a frame has to wait for: the end of a delete that was accepted before, or of a look elsewhere."""
        asked, channel = frame.get("open"), frame.get("channel")
        if isinstance(close := frame.get("close"), dict) and close.get("end") is True:
            channel = close.get("channel")
        if not isinstance(asked, dict):
            return self._channels.waits([channel]) if type(channel) is int else None
        id = asked.get("session")
        if not isinstance(id, str):
            return None
        if id in self._sessions.ending:
            return lambda: vacant(self._sessions, id)
        looking = self._sessions.missing(id)
        return None if looking is None else lambda: asyncio.wait([looking])

    def open(self, frame: View) -> Future[View]:
        """Open a channel: of a new session, or of one that exists."""
        fields(frame, "frame", {"id": int, "open": dict}, {})
        known = {"session": str, "version": str, "ttl_seconds": (int, float), "snapshots": dict, **views.BEGINNINGS}
        asked = fields(frame["open"], "open", {"model": str}, known)
        ttl, id, version = views.ttl(asked, self._settings), asked.get("session"), asked.get("version")
        session = self._resumed(id) if id is not None else None
        if session is None:
            engine, served = self._repository.new(asked["model"], version, id)
            self._channels.check_room()
            rule, state = views.rule(asked, engine.table.row_bytes, "open"), views.beginning(asked, served)
            told = partial(self._opened, created=True)
            opening = engine.lifecycle.open(id, ttl, told, rule=rule, state=state)
            if id is None or opening.done():
                return opening
            return asyncio.ensure_future(self._opened_or_resumed(opening, frame, id))
        session.belongs(asked["model"], version)
        self._repository.of(session)
        self._sessions.touch(session)
        return _done(self._opened(session, created=False))

    async def _opened_or_resumed(self, opening: Future[View], frame: View, id: str) -> View:
        """What an opening tells, or, where another process opened the id meanwhile, that it is resumed."""
        try:
            return await opening
        except SessionExists:
            await reach(self._sessions, id)
            return await self.open(frame)

    def close(self, frame: View) -> tuple[View, Future[Any]]:
        """Close a channel, and delete its session if that is asked too → the answer, and when to give it."""
        fields(frame, "frame", {"id": int, "close": dict}, {})
        asked = fields(frame["close"], "close", {"channel": int}, {"end": bool})
        channel = asked["channel"]
        session = self._channels.find(channel)
        deleted: Future[Any] = _done({})
        if asked.get("end") and session is not None and session.id not in self._sessions.ending:
            engine = cast("Engine", session.home)
            deleted = engine.lifecycle.delete(session)
        self._channels.close(channel)
        return {"closed": {"channel": channel}}, deleted

    def rewind(self, frame: View) -> Future[View]:
        """Set the session of a channel back to a kept snapshot."""
        fields(frame, "frame", {"id": int, "channel": int, "rewind": dict}, {})
        step = views.step(fields(frame["rewind"], "rewind", {"step": int}, {}), "rewind")
        session = self._channels.session(frame["channel"])
        engine, _ = self._repository.of(session)

        def told(session: Session) -> View:
            return {"rewound": views.session(self._sessions.stands(session), self._sessions.promises)}

        return engine.lifecycle.rewind(session, step, told)

    def forecast(self, frame: View, tell: Tell) -> int:
        """Forecast the session of a channel → the bytes that it has in flight."""
        fields(frame, "frame", {"id": int, "channel": int, "forecast": dict}, {})
        known = fields(frame["forecast"], "forecast", {}, {"inputs": object, "steps": int})
        session = self._channels.session(frame["channel"])
        engine, served = self._repository.of(session)
        feeding, written = forecasts.asked(known, served.description, "forecast")
        size = 12 * (len(feeding.inputs) + feeding.steps) * (engine.model.features + engine.model.outputs)
        told: View = {"id": frame["id"], "channel": frame["channel"]}

        def ended(answer: Future[tuple[Array, int]]) -> None:
            self._forecasts.discard(answer)
            if answer.cancelled():
                tell(told, size)  # to no client
            elif isinstance(error := answer.exception(), CarouselError):
                tell(told | {"error": error.problem()}, size)
            else:
                outputs, step = answer.result()
                tell(told | {"outputs": written(outputs), "step": step}, size)

        forecast = engine.forecasts.forecast(session, feeding)
        self._forecasts.add(forecast)
        forecast.add_done_callback(ended)
        return size

    def step(self, frame: View, tell: Tell) -> Asked:
        """What a step asks for."""
        fields(frame, "frame", {"id": int, "channel": int, "inputs": object}, {"step": int})
        channel = frame["channel"]
        session = self._channels.session(channel)
        engine, file = self._repository.of(session)
        step = views.step(frame, "frame")
        given = sequence(frame["inputs"], file.description.features, "inputs")
        size = 12 * len(given.inputs) * (engine.model.features + engine.model.outputs)  # in characters

        def ended(call: Call) -> None:
            view: View = {"id": frame["id"], "channel": channel}
            if call.errors:
                view["error"] = call.errors[0].problem()
            else:
                view["outputs"] = given.outputs(call.outputs, file.description.outputs)
                view["step"] = call.starts.item(0) + len(call.outputs)
            tell(view, size)

        asked = np.array([step])
        lengths = np.array([len(given.inputs)])
        return Call(np.array([session.row]), lengths, asked, given.inputs, ended), size, engine

    def _resumed(self, id: str) -> Session | None:
        """The session of that id, or None if it is to be made."""
        if not NAME.fullmatch(id):
            raise views.bad_name("open.session", id)
        try:
            return self._sessions.get(id)
        except SessionNotFound:
            return None

    def _opened(self, session: Session, *, created: bool) -> View:
        engine = cast("Engine", session.home)
        return {
            "opened": {
                "channel": self._channels.open(session, created=created),
                "session": session.id,
                "created": created,
                "step": session.ahead,
                **self._sessions.promises,
                "feature_count": engine.model.features,
                "output_count": engine.model.outputs,
                "version": session.version,
            }
        }


def _done(view: View) -> Future[View]:
    answer: Future[View] = asyncio.get_running_loop().create_future()
    answer.set_result(view)
    return answer
