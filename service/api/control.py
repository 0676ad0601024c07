"""Text frames of the stream: open a channel, step it, close it. Reads and decides; sends nothing."""

from asyncio import Future
from collections.abc import Awaitable, Callable
from typing import Any

from service.api import views
from service.api.channels import Channels
from service.api.values import fields, sequence
from service.engine import Engine
from service.errors import CarouselError, SessionNotFound
from service.lifetimes import vacant
from service.models.repository import NAME, Repository
from service.sessions import Session, Sessions
from service.settings import Settings
from service.work import One

View = dict[str, Any]
Tell = Callable[[View, int], None]  # an answer to send, and the bytes that its frame had in flight
CONTROL = 1024  # bytes that any frame counts for, beside its numbers


def echo(frame: View) -> View:
    """What of a frame its answer repeats: the id, null where it cannot be read, and the channel."""
    id, channel = frame.get("id"), frame.get("channel")
    told: View = {"id": id if type(id) is int and 0 <= id < 2**32 else None}
    return told | ({"channel": channel} if type(channel) is int else {})


class Control:
    """What the text frames of one socket do."""

    def __init__(self, repository: Repository, sessions: Sessions, settings: Settings, channels: Channels) -> None:
        self._repository, self._sessions, self._settings = repository, sessions, settings
        self._channels = channels

    def waits(self, frame: View) -> Callable[[], Awaitable[Any]] | None:
        """What an `open` has to wait for: the end of a session of that id whose delete was accepted before."""
        asked = frame.get("open")
        id = asked.get("session") if isinstance(asked, dict) else None
        return (lambda: vacant(self._sessions, id)) if isinstance(id, str) and id in self._sessions.ending else None

    def opened(self, frame: View) -> View:
        """Open a channel: of a new session, or of one that exists."""
        fields(frame, "frame", {"id": int, "open": dict}, {})
        known = {"session": str, "version": str, "ttl_seconds": (int, float)}
        asked = fields(frame["open"], "open", {"model": str}, known)
        ttl, id, version = views.ttl(asked, self._settings), asked.get("session"), asked.get("version")
        session = self._resumed(id) if id is not None else None
        created = session is None
        if session is None:
            engine, file = self._repository.ready(asked["model"], version)
            self._channels.room()
            session = engine.lifetimes.open_now(id, ttl)
        else:
            session.belongs(asked["model"], version)
            engine, file = self._repository.ready(session.model, session.version)
            self._sessions.touch(session)
        return {
            "opened": {
                "channel": self._channels.open(session, engine, file, created=created),
                "session": session.id,
                "created": created,
                "step": session.ahead,
                "replay": self._sessions.budget.each,
                "feature_count": engine.model.features,
                "output_count": engine.model.outputs,
                "version": session.version,
            }
        }

    def closed(self, frame: View) -> tuple[View, "Future[None] | None"]:
        """Close a channel → what to say, once its session is deleted if that was asked too."""
        fields(frame, "frame", {"id": int, "close": dict}, {})
        asked = fields(frame["close"], "close", {"channel": int}, {"end": bool})
        channel = asked["channel"]
        session = self._channels.find(channel)
        deleted: Future[None] | None = None
        if asked.get("end") and session is not None and session.id not in self._sessions.ending:
            engine, _ = self._repository.ready(session.model, session.version)
            deleted = engine.lifetimes.delete(session)
        self._channels.close(channel)
        return {"closed": {"channel": channel}}, deleted

    def step(self, frame: View, tell: Tell) -> tuple[One, int, Engine]:
        """A call on a channel, the bytes it has in flight until it is told, and the engine to submit it to."""
        fields(frame, "frame", {"id": int, "channel": int, "inputs": object}, {"step": int})
        channel = frame["channel"]
        session, served = self._channels.session(channel)
        step = views.step(frame, "frame")
        given = sequence(frame["inputs"], served.file.description.features, "inputs")
        width = served.engine.model.features + served.engine.model.outputs
        size = CONTROL + 12 * len(given.inputs) * width  # about 12 characters a number

        def ended(call: One) -> None:
            view: View = {"id": frame["id"], "channel": channel}
            try:
                outputs, after = call.only()
                view |= {"outputs": given.outputs(outputs, served.file.description.outputs), "step": after}
            except CarouselError as error:
                view["error"] = error.problem()
            tell(view, size)

        return One(session.row, step, given.inputs, ended), size, served.engine

    def _resumed(self, id: str) -> Session | None:
        """The session of that id, or None if it is to be made."""
        if not NAME.fullmatch(id):
            raise views.bad_name("open.session", id)
        try:
            return self._sessions.get(id)
        except SessionNotFound:
            return None
