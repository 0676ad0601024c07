"""How a request for steps or a predict becomes a call, and what comes of the call its answer; by callbacks."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from service.api.http import body
from service.api.http.request import LEFT, Asked, Awaited
from service.api.json.predicts import SHORT, Predict, Predicts
from service.engine.call import UNCHECKED, Call, Deadline, Onward
from service.errors import CarouselError

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.model import Array, State

_log = logging.getLogger("carousel.request")


class Answering(ABC):
    """What doors share that read a body, submit one call and answer once. `most` is the bytes of a body."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._predicts = Predicts(self._predict_alone)
        self._tasks: set[asyncio.Future[Any]] = set()

    async def respond(self, request: HttpRequest, route: str, name: str, version: str | None = None) -> Response:
        """Serve a request that came by the application."""
        content = await body.read(request, self._most)
        asked = Awaited(route, name, dict(request.scope["headers"]), content)
        asked.version = version
        with body.followed(request, asked.leave):
            self.serve(asked)
            return await asked.response

    @abstractmethod
    def serve(self, asked: Asked) -> None:
        """Answer a request whose body is there, now or later."""

    def spare(self, asked: Asked, length: int) -> None:
        """Refuse a body of this length if there is no room for so much: to read and parse it would starve the model.

        Raises:
            Overloaded, ShuttingDown, EngineFailed: see `Admission.spare`.

        """
        try:
            engine = self._engine(asked)
        except CarouselError:
            return  # told in its turn: a session may be on its way here
        engine.admission.spare(length)

    @abstractmethod
    def _engine(self, asked: Asked) -> Engine:
        """The engine that a request is for."""

    def _predict_rows(
        self,
        asked: Asked,
        engine: Engine,
        inputs: Array,
        *,
        lengths: Sequence[int],
        encode: Callable[[Array], None],
        deadline: Deadline | None,
        state: State | None = None,
    ) -> None:
        """Submit a predict of sequences that lie one behind the other, unless its client has left.

        `state` [B, …] is the one from which they begin, if it is not that of every new sequence.
        """
        if asked.left:
            asked.answer(Response(status_code=LEFT))
            return
        if len(lengths) == 1 and deadline is None and state is None and inputs.nbytes <= SHORT:
            self._predicts.add(
                engine, Predict(asked, inputs, lambda outputs: self._try(asked, partial(encode, outputs)))
            )
            return
        rows, named = np.zeros(len(lengths), np.int64), np.array([UNCHECKED] * len(lengths))
        ended = self._ended(asked, lambda call: encode(call.outputs))
        how = np.array(lengths), named, inputs, ended, deadline
        call = Call(rows, *how) if state is None else Onward(rows, *how, state=state)
        asked.abandon = lambda: engine.abandon(call)
        self._submit(engine, call)

    def _predict_alone(self, engine: Engine, one: Predict) -> None:
        """Submit a predict that has no company, unless its client has left."""
        if one.asked.left:
            one.asked.answer(Response(status_code=LEFT))
            return
        call = one.call(self._ended(one.asked, lambda call: one.encode(call.outputs)))

        def submit() -> None:
            now = engine
            if engine.admission.closed:  # another version serves since this turn began
                fresh = self._engine(one.asked)
                now = fresh if fresh.model.features == one.inputs.shape[1] else engine
            one.asked.abandon = lambda: now.abandon(call)
            self._submit(now, call)

        self._try(one.asked, submit)

    def _submit(self, engine: Engine, call: Call) -> None:
        try:
            engine.submit(call)
        except CarouselError as error:
            engine.admission.refuse(error)
            raise

    def _ended(self, asked: Asked, encode: Callable[[Call], None]) -> Callable[[Call], None]:
        def ended(call: Call) -> None:
            asked.abandon = None
            if call.errors:
                asked.refuse(min(call.errors.items())[1])
            else:
                self._try(asked, lambda: encode(call))

        return ended

    def _then(self, asked: Asked, work: Awaitable[Any], go_on: Callable[[Any], None]) -> None:
        """Go on with what work comes to."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)

        def done(task: asyncio.Future[Any]) -> None:
            self._tasks.discard(task)
            if task.cancelled():  # the server stops
                return
            error = task.exception()
            if error is None:
                self._try(asked, partial(go_on, task.result()))
            else:
                self._fail(asked, error)

        task.add_done_callback(done)

    def _try(self, asked: Asked, act: Callable[[], None]) -> None:
        """Act, and answer with what is raised."""
        try:
            act()
        except Exception as error:
            self._fail(asked, error)

    def _fail(self, asked: Asked, error: BaseException) -> None:
        if not isinstance(error, CarouselError):
            _log.error("%s %s", asked.route, asked.name, exc_info=error)
            error = CarouselError()
        asked.refuse(error)
