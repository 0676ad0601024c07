"""The asyncio client: the calls that need no session object. `client.py` runs the same calls for threads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, Unpack

from carousel_client.answers import ItemAnswer, SessionPage
from carousel_client.async_session import AsyncSession
from carousel_client.async_stream import AsyncStream
from carousel_client.closing import Closing
from carousel_client.descriptions import ModelDescription, ModelVersions
from carousel_client.errors import CarouselError, InvalidInput
from carousel_client.retry import Exchange, Policy, Settings, route
from carousel_client.sequences import S, encode, to_json
from carousel_client.transport import HttpTransport, Request, Service

Item: TypeAlias = tuple[str, S] | tuple[str, S, int | None]  # session, inputs, step


class AsyncClient(Closing):
    """A Carousel service at `url`, such as `http://127.0.0.1:8000` or `https://user:password@host/path`.

    Settings tells `timeout` and the other keywords; `transport` is for tests. Every error is a CarouselError. Tasks of
    one event loop may share a client and its sessions; a forked process makes connections of its own.
    """

    def __init__(self, url: str, *, transport: HttpTransport | None = None, **settings: Unpack[Settings]) -> None:
        self._service = Service.at(url)
        self._policy = Policy(**settings)
        self._exchange = Exchange(transport or HttpTransport(self._service), self._policy)

    async def ready(self, timeout: float | None = None) -> bool:
        """Whether the service answers that it is ready. One attempt; no answer means False."""
        request, deadline = Request("GET", "/health/ready"), self._policy.deadline(timeout)
        try:
            return (await self._exchange(request, deadline, retries=0)).status == 200
        except CarouselError:
            return False

    async def models(self, *, timeout: float | None = None) -> list[ModelVersions]:
        """Every model and its versions."""
        request = Request("GET", route("models"), replayable=True)
        return (await self._exchange(request, self._policy.deadline(timeout))).models()

    async def model(self, name: str, version: str | None = None, *, timeout: float | None = None) -> ModelDescription:
        """The description of a model: features, outputs, units, metrics. Raises ModelNotFound, VersionNotFound."""
        request = Request("GET", route("models", name, version=version), replayable=True)
        return (await self._exchange(request, self._policy.deadline(timeout))).model(name, version)

    async def predict(
        self, model: str, sequences: Iterable[S], version: str | None = None, *, timeout: float | None = None
    ) -> list[S]:
        """Run whole sequences, each from the zero state; lengths may differ.

        `sequences`: arrays [T, F], lists of lists or lists of dicts. The outputs [T, K] have the same style and order.
        `timeout`: seconds for the whole call. Raises InvalidInput if any sequence is bad; then none ran.
        """
        encoded = [encode(sequence) for sequence in sequences]
        for i, sequence in enumerate(encoded):
            if sequence.lone:  # [[1, 2], [3, 4]] may be one sequence or two steps: never guess
                raise InvalidInput(f"sequences[{i}] is a lone step: predict takes a list of sequences")
        body = to_json({"sequences": [sequence.steps for sequence in encoded]})
        request = Request("POST", route("models", model, "predict", version=version), body, replayable=True)
        return (await self._exchange(request, self._policy.deadline(timeout))).predicted(model, version, encoded)

    async def steps(
        self,
        model: str,
        items: Iterable[Item[S]],
        open: bool = False,
        version: str | None = None,
        *,
        timeout: float | None = None,
    ) -> list[ItemAnswer[S]]:
        """Step many sessions in one call. A bad item does not harm the others: its error is in its ItemAnswer.

        An item is `(session id, inputs)` or `(session id, inputs, step)`, inputs as for `Session.step`. `open` creates
        unknown sessions. After a lost answer the call is sent again only if every item names its `step`.
        """
        listed = []
        for i, item in enumerate(items):
            if not isinstance(item, tuple | list) or len(item) not in (2, 3):
                raise InvalidInput(f"items[{i}]: not (session id, inputs) or (session id, inputs, step)")
            listed.append((item[0], encode(item[1]), item[2] if len(item) > 2 else None))
        bodies = [
            {"session": session, "inputs": inputs.steps} | ({} if step is None else {"step": step})
            for session, inputs, step in listed
        ]
        body = to_json({"items": bodies} | ({"open": True} if open else {}))
        checked = all(step is not None for _, _, step in listed)
        request = Request("POST", route("models", model, "steps", version=version), body, replayable=checked)
        return (await self._exchange(request, self._policy.deadline(timeout))).items(listed)

    def session(
        self,
        model: str,
        id: str | None = None,
        version: str | None = None,
        *,
        ttl_seconds: float | None = None,
        history: Any = None,
        snapshots: Mapping[str, int] | None = None,
        constants: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
    ) -> AsyncSession:
        """A session, opened by `async with`, `open` or its first step. `history`: a sequence to run first.

        `snapshots`: {"every": n, "keep": k} keeps k states for `rewind`, one each n steps. `constants` and
        `initial`: inputs that stay the same and first states, as numbers or nested lists by name.
        """
        given = {"ttl_seconds": ttl_seconds, "history": history, "snapshots": snapshots}
        given |= {"constants": constants, "initial": initial}
        return AsyncSession(self._exchange, model, id, version, **given)

    async def sessions(
        self,
        model: str | None = None,
        prefix: str = "",
        *,
        after: str = "",
        limit: int = 100,
        timeout: float | None = None,
    ) -> SessionPage:
        """A page of the sessions of a model, those whose ids begin so, or all; `after`: the `next` of the page before.

        Pages are complete while sessions come and go: one that is there all the time is on exactly one page.
        """
        query = {"model": model, "prefix": prefix or None, "after": after or None, "limit": str(limit)}
        request = Request("GET", route("sessions", **query), replayable=True)
        return (await self._exchange(request, self._policy.deadline(timeout))).page(model, prefix, after, limit)

    async def delete_sessions(
        self, model: str | None = None, prefix: str = "", *, all: bool = False, timeout: float | None = None
    ) -> int:
        """Delete the sessions of a model, those whose ids begin so, or with `all` all of them → how many.

        Not sent again after a lost answer; to call it again is safe, and deletes what is left.
        """
        query = {"model": model, "prefix": prefix or None, "all": "true" if all else None}
        request = Request("DELETE", route("sessions", **query))
        return (await self._exchange(request, self._policy.deadline(timeout))).deleted_many()

    def stream(self) -> AsyncStream:
        """One socket for any number of sessions and many calls at once. See AsyncStream."""
        self._exchange.transport.check_open()
        return AsyncStream(self._service, self._policy)

    async def restore(self, id: str, state: bytes, *, timeout: float | None = None) -> AsyncSession:
        """The session `id` made, or replaced, from what `AsyncSession.state` gave. Raises StateMismatch."""
        session = AsyncSession(self._exchange, "", id)
        await session._restore(state, self._policy.deadline(timeout))
        return session

    async def close(self) -> None:
        """Close the connections. The sessions stay in the service."""
        await self._exchange.transport.close()

    def __repr__(self) -> str:
        return f"<AsyncClient {self._service.url}>"
