"""Door one: JSON over REST, `/v1`. Each route decodes, calls the engine and encodes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from fastapi import APIRouter, Request, Response

from service.api import forecasts, views
from service.api.http import body
from service.api.http.request import LEFT, MANY, PREDICT, STEPS
from service.api.json.fields import fields, sequence
from service.api.openapi import described
from service.api.session_pages import Bulk, copies
from service.errors import PayloadTooLarge, SessionExists, StateMismatch
from service.models.repository import NAME, Repository
from service.sessions import anywhere
from service.sessions.reach import reach, unused, vacant
from service.sessions.state_bytes import Seals, StateBytes, decode

if TYPE_CHECKING:
    from service.api.json.calls import JsonCalls
    from service.api.json.pool import JsonPool
    from service.engine.engine import Engine
    from service.models.model import OnnxModel
    from service.sessions.session import Session, Standing
    from service.sessions.sessions import Sessions
    from service.settings import Settings

_HEADER = 2**16  # bytes that a state as bytes has at most beside its numbers


class Rest:
    """The routes, over what they call."""

    def __init__(
        self, repository: Repository, sessions: Sessions, settings: Settings, calls: JsonCalls, pool: JsonPool
    ) -> None:
        self._repository, self._sessions, self._settings = repository, sessions, settings
        self._calls, self._pool = calls, pool
        self._bulk = Bulk(sessions)
        self._seals = Seals(settings.state_key.get_secret_value() if settings.state_key else "")

    def router(self) -> APIRouter:
        """All routes of `/v1` but the stream."""
        router = APIRouter()
        for verb, path, route in (
            ("GET", "/v1/models", self.models),
            ("GET", "/v1/models/{model}", self.model),
            ("POST", "/v1/models/{model}/predict", self.predict),
            ("POST", "/v1/models/{model}/sessions", self.open),
            ("POST", "/v1/models/{model}/steps", self.many_steps),
            ("GET", "/v1/sessions", self._bulk.sessions),
            ("DELETE", "/v1/sessions", self._bulk.delete_sessions),
            ("GET", "/v1/sessions/{id}", self.session),
            ("DELETE", "/v1/sessions/{id}", self.delete),
            ("POST", "/v1/sessions/{id}/steps", self.steps),
            ("POST", "/v1/sessions/{id}/fork", self.fork),
            ("POST", "/v1/sessions/{id}/rewind", self.rewind),
            ("POST", "/v1/sessions/{id}/forecast", self.forecast),
            ("POST", "/v1/sessions/{id}/migrate", self.migrate),
            ("GET", "/v1/sessions/{id}/state", self.read_state),
            ("PUT", "/v1/sessions/{id}/state", self.write_state),
        ):
            router.add_api_route(path, route, methods=[verb], **described(route.__name__))
        return router

    async def models(self) -> Response:
        """The models, their versions and states."""
        return body.answer(views.models(self._repository))

    async def model(self, model: str, version: str | None = None) -> Response:
        """What a model takes and gives."""
        return body.answer(views.model(*self._repository.ready(model, version)))

    async def predict(self, request: Request, model: str, version: str | None = None) -> Response:
        """Run whole sequences, each from the zero state."""
        return await self._calls.respond(request, PREDICT, model, version)

    async def open(self, request: Request, model: str, version: str | None = None) -> Response:
        """Open a session, warmed up by its history."""
        known = {"id": str, "ttl_seconds": (int, float), "history": object, "snapshots": dict, **views.BEGINNINGS}
        raw = await body.read(request, self._settings.max_body_bytes)
        deadline = body.deadline(dict(request.scope["headers"]))
        asked = fields(await self._pool.parse(raw), "body", {}, known)
        engine, served = self._repository.new(model, version, asked.get("id"))
        engine.admission.streamable()
        id, ttl = self._new_id(asked), views.ttl(asked, self._settings)
        rule, state = views.rule(asked, engine.table.row_bytes, "body"), views.beginning(asked, served)
        given = asked.get("history")
        history = None if given is None else sequence(given, served.description.features, "history").inputs
        if id is not None:
            await vacant(self._sessions, id)
            await unused(self._sessions, id)
        if history is None:
            return body.answer(await engine.lifecycle.open(id, ttl, self._told, rule=rule, state=state), 201)
        opened = engine.lifecycle.open_warm(id, ttl, history, deadline, self._told, rule=rule, state=state)
        return body.answer(await opened, 201)

    async def many_steps(self, request: Request, model: str, version: str | None = None) -> Response:
        """Advance many sessions of a model in one call."""
        return await self._calls.respond(request, MANY, model, version)

    async def session(self, id: str) -> Response:
        """A session as it stands."""
        return body.answer(self._view(await anywhere.look(self._sessions, id)))

    async def delete(self, id: str) -> Response:
        """Forget a session, once its accepted work is done."""
        await reach(self._sessions, id)
        session = self._sessions.known(id)
        await cast("Engine", session.home).lifecycle.delete(session)
        return Response(status_code=204)

    async def steps(self, request: Request, id: str) -> Response:
        """Advance a session by T steps."""
        return await self._calls.respond(request, STEPS, id)

    async def fork(self, request: Request, id: str) -> Response:
        """A new session with a copy of the state, or many, once the accepted work is done."""
        asked = fields(await self._object(request), "body", {}, {"id": str, "ids": list, "count": int})
        new = self._new_id(asked)
        many = copies(asked)
        await reach(self._sessions, id)
        if (named := new or (many[0] if isinstance(many, list) else None)) is not None:
            self._sessions.get(id)
            await unused(self._sessions, named)
            await reach(self._sessions, id)
        session = self._sessions.get(id)
        engine, _ = self._of(session)
        if many is not None:
            return await self._bulk.forked(*await engine.lifecycle.fork_many(session, many))
        return body.answer(await engine.lifecycle.fork(session, new, self._told), 201)

    async def rewind(self, request: Request, id: str) -> Response:
        """Set a session back to a kept snapshot, once the accepted work is done."""
        asked = fields(await self._object(request), "body", {"step": int}, {})
        await reach(self._sessions, id)
        step, session = views.step(asked, "body"), self._sessions.get(id)
        engine, _ = self._of(session)
        return body.answer(await engine.lifecycle.rewind(session, step, self._told))

    async def forecast(self, request: Request, id: str) -> Response:
        """What a copy of a session answers to inputs and then to its own outputs; the session does not move."""
        asked = fields(await self._object(request), "body", {}, {"inputs": object, "steps": int})
        deadline = body.deadline(dict(request.scope["headers"]))
        await reach(self._sessions, id)
        session = self._sessions.get(id)
        engine, served = self._of(session)
        feeding, written = forecasts.asked(asked, served.description, "body")
        answer = engine.forecasts.forecast(session, feeding, deadline)
        with body.followed(request, answer.cancel):
            await asyncio.wait([answer])
        if answer.cancelled():
            return Response(status_code=LEFT)
        try:
            outputs, step = answer.result()
        finally:
            del answer  # its error holds this frame, and the frame the inputs
        told = await self._pool.dump({"outputs": written(outputs), "step": step}, outputs.size)
        return body.Json(told, 200)

    async def migrate(self, request: Request, id: str) -> Response:
        """Let a session go on in another version, once the accepted work is done."""
        asked = fields(await self._object(request), "body", {"version": str}, {"history": object})
        deadline = body.deadline(dict(request.scope["headers"]))
        await reach(self._sessions, id)
        session = self._sessions.get(id)
        target, served = self._repository.new(session.model, asked["version"], id)
        target.admission.streamable()
        state = None
        if "history" in asked:
            history = sequence(asked["history"], served.description.features, "history").inputs
            engine, source = self._of(session)
            begun = views.going_on(engine.table.gather(np.array([session.row])), source, served)
            state = await target.migrations.warmed(history, deadline, begun)
            await reach(self._sessions, id)
            session = self._sessions.get(id)
        engine, _ = self._of(session)
        if state is None and dict(engine.model.state_shapes) != dict(target.model.state_shapes):
            raise StateMismatch(f"version {target.version} has states of other shapes: send a history")
        if target is engine and state is None:
            return body.answer(self._told(session))
        return body.answer(await engine.migrations.migrate(session, target, self._told, state=state))

    async def read_state(self, id: str) -> Response:
        """The state as bytes, once the accepted work is done."""
        await reach(self._sessions, id)
        session = self._sessions.get(id)
        engine, served = self._of(session)
        step, state = await engine.lifecycle.read(session)
        blob = StateBytes(session.model, session.version, served.description.digest, step, state).encode(self._seals)
        return Response(blob, media_type="application/octet-stream")

    async def write_state(self, request: Request, id: str) -> Response:
        """Create a session from such bytes, or replace its state, once the accepted work is done."""
        snapshot = decode(await self._blob(request), self._seals)
        if not NAME.fullmatch(id):
            raise views.bad_name("id", id)
        engine = self._fitting(snapshot)
        await vacant(self._sessions, id)
        await reach(self._sessions, id)
        session = self._sessions.find(id)
        if session is None:
            ttl = self._settings.default_ttl_seconds
            opened = engine.lifecycle.open(id, ttl, self._told, step=snapshot.step, state=snapshot.state)
            return body.answer(await opened, 201)
        if self._sessions.opening(session):
            raise SessionExists(f"session {id!r} is being opened")
        session = self._sessions.get(id)
        session.belongs(snapshot.model, snapshot.version)
        return body.answer(await engine.lifecycle.replace(session, snapshot.step, snapshot.state, self._told))

    async def _blob(self, request: Request) -> bytes:
        """A body that is not larger than the states of all models here."""
        largest = _HEADER + max((engine.table.row_bytes for engine in self._repository.engines()), default=0)
        most = self._settings.max_body_bytes
        try:
            return await body.read(request, min(most, largest))
        except PayloadTooLarge as error:
            if largest >= most or int(request.headers.get("content-length", 0)) > most:
                raise
            raise StateMismatch(f"no state of a model here has over {largest} bytes") from error

    async def _object(self, request: Request) -> dict[str, Any]:
        return await self._pool.parse(await body.read(request, self._settings.max_body_bytes))

    def _of(self, session: Session) -> tuple[Engine, OnnxModel]:
        return self._repository.of(session)

    def _told(self, session: Session) -> dict[str, Any]:
        return self._view(self._sessions.stands(session))

    def _view(self, standing: Standing) -> dict[str, Any]:
        return views.session(standing, self._sessions.promises)

    def _new_id(self, asked: dict[str, Any]) -> str | None:
        id = asked.get("id")
        if id is not None and not NAME.fullmatch(id):
            raise views.bad_name("id", id)
        return id

    def _fitting(self, stands: StateBytes) -> Engine:
        """The engine that an exported state belongs to."""
        versions = self._repository.models.get(stands.model, {})
        if stands.version not in versions:
            raise StateMismatch(f"the state is of {stands.model}/{stands.version}, which is not served here")
        engine, served = self._repository.ready(stands.model, stands.version)
        shapes = {name: array.shape[1:] for name, array in stands.state.items()}
        if served.description.digest != stands.digest or shapes != dict(engine.model.state_shapes):
            raise StateMismatch(f"the state is of another file named {stands.model}/{stands.version}")
        if not all(np.isfinite(array).all() for array in stands.state.values()):
            raise StateMismatch("the state is not finite")
        return engine
