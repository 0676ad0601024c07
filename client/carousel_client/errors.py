"""The errors of the client, as one table: a class for each error code of the wire, its HTTP status and its meaning.

CarouselError       .code .status .detail .problem .request_id .retry_after .session .uncertain
├── Unavailable     the service applied nothing of the call, so it may be sent again: Overloaded, ShuttingDown, …
├── StepConflict    .expected_step .applied
├── PartlyFailed    .errors .outputs
├── ConnectionFailed
│   └── TimedOut
└── …               every other class of this file

The code is the name of the class in snake case: ModelNotFound is `model_not_found`. `BY_CODE` has those
that the service may name: the ones with a status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

# fmt: off
__all__ = [
    "AnswerTooLarge", "CarouselError", "ChannelNotFound", "CommitUnknown", "ConnectionFailed", "DeadlineExceeded",
    "EngineFailed", "Forbidden", "ForeignAnswer", "HeadTooLarge", "Internal", "InvalidInput", "InvalidRequest",
    "MethodNotAllowed", "ModelNotFound", "NonFiniteOutput", "NotStreamable", "Overloaded", "PartlyFailed",
    "PayloadTooLarge", "QuotaExceeded", "RouteNotFound", "SessionExists", "SessionExpired", "SessionNotFound",
    "ShuttingDown", "StateLost", "StateMismatch", "StepConflict", "StoreUnavailable", "TimedOut", "TooManyChannels",
    "TooSlow", "Unauthenticated", "Unavailable", "UnsupportedEncoding", "VersionNotFound",
]
# fmt: on


class CarouselError(Exception):
    """A call failed. Without an answer `status` is None; without a problem document `problem` is empty."""

    code = "unknown"
    wire_status: ClassVar[int | None] = None  # the HTTP status of the code

    def __init_subclass__(cls, *, status: int | None = None, code: str | None = None) -> None:
        cls.code, cls.wire_status = code or re.sub(r"(?<=.)(?=[A-Z])", "_", cls.__name__).lower(), status
        if status is not None:
            BY_CODE[cls.code] = cls

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        problem: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        session: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.problem: Mapping[str, Any] = problem or {}
        self.code = str(self.problem.get("code", self.code))
        self.request_id = request_id
        self.retry_after = retry_after  # seconds that the service asks to wait
        self.session = session  # the session concerned, where a call may have many
        self.uncertain = False  # whether an attempt of the call may have been applied, without an answer of its own

    def __str__(self) -> str:
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code}: {self.detail}{request}"


BY_CODE: dict[str, type[CarouselError]] = {}


class StepConflict(CarouselError, status=409):
    """The session is at another step than the call named; nothing was applied."""

    @property
    def expected_step(self) -> int | None:
        """The next step of the session, as the service has it."""
        return self.problem.get("expected_step")

    @property
    def snapshots(self) -> list[int]:
        """Of `rewind`: the steps to which the session can be set back."""
        return list(self.problem.get("snapshots", ()))

    @property
    def applied(self) -> bool:
        """Whether the named step lies behind: some call was applied there already."""
        return self.problem.get("applied") is True


class PartlyFailed(CarouselError):
    """Some sessions of a call on many channels failed; the others moved.

    `errors`: session id → error. `outputs`: one entry a channel in the order of the call, None where it failed.
    """

    def __init__(self, errors: Mapping[str, CarouselError], outputs: Sequence[NDArray[np.float32] | None]) -> None:
        session, error = next(iter(errors.items()))
        super().__init__(f"{len(errors)} of {len(outputs)} sessions failed, the first {session!r}: {error}")
        self.errors = dict(errors)
        self.outputs = list(outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errors, self.outputs)


# fmt: off
class InvalidRequest(CarouselError, status=400): """The request cannot be read: not JSON, an unknown key or name."""
class Unauthenticated(CarouselError, status=401): """The service needs a key; none or an unknown one was sent."""
class Forbidden(CarouselError, status=403): """The key, the origin or the host is not allowed to make this call."""
class RouteNotFound(CarouselError, status=404, code="not_found"): """The service has no such route: check the URL."""
class ModelNotFound(CarouselError, status=404): """The service has no model of that name."""
class VersionNotFound(CarouselError, status=404): """The model has no such version, or that of the session is gone."""
class SessionNotFound(CarouselError, status=404): """The session never existed, or was deleted."""
class ChannelNotFound(CarouselError, status=404): """The channel was closed: open its session again."""
class MethodNotAllowed(CarouselError, status=405): """The route has another method."""
class TooSlow(CarouselError, status=408): """The request arrived more slowly than the service allows."""
class SessionExists(CarouselError, status=409): """The session id is taken."""
class SessionExpired(CarouselError, status=410): """The session was idle beyond its TTL; its id may be used anew."""
class PayloadTooLarge(CarouselError, status=413): """The body or frame is over the limit of the service."""
class UnsupportedEncoding(CarouselError, status=415): """The service does not read this Content-Encoding."""
class InvalidInput(CarouselError, ValueError, status=422): """The model cannot take the inputs: see `detail`."""
class NonFiniteOutput(CarouselError, status=422): """The model answered NaN or infinity; the state did not move."""
class NotStreamable(CarouselError, status=422): """The model needs whole sequences and has no sessions."""
class StateMismatch(CarouselError, status=422): """A state or session of another model, version or shape, or damaged."""
class HeadTooLarge(CarouselError, status=431): """The request line and headers are over the limit of the service."""
class Internal(CarouselError, status=500): """A defect of the service; the call may have been applied."""
class DeadlineExceeded(CarouselError, status=504): """Not started within the `timeout`: nothing was applied."""
class CommitUnknown(CarouselError, status=504): """The call may have been applied: send it again only with its step."""

class Unavailable(CarouselError, status=503): """The service refused the call before it applied anything of it."""
class QuotaExceeded(Unavailable, status=429): """The tenant is over its quota; wait `retry_after` seconds."""
class Overloaded(Unavailable, status=503): """A queue or table is full, or a version is loading; wait `retry_after`."""
class TooManyChannels(Unavailable, status=503): """One socket has no more channels: close some, or open a stream."""
class ShuttingDown(Unavailable, status=503): """The service is shutting down."""
class EngineFailed(Unavailable, status=503): """The engine of the model died."""
class StoreUnavailable(Unavailable, status=503): """The store of the sessions cannot be reached."""

class StateLost(CarouselError): """The service has the session without steps that it answered: open it again."""
class ForeignAnswer(CarouselError): """An answer that breaks the contract: of a proxy, another service, wrong shapes."""
class AnswerTooLarge(CarouselError): """The answer is over `max_answer_bytes`; the call may have been applied."""
class ConnectionFailed(CarouselError): """No whole answer came; a call that was sent may have been applied."""
class TimedOut(ConnectionFailed): """The `timeout` of the call passed before its answer came."""
# fmt: on


def state_lost(session: str, answered: int, stands: int | None) -> StateLost:
    """The error of a session that the service has at an earlier step than it answered."""
    return StateLost(
        f"the service answered up to step {answered} of session {session!r} and has it at step {stands} now: "
        "its state was lost. Open it again to begin anew.",
        session=session,
    )
