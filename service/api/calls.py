"""The calls that carry the load: sequences, steps of a session, steps of many. Decode, call, encode."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.responses import Response

from service.api import body, views
from service.api.aside import MANY, Aside
from service.api.hot import Asked, Route
from service.api.many import Many
from service.api.texts import parse
from service.api.values import fields, sequence
from service.engine import Engine
from service.errors import InvalidInput, ModelNotFound, SessionExpired, SessionNotFound, VersionNotFound
from service.models.model import OnnxModel
from service.models.repository import Repository
from service.sessions import Session, Sessions
from service.settings import Settings

_INPUTS, _STEP = {"inputs": object}, {"step": int}
_SMALL = 4096  # bytes; such a body is parsed in no time


class Calls:
    """The hot routes, over what they call."""

    def __init__(self, repository: Repository, sessions: Sessions, settings: Settings, aside: Aside) -> None:
        self._repository, self._sessions, self._aside = repository, sessions, aside
        self._many = Many(repository, sessions, settings)

    def routes(self) -> dict[str, Route]:
        """By path."""
        return {
            "/v1/sessions/{id}/steps": self.steps,
            "/v1/models/{model}/steps": self.many_steps,
            "/v1/models/{model}/predict": self.predict,
        }

    async def steps(self, asked: Asked, id: str) -> Response:
        """Advance a session by T steps."""
        known = fields(await self._read(asked, lambda: self._home(id)), "body", _INPUTS, _STEP)
        session = self._sessions.get(id)
        engine, served = self._of(session)
        step = views.step(known, "body")
        given = sequence(known["inputs"], served.description.features, "inputs")
        answer = await engine.step(session, given.inputs, step, asked.deadline)
        outputs = given.outputs(answer.outputs, served.description.outputs)
        told, numbers = {"outputs": outputs, "step": answer.step}, answer.outputs.size
        return body.answer(told) if numbers <= MANY else await self._answer(told, numbers)

    async def many_steps(self, asked: Asked, model: str, version: str | None = None) -> Response:
        """Advance many sessions of a model in one call."""
        read = await self._read(asked, lambda: self._repository.only(model, version))
        known = fields(read, "body", {"items": list}, {"open": bool})
        self._repository.ready(model, version)
        if not known["items"]:
            raise InvalidInput("items: empty")
        how = {"may_open": known.get("open", False), "deadline": asked.deadline}
        items, numbers = await self._many.steps(known["items"], model, version, **how)
        return await self._answer({"items": items}, numbers)

    async def predict(self, asked: Asked, model: str, version: str | None = None) -> Response:
        """Run whole sequences, each from the zero state."""
        read = await self._read(asked, lambda: self._repository.ready(model, version)[0])
        known = fields(read, "body", {"sequences": list}, {})
        engine, served = self._repository.ready(model, version)
        if not known["sequences"]:
            raise InvalidInput("sequences: empty")
        features = served.description.features
        given = [sequence(one, features, f"sequences[{index}]") for index, one in enumerate(known["sequences"])]
        answer = engine.predict([one.inputs for one in given], asked.deadline)
        asked.leaving(answer.cancel)
        outputs, columns = await answer, served.description.outputs
        answers = [one.outputs(output, columns) for one, output in zip(given, outputs, strict=True)]
        told = {"model": model, "version": engine.version, "outputs": answers}
        return await self._answer(told, sum(output.size for output in outputs))

    async def _answer(self, content: Any, numbers: int) -> Response:
        return body.Json(await self._aside.dump(content, numbers), 200)

    async def _read(self, asked: Asked, find: Callable[[], Engine]) -> dict[str, Any]:
        """What is in a body, unless there is no room for so much: to read and parse it would starve the model."""
        if asked.content is None:
            _spare(find, asked.length)
        content = await asked.read()
        if len(content) <= _SMALL:
            read = parse(content)
        else:
            _spare(find, len(content))
            read = await self._aside.parse(content)
        await asyncio.sleep(0)  # what came together is parsed before any of it is called
        return read

    def _home(self, id: str) -> Engine:
        return self._of(self._sessions.get(id))[0]

    def _of(self, session: Session) -> tuple[Engine, OnnxModel]:
        return self._repository.ready(session.model, session.version)


def _spare(find: Callable[[], Engine], length: int) -> None:
    with suppress(ModelNotFound, VersionNotFound, SessionNotFound, SessionExpired):  # told in its turn
        find().admission.spare(length)
