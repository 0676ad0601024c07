"""Steps of a session, steps of many and predicts by JSON: decode, call, encode; by callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from service.api import views
from service.api.http import body
from service.api.http.request import MANY, PREDICT, STEPS, Asked
from service.api.json.answering import Answering
from service.api.json.fields import Packed, Split, fields, sequence
from service.api.json.many_steps import Many
from service.api.json.pool import MANY as MANY_NUMBERS
from service.api.json.pool import JsonPool
from service.engine.call import Call, Deadline
from service.errors import CarouselError, InvalidInput
from service.sessions.reach import reach

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.description import Column
    from service.models.model import Array
    from service.models.repository import Repository
    from service.sessions.sessions import Sessions
    from service.settings import Settings

_SMALL = 4096  # bytes; a body of so many is parsed in no time
_LIST = 10  # numbers that are written in the time that a list more takes
_INPUTS, _STEP = {"inputs": object}, {"step": int}


class JsonCalls(Answering):
    """The three calls, over what they call."""

    def __init__(self, repository: Repository, sessions: Sessions, settings: Settings, pool: JsonPool) -> None:
        super().__init__(settings.max_body_bytes)
        self._repository, self._sessions, self._pool = repository, sessions, pool
        self._many = Many(repository, sessions, settings, pool)
        self._routes = {STEPS: self._steps, MANY: self._many_steps, PREDICT: self._predict}

    def serve(self, asked: Asked) -> None:
        """Answer a request whose body is there, now or later."""
        try:
            looking = self._sessions.missing(asked.name) if asked.route == STEPS else None
        except CarouselError as error:
            self._fail(asked, error)
            return
        if looking is not None:
            self._then(asked, looking, lambda _: self.serve(asked))
            return
        content, asked.content = asked.content, b""  # it is many times what is made of it
        call = self._routes[asked.route]

        def begin() -> None:
            deadline = body.deadline(asked.headers)
            if len(content) > _SMALL:
                self.spare(asked, len(content))
            read = self._pool.parse_small(content)
            if read is None:  # the session may leave meanwhile
                self._then(asked, self._parsed(asked, content), lambda read: call(asked, read, deadline))
            else:
                call(asked, read, deadline)

        self._try(asked, begin)

    async def _parsed(self, asked: Asked, content: bytes) -> dict[str, Any]:
        read = await self._pool.parse(content)
        if asked.route == STEPS:
            await reach(self._sessions, asked.name)
        return read

    def _engine(self, asked: Asked) -> Engine:
        if asked.route == MANY:
            return self._repository.only(asked.name, asked.version)
        if asked.route == PREDICT:
            return self._repository.ready(asked.name, asked.version)[0]
        session = self._sessions.get(asked.name)
        return self._repository.of(session)[0]

    def _steps(self, asked: Asked, read: dict[str, Any], deadline: Deadline | None) -> None:
        """Advance a session by T steps."""
        known = fields(read, "body", _INPUTS, _STEP)
        session = self._sessions.get(asked.name)
        engine, served = self._repository.of(session)
        step = views.step(known, "body")
        given = sequence(known["inputs"], served.description.features, "inputs")

        def encode(call: Call) -> None:
            outputs = given.outputs(call.outputs, served.description.outputs)
            self._tell(asked, {"outputs": outputs, "step": call.starts.item(0) + len(call.outputs)}, outputs.size)

        rows, lengths = np.array([session.row]), np.array([len(given.inputs)])
        named = np.array([step])
        self._submit(engine, Call(rows, lengths, named, given.inputs, self._ended(asked, encode), deadline))

    def _predict(self, asked: Asked, read: dict[str, Any], deadline: Deadline | None) -> None:
        """Run whole sequences, each from the zero state."""
        known = fields(read, "body", {"sequences": list}, {})
        engine, served = self._repository.ready(asked.name, asked.version)
        if not known["sequences"]:
            raise InvalidInput("sequences: empty")
        features, columns = served.description.features, served.description.outputs
        run = partial(self._run, asked, engine, columns=columns, last=served.description.last, deadline=deadline)
        packed = known["sequences"][0]
        if isinstance(packed, Packed):
            one = sequence(packed.steps, features, "sequences[0]")
            run(one.inputs, lengths=packed.lengths, objects=[one.objects] * len(packed.lengths))
            return
        given = [sequence(one, features, f"sequences[{index}]") for index, one in enumerate(known["sequences"])]
        inputs = [one.inputs for one in given]
        joined = inputs[0] if len(given) == 1 else np.concatenate(inputs)
        run(joined, lengths=[len(one) for one in inputs], objects=[one.objects for one in given])

    def _run(
        self,
        asked: Asked,
        engine: Engine,
        inputs: Array,
        *,
        lengths: list[int],
        objects: list[bool],
        columns: Sequence[Column],
        last: bool,
        deadline: Deadline | None,
    ) -> None:
        """Submit a predict of sequences that lie one behind the other, each to be answered in its style.

        `last`: each has one answer, after its last step.
        """

        def encode(found: Array) -> None:
            size, counts = found.size, lengths
            if last:
                found, counts = found[np.cumsum(lengths) - 1], [1] * len(lengths)
            outputs = Split(found, counts, [column.name for column in columns], objects)
            told = {"model": asked.name, "version": engine.version, "outputs": outputs} | (
                {"last": True} if last else {}
            )
            self._tell(asked, told, size + _LIST * len(lengths))

        self._predict_rows(asked, engine, inputs, lengths=lengths, encode=encode, deadline=deadline)

    def _many_steps(self, asked: Asked, read: dict[str, Any], deadline: Deadline | None) -> None:
        """Advance many sessions of a model in one call."""
        known = fields(read, "body", {"items": list}, {"open": bool})
        self._repository.check(asked.name, asked.version)
        if not known["items"]:
            raise InvalidInput("items: empty")
        how = {"may_open": known.get("open", False), "deadline": deadline}
        answers = self._many.steps(known["items"], asked.name, asked.version, **how)
        self._then(asked, answers, lambda told: asked.answer(body.Json(told, 200)))

    def _tell(self, asked: Asked, content: Any, numbers: int) -> None:
        if numbers <= MANY_NUMBERS:
            asked.answer(body.answer(content))
        else:
            self._then(asked, self._pool.dump(content, numbers), lambda text: asked.answer(body.Json(text, 200)))
