"""A session for asyncio: every step names its number, so that it can be sent again and is applied once."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from carousel_client.answers import SessionObject
from carousel_client.closing import STOPPING, Closing
from carousel_client.errors import (
    SessionExists,
    SessionExpired,
    SessionNotFound,
    StateMismatch,
    StepConflict,
    state_lost,
)
from carousel_client.recent import Recent
from carousel_client.retry import Exchange, route
from carousel_client.sequences import S, encode, forecast, listed, to_json
from carousel_client.transport import PerProcess, Request
from carousel_client.turns import in_turn


class AsyncSession(Closing):
    """One live sequence; the service holds its hidden state.

    `async with` opens it. The end of the block deletes a session whose id the client made, in the process that made it;
    one with an id of the caller stays, to be resumed by that id. Calls of several tasks run one at a time, in order.

    `id`, `model`, `version`; `created`: whether opening created the session or, False, resumed it; `next_step`: how
    many steps it has taken, None before it is open. It moves only with an answer: after a failure the same inputs may
    be sent again, since the service replays a call that it applied.
    """

    def __init__(
        self,
        exchange: Exchange,
        model: str,  # empty: that of the existing session
        id: str | None = None,
        version: str | None = None,
        *,
        history: Any = None,
        **settings: Any,  # other keys of the call that creates a session
    ) -> None:
        self._exchange, self._policy = exchange, exchange.policy
        self._asked = (model, version)
        self._settings = settings
        self._history: list[Any] = [] if history is None else encode(history).steps
        self._owner = os.getpid() if id is None else None  # the process whose `with` block ends the session
        self._turn = PerProcess(asyncio.Lock)
        self._recent = Recent[Request](exchange.policy.clock)
        self.id = uuid.uuid4().hex if id is None else id
        self.model, self.version = model, version
        self.next_step: int | None = None
        self.created = False

    @in_turn
    async def open(self, *, timeout: float | None = None) -> None:
        """Create the session, or resume the one with that id at its step; do nothing if it is open.

        Resuming runs no `history` and changes no TTL; `created` tells which it was. Raises StateMismatch if the
        session has another model or version.
        """
        await self._open(self._policy.deadline(timeout))

    @in_turn
    async def resume(self, *, timeout: float | None = None) -> None:
        """Go on at the step that the service has. Raises SessionNotFound, SessionExpired, StateMismatch."""
        self._keep(await self._find(self._policy.deadline(timeout)), created=False)

    async def step(self, inputs: S, *, timeout: float | None = None) -> S:
        """Advance the session by all steps of `inputs`, or by none if an error is raised.

        `inputs`: an array [T, F], a list of lists or dicts, or one step. The outputs [T, K] have the same style.
        `timeout`: seconds for the whole call. Opens the session if it is not open. The call names its step, so a lost
        answer is asked for again and the steps are applied once. After ConnectionFailed it is safe to send the same
        inputs again. Raises StepConflict if another client moved the session, InvalidInput, SessionExpired.
        """
        outputs, self.next_step = await self._step(inputs, timeout)
        return outputs

    @in_turn
    async def _step(self, inputs: S, timeout: float | None) -> tuple[S, int]:
        """The outputs, and the next step: it counts when the caller has the outputs, and not if it was interrupted."""
        deadline = self._policy.deadline(timeout)
        encoded = encode(inputs)
        await self._open(deadline)
        step = self.next_step or 0
        request = Request(
            "POST", self._route("steps"), to_json({"inputs": encoded.steps, "step": step}), replayable=True
        )
        try:
            answer = await self._exchange(request, deadline)
        except StepConflict as error:
            await self._send_again(step, error, deadline)
            answer = await self._exchange(request, deadline)
        outputs, after = answer.stepped(encoded, step)
        self._recent.add(step, after, request)
        return outputs, after

    async def _send_again(self, step: int, error: StepConflict, deadline: float) -> None:
        """Send the answered calls again that a service that writes behind has lost. Raises StateLost, or the error."""
        lost = self._recent.lost(step, error.expected_step) if self._recent.seconds else []
        if lost is None:
            raise state_lost(self.id, step, error.expected_step) from error
        if not lost:
            raise error
        for _, _, request in lost:
            await self._exchange(request, deadline)

    @in_turn
    async def fork(self, id: str | None = None, *, timeout: float | None = None) -> AsyncSession:
        """A new session with a copy of this one's state, step and TTL. Raises SessionExists if `id` is taken."""
        deadline = self._policy.deadline(timeout)
        copy = AsyncSession(self._exchange, "", id)
        request = Request("POST", self._route("fork"), to_json({"id": copy.id}), replayable=True)
        try:
            answer = await self._exchange(request, deadline)
            copy._keep(answer.session(copy.id, model=self.model or None, version=self.version), created=True)
        except SessionExists as error:
            if id is not None or not error.uncertain:
                raise
            copy._keep(await copy._find(deadline), created=True)  # only we know the id: it is our copy
        return copy

    @in_turn
    async def fork_many(self, ids: int | Sequence[str], *, timeout: float | None = None) -> list[AsyncSession]:
        """Many copies, by their number or ids: all of them or, if an error is raised, none. See `fork`."""
        deadline = self._policy.deadline(timeout)
        own = [uuid.uuid4().hex for _ in range(ids)] if isinstance(ids, int) else listed(ids)
        copies = [AsyncSession(self._exchange, "", id) for id in own]
        request = Request("POST", self._route("fork"), to_json({"ids": own}), replayable=True)
        try:
            answer = await self._exchange(request, deadline)
            told = answer.forked(own, model=self.model or None, version=self.version)
        except SessionExists as error:
            if not isinstance(ids, int) or not error.uncertain:
                raise
            told = await copies[0]._find(deadline)  # only we know the ids: they are our copies, all of them
        for copy in copies:
            copy._keep(told, created=True)
            copy._owner = os.getpid() if isinstance(ids, int) else None
        return copies

    @in_turn
    async def rewind(self, step: int, *, timeout: float | None = None) -> None:
        """Set the session back to the snapshot that it keeps of a step; `snapshots` of AsyncClient.session.

        The answers of earlier calls are forgotten, and later snapshots. Raises StepConflict, whose `snapshots` are the
        steps that are kept.
        """
        request = Request("POST", self._route("rewind"), to_json({"step": step}), replayable=True)
        answer = await self._exchange(request, self._policy.deadline(timeout))
        self._keep(answer.session(self.id, model=self.model or None, version=self.version, step=step))

    @in_turn
    async def forecast(self, inputs: Any = None, steps: int = 0, *, timeout: float | None = None) -> Any:
        """What a copy of the session answers to `inputs`, and then to its own outputs `steps` times.

        Without `inputs` it begins with the last output that it gave. The outputs [T + steps, K] have the style of the
        inputs, without them they are an array. The session does not move. Raises InvalidInput where outputs of the
        model are not its next inputs.
        """
        asked, outputs = forecast(inputs, steps)
        deadline = self._policy.deadline(timeout)
        await self._open(deadline)
        request = Request("POST", self._route("forecast"), to_json(asked), replayable=True)
        return (await self._exchange(request, deadline)).forecast(outputs, self.next_step)

    @in_turn
    async def snapshots(self, *, timeout: float | None = None) -> list[int]:
        """The steps to which the session can be set back, oldest first."""
        return list((await self._find(self._policy.deadline(timeout))).snapshots or ())

    @in_turn
    async def state(self, *, timeout: float | None = None) -> bytes:
        """The state as bytes, for `restore` on this service or another one."""
        request = Request("GET", self._route("state"), replayable=True)
        return (await self._exchange(request, self._policy.deadline(timeout))).state()

    @in_turn
    async def delete(self, *, timeout: float | None = None) -> None:
        """Delete the session. Raises SessionNotFound if there was none."""
        await self._delete(self._policy.deadline(timeout))

    async def close(self) -> None:
        """Delete the session if the client made its id, in this process. A session with an id of the caller stays."""
        await self._close(None)

    async def _stop(self) -> None:
        await self._close(STOPPING)

    @in_turn
    async def _close(self, timeout: float | None) -> None:
        if self._owner == os.getpid() and self.next_step is not None:
            with suppress(SessionNotFound, SessionExpired):
                await self._delete(self._policy.deadline(timeout))

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of {self.model}/{self.version} at step {self.next_step}>"

    def _route(self, *names: str) -> str:
        return route("sessions", self.id, *names)

    async def _open(self, deadline: float) -> None:
        if self.next_step is not None:
            return
        model, version = self._asked
        wanted = {"id": self.id, "history": self._history or None, **self._settings}
        body = to_json({key: value for key, value in wanted.items() if value is not None})
        request = Request("POST", route("models", model, "sessions", version=version), body, replayable=True)
        try:
            answer = await self._exchange(request, deadline)
            self._keep(answer.session(self.id, model=model, version=version, step=len(self._history)), created=True)
        except SessionExists as error:
            if self._owner is not None and not error.uncertain:
                raise
            found = await self._find(deadline)
            fresh = error.uncertain and found.step == len(self._history)  # as our own lost attempt left it
            if self._owner is not None and not fresh:
                raise
            self._keep(found, created=fresh)

    async def _restore(self, state: bytes, deadline: float) -> None:
        """Create the session from `state`, or replace its state. Not sent again once it may have been applied."""
        answer = await self._exchange(Request("PUT", self._route("state"), state), deadline)
        self._keep(answer.session(self.id), created=False)

    async def _delete(self, deadline: float) -> None:
        try:
            (await self._exchange(Request("DELETE", self._route(), replayable=True), deadline)).deleted()
        except SessionNotFound as error:
            if not error.uncertain:  # else an attempt without an answer deleted it
                raise
        self._owner = None

    async def _find(self, deadline: float) -> SessionObject:
        found = (await self._exchange(Request("GET", self._route(), replayable=True), deadline)).session(self.id)
        model, version = self._asked
        if model not in {"", found.model} or version not in {None, found.version}:
            raise StateMismatch(
                f"session {self.id} is of {found.model}/{found.version}, not {model}/{version or 'any'}"
            )
        return found

    def _keep(self, session: SessionObject, *, created: bool | None = None) -> None:
        self.model, self.version, self.next_step = session.model, session.version, session.step
        self._recent.clear()
        self._recent.seconds = session.behind_ms / 1000
        self.created = self.created if created is None else created
