"""`POST /v2/models/{model}/infer`: decode, call, encode; by callbacks, as steps and predicts by JSON.

A request without a sequence id is a predict. With one it is a call on a session that names no step: see `Sequence`.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from service.api import oip_codec, oip_tensors
from service.api.http import body
from service.api.json.answering import Answering
from service.api.json.codec import dump
from service.api.json.pool import MANY as MANY_NUMBERS
from service.engine.call import UNCHECKED, Call, Deadline
from service.errors import CarouselError, InvalidRequest, SessionExists, SessionExpired, SessionNotFound
from service.sessions.reach import reach

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.api.http.request import Asked
    from service.api.json.pool import JsonPool
    from service.api.oip_codec import Header, Sequence
    from service.api.oip_tensors import Rows
    from service.engine.engine import Engine
    from service.models.model import Array, State
    from service.models.repository import Repository
    from service.sessions.session import Session
    from service.sessions.sessions import Sessions
    from service.settings import Settings

_LARGE, _SHORT = 2**16, 2**10  # bytes of JSON: fewer are parsed in a millisecond; so few are remembered


class Infer(Answering):
    """The one route that carries load, over what it calls."""

    def __init__(self, repository: Repository, sessions: Sessions, settings: Settings, pool: JsonPool) -> None:
        super().__init__(settings.max_body_bytes)
        self._repository, self._sessions, self._pool = repository, sessions, pool
        self._ttl, self._most_rows = settings.default_ttl_seconds, settings.max_queue_rows

    def serve(self, asked: Asked) -> None:
        """See Answering."""
        content, asked.content = asked.content, b""

        def begin() -> None:
            deadline = body.deadline(asked.headers)
            text, raw = oip_codec.split(content, asked.headers.get(oip_codec.LENGTH))
            infer = partial(self._infer, asked, raw, deadline)
            if len(text) > _LARGE:
                self._then(asked, self._pool.parse_by(text, oip_codec.header), infer)
            else:
                infer(oip_codec.header_of_raw(text) if raw and len(text) < _SHORT else oip_codec.header(text))

        self._try(asked, begin)

    def _engine(self, asked: Asked) -> Engine:
        return self._repository.ready(asked.name, asked.version)[0]

    def _infer(self, asked: Asked, raw: memoryview, deadline: Deadline | None, told: Header) -> None:
        if told.timeout is not None and deadline is None:
            deadline = Deadline(time.monotonic() + told.timeout)
        sequence = told.sequence
        looking = None if sequence is None else self._sessions.missing(sequence.session(asked.name))
        if looking is not None:
            self._then(asked, looking, lambda _: self._infer(asked, raw, deadline, told))
            return
        session = None if sequence is None or sequence.start else self._going_on(asked, sequence)
        if session is not None:
            engine, served = self._repository.of(session)
        elif sequence is None or sequence.end:
            engine, served = self._repository.ready(asked.name, asked.version)
        else:
            engine, served = self._repository.new(asked.name, asked.version, sequence.session(asked.name))
        given = oip_tensors.of(served).rows(told, raw, self._most_rows)
        if sequence is not None and len(given.lengths) > 1:
            raise InvalidRequest(f"a request of a sequence has a batch of 1, not of {len(given.lengths)}")
        if session is not None and given.constants:
            served.keeps(given.constants, engine.table.gather(np.array([session.row])))
        state = served.begun(given.constants, len(given.lengths)) if given.constants and session is None else None
        encode = partial(self._tell, asked, told, engine, given)
        how: dict[str, Any] = {"encode": encode, "deadline": deadline}
        predict = partial(self._predict_rows, asked, engine, given.inputs, lengths=given.lengths, state=state, **how)
        if sequence is None:
            predict()
        elif session is not None:
            self._step(asked, session, given, end=sequence.end, **how)
        elif sequence.end:  # all of it is here: a predict, once what was there under the id has ended
            self._then(asked, self._end(sequence.session(asked.name)), lambda _: predict())
        else:
            engine.admission.check(1, len(given.inputs))
            step = partial(self._step, asked, given=given, end=False, begun=True, **how)
            self._then(asked, self._begin(sequence.session(asked.name), engine, state, step), lambda _: None)

    def _going_on(self, asked: Asked, sequence: Sequence) -> Session:
        """The session of a sequence that was started."""
        try:
            session = self._sessions.get(sequence.session(asked.name))
        except SessionNotFound as error:
            raise oip_codec.starting(sequence, asked.name) from error
        except SessionExpired as error:
            began = oip_codec.starting(sequence, asked.name).detail
            raise SessionExpired(
                f"sequence {sequence.id!r} was idle beyond its TTL of {self._ttl:g} s: {began}"
            ) from error
        session.belongs(asked.name, asked.version)
        return session

    async def _end(self, id: str) -> None:
        """End the session of an id, if there is one."""
        await reach(self._sessions, id)
        session = self._sessions.find(id)
        if session is not None and not self._sessions.opening(session):
            await cast("Engine", session.home).lifecycle.delete(session)

    async def _begin(self, id: str, engine: Engine, state: State | None, step: Callable[[Session], None]) -> None:
        """Step a new session of an id, in place of the one that was there."""
        engine.admission.streamable()
        await self._end(id)
        opened: Session
        try:
            opened = await engine.lifecycle.open(id, self._ttl, state=state)
        except SessionExists:  # another worker was sooner
            await self._end(id)
            opened = await engine.lifecycle.open(id, self._ttl, state=state)
        await reach(self._sessions, id)  # it may have gone to another worker
        session = self._sessions.find(id)
        if session is None or session.birth != opened.birth or id in self._sessions.ending:
            raise SessionExists("another request started the sequence anew before its first step")
        step(session)

    def _step(
        self,
        asked: Asked,
        session: Session,
        given: Rows,
        *,
        end: bool,
        encode: Callable[[Array], None],
        deadline: Deadline | None,
        begun: bool = False,
    ) -> None:
        """Advance a session, and delete it behind its last step."""
        engine = cast("Engine", session.home)
        rows, lengths = np.array([session.row]), np.array(given.lengths)

        def encode_last(call: Call) -> None:
            if end:
                self._then(asked, deleted, lambda _: encode(call.outputs))
            else:
                encode(call.outputs)

        ended = self._ended(asked, encode_last)
        try:
            self._submit(engine, Call(rows, lengths, np.array([UNCHECKED]), given.inputs, ended, deadline))
        except CarouselError:
            if begun:
                engine.lifecycle.delete(session)
            raise
        if end:
            deleted = engine.lifecycle.delete(session)  # in its turn: behind this step

    def _tell(self, asked: Asked, told: Header, engine: Engine, given: Rows, outputs: Array) -> None:
        view, raw, numbers = oip_codec.answer(told, engine.name, engine.version, given, outputs)
        if raw:
            text = dump(view)
            answer = body.Json(text + raw, 200, "application/octet-stream")
            answer.raw_headers.append((oip_codec.LENGTH, str(len(text)).encode()))
            asked.answer(answer)
        elif numbers <= MANY_NUMBERS:
            asked.answer(body.answer(view))
        else:
            self._then(asked, self._pool.dump(view, numbers), lambda text: asked.answer(body.Json(text, 200)))
