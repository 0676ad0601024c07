"""The calls that carry the load: sequences, steps of a session, steps of many. Decode, call, encode."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.responses import Response

from service.api import body, views
from service.api.aside import Aside
from service.api.hot import Asked, Route
from service.api.many import Many
from service.api.values import fields, sequence
from service.engine import Engine
from service.errors import InvalidInput, ModelNotFound, SessionExpired, SessionNotFound, VersionNotFound
from service.model import OnnxModel
from service.repository import Repository
from service.sessions import Session, Sessions
from service.settings import Settings

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
        self._spare(asked.content, lambda: self._of(self._sessions.get(id)))
        known = fields(await self._aside.parse(asked.content), "body", {"inputs": object}, {"step": int})
        session = self._sessions.get(id)
        engine, served = self._of(session)
        step = views.step(known, "body")
        given = sequence(known["inputs"], served.description.features, "inputs")
        answer = await engine.step(session, given.inputs, step, asked.deadline)
        outputs = given.outputs(answer.outputs, served.description.outputs)
        return await self._answer({"outputs": outputs, "step": answer.step}, answer.outputs.size)

    async def many_steps(self, asked: Asked, model: str, version: str | None = None) -> Response:
        """Advance many sessions of a model in one call."""
        known = fields(await self._aside.parse(asked.content), "body", {"items": list}, {"open": bool})
        self._repository.ready(model, version)
        if not known["items"]:
            raise InvalidInput("items: empty")
        how = {"may_open": known.get("open", False), "deadline": asked.deadline}
        items, numbers = await self._many.steps(known["items"], model, version, **how)
        return await self._answer({"items": items}, numbers)

    async def predict(self, asked: Asked, model: str, version: str | None = None) -> Response:
        """Run whole sequences, each from the zero state."""
        self._spare(asked.content, lambda: self._repository.ready(model, version))
        known = fields(await self._aside.parse(asked.content), "body", {"sequences": list}, {})
        engine, served = self._repository.ready(model, version)
        if not known["sequences"]:
            raise InvalidInput("sequences: empty")
        features = served.description.features
        given = [sequence(one, features, f"sequences[{index}]") for index, one in enumerate(known["sequences"])]
        answer = engine.predict([one.inputs for one in given], asked.deadline)
        asked.abandon = answer.cancel
        outputs, columns = await answer, served.description.outputs
        answers = [one.outputs(output, columns) for one, output in zip(given, outputs, strict=True)]
        told = {"model": model, "version": engine.version, "outputs": answers}
        return await self._answer(told, sum(output.size for output in outputs))

    async def _answer(self, content: Any, numbers: int) -> Response:
        return body.Json(await self._aside.dump(content, numbers), 200)

    def _spare(self, content: bytes, find: Callable[[], tuple[Engine, OnnxModel]]) -> None:
        """Do not parse a large body for which there is no room: under load the parsing would starve the model."""
        if len(content) > _SMALL:
            with suppress(ModelNotFound, VersionNotFound, SessionNotFound, SessionExpired):  # told in its turn
                find()[0].spare(len(content))

    def _of(self, session: Session) -> tuple[Engine, OnnxModel]:
        return self._repository.ready(session.model, session.version)
