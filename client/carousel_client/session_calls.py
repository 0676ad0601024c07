"""A session as its caller keeps it: its id and the next step, so that every call names its step and may be repeated.

Knows WIRE's session routes; does no I/O and takes no locks: whoever drives the flows lets one run at a time.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from carousel_client.errors import SessionExists, SessionExpired, SessionNotFound, StateMismatch
from carousel_client.exchange import Answer, Flow, Policy, Request, route
from carousel_client.sequences import S, encode, to_json


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session is opened with; what is None is left to the service."""

    model: str = ""  # empty: whichever the existing session has
    id: str | None = None
    version: str | None = None
    ttl_seconds: float | None = None
    history: list[Any] = field(default_factory=list)  # WIRE's S, run first

    @classmethod
    def of(
        cls, model: str, id: str | None, version: str | None, *, ttl_seconds: float | None, history: S | None
    ) -> Self:
        """From a caller's arguments. Raises InvalidInput where `history` is no sequence."""
        return cls(model, id, version, ttl_seconds, [] if history is None else encode(history).steps)


class SessionCalls:
    """One flow a call on one session.

    Invariant: `next_step` is the step the service expects as far as we have heard. It moves only with an answer, so
    after a failure the same inputs may be sent again: the service replays an applied call and runs a lost one.
    """

    def __init__(self, policy: Policy, opening: Opening) -> None:
        self.policy = policy
        self.opening = opening
        self.id = uuid.uuid4().hex if opening.id is None else opening.id
        self.temporary = opening.id is None  # nobody else knows the id: it ends with its `with` block
        self.created = False
        self.model = opening.model
        self.version = opening.version
        self.next_step: int | None = None  # None: not opened yet

    def open(self, *, timeout: float | None = None) -> Flow[None]:
        """Create the session, or resume the one of that id at its step; nothing if it is open.

        Resuming runs no `history` and changes no TTL; `created` tells which it was. Raises StateMismatch for a
        session of another model or version.
        """
        yield from self._open(self.policy.deadline(timeout))

    def _open(self, deadline: float) -> Flow[None]:
        if self.next_step is not None:
            return
        opening = self.opening
        wanted = {"id": self.id, "ttl_seconds": opening.ttl_seconds, "history": opening.history or None}
        body = to_json({key: value for key, value in wanted.items() if value is not None})
        path = route("models", opening.model, "sessions")
        request = Request("POST", path, body, opening.version, replayable=True)
        outcome = yield from self.policy.outcome(request, deadline)
        if isinstance(outcome.error, SessionExists) and (outcome.lost or not self.temporary):
            found = yield from self._find(deadline)
            fresh = outcome.lost and found["step"] == len(opening.history)  # as our own lost creation left it
            if self.temporary and not fresh:
                raise outcome.error
            self._keep(found, created=fresh)
        else:
            self._keep(Answer(outcome.unwrap()), created=True)

    def resume(self, *, timeout: float | None = None) -> Flow[None]:
        """Take up the session where it stands. Raises SessionNotFound, SessionExpired, StateMismatch."""
        self._keep((yield from self._find(self.policy.deadline(timeout))), created=False)

    def step(self, inputs: S, *, timeout: float | None = None) -> Flow[S]:
        """Advance the session by every step of `inputs`: all of them, or none if an error is raised.

        `inputs` is an array [T, F], a list of lists, a list of dicts, or a lone step; the outputs [T, K] come in the
        same style. `timeout` is in seconds, for everything. Opens the session if nothing has yet. The number of the
        step is always sent, so a lost answer is asked for again and applied once. After ConnectionFailed, sending the
        same inputs again is safe. Raises StepConflict if somebody else moved the session, InvalidInput, SessionExpired.
        """
        deadline = self.policy.deadline(timeout)
        encoded = encode(inputs)
        yield from self._open(deadline)
        body = to_json({"inputs": encoded.steps, "step": self.next_step})
        request = Request("POST", route("sessions", self.id, "steps"), body, replayable=True)
        answer = Answer((yield from self.policy.exchange(request, deadline)))
        outputs = encoded.decode(answer["outputs"])
        self.next_step = answer["step"]
        return outputs

    def fork(self, id: str | None = None, *, timeout: float | None = None) -> Flow[SessionCalls]:
        """What a copy of this session under another id is; see Session.fork."""
        deadline = self.policy.deadline(timeout)
        copy = SessionCalls(self.policy, Opening(id=id))
        path = route("sessions", self.id, "fork")
        outcome = yield from self.policy.outcome(
            Request("POST", path, to_json({"id": copy.id}), replayable=True), deadline
        )
        if isinstance(outcome.error, SessionExists) and outcome.lost and copy.temporary:
            copy._keep((yield from copy._find(deadline)), created=True)  # only we know the id, so it is our copy
        else:
            copy._keep(Answer(outcome.unwrap()), created=True)
        return copy

    def state(self, *, timeout: float | None = None) -> Flow[bytes]:
        """The state as bytes, for `restore` on this service or another one."""
        request = Request("GET", route("sessions", self.id, "state"), replayable=True)
        return (yield from self.policy.exchange(request, self.policy.deadline(timeout))).content

    def restore(self, state: bytes, *, timeout: float | None = None) -> Flow[None]:
        """Put `state` in, creating or replacing the session. Not sent again once it may have been applied."""
        deadline = self.policy.deadline(timeout)
        yield from self.policy.exchange(Request("PUT", route("sessions", self.id, "state"), state), deadline)
        self._keep((yield from self._find(deadline)), created=False)

    def delete(self, *, timeout: float | None = None) -> Flow[None]:
        """End the session on the service. Raises SessionNotFound if it was not there."""
        request = Request("DELETE", route("sessions", self.id), replayable=True)
        outcome = yield from self.policy.outcome(request, self.policy.deadline(timeout))
        if not (outcome.lost and isinstance(outcome.error, SessionNotFound)):  # else our lost attempt deleted it
            outcome.unwrap()
        self.temporary = False  # nothing left to end

    def close(self) -> Flow[None]:
        """Delete the session if the client made its id; leave one that the caller named alive."""
        if self.temporary and self.next_step is not None:
            with suppress(SessionNotFound, SessionExpired):
                yield from self.delete()

    def _find(self, deadline: float) -> Flow[Answer]:
        request = Request("GET", route("sessions", self.id), replayable=True)
        found = Answer((yield from self.policy.exchange(request, deadline)))
        wanted = {"model": self.opening.model, "version": self.opening.version}
        for key, value in wanted.items():
            if value and found[key] != value:
                raise StateMismatch(f"session {self.id} has {key} {found[key]}, not {value}")
        return found

    def _keep(self, session: Answer, *, created: bool) -> None:
        self.model, self.version, self.next_step = session["model"], session["version"], session["step"]
        self.created = created


class SessionView:
    """What a session object shows without a call."""

    def __init__(self, calls: SessionCalls) -> None:
        self._calls = calls

    @property
    def id(self) -> str:
        """The session's id: what to open it by later."""
        return self._calls.id

    @property
    def model(self) -> str:
        """The model's name."""
        return self._calls.model

    @property
    def version(self) -> str | None:
        """The model's version; None before the session is open, where none was asked for."""
        return self._calls.version

    @property
    def next_step(self) -> int | None:
        """How many steps the session has consumed, as far as the client has heard; None before it is open."""
        return self._calls.next_step

    @property
    def created(self) -> bool:
        """Whether opening made the session, rather than resumed it."""
        return self._calls.created

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of {self.model}/{self.version} at step {self.next_step}>"
