"""The error tree: every way a call can fail, one class for each code of WIRE; knows answers, not how they travel.

CarouselError                  .code .status .detail .problem .request_id .retry_after .session
├── InvalidRequest             the envelope cannot be read
├── RouteNotFound · MethodNotAllowed · UnsupportedEncoding · PayloadTooLarge
├── ModelNotFound · VersionNotFound · SessionNotFound · SessionExpired · SessionExists
├── ChannelNotFound            no such channel of the stream: it was closed
├── StepConflict               .expected_step .applied
├── InvalidInput               wrong shape, name or number; raised here too, before anything is sent; a ValueError
├── NonFiniteOutput · NotStreamable · StateMismatch
├── StateLost                  the service forgot a session that a stream held open
├── PartlyFailed               .errors .outputs: some sessions of a stream's call failed, the others moved
├── Unavailable                nothing of the call was applied; it may be sent again
│   └── Overloaded · TooManyChannels · ShuttingDown · EngineFailed
├── DeadlineExceeded           the service says: not begun in time, nothing was applied
├── Internal                   a defect of the service
├── ForeignAnswer              an answer that is not Carousel's: a proxy's page
└── ConnectionFailed           no answer: the call may have been applied, or not
    └── TimedOut               because the deadline passed here
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray


class CarouselError(Exception):
    """A call failed. Where no answer came `status` is None, where no problem document came `problem` is empty."""

    code = "unknown"

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
        self.retry_after = retry_after  # seconds the service asks to wait
        self.session = session  # the id of the session concerned, where a stream's call may have many

    def __str__(self) -> str:
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code}: {self.detail}{request}"


class InvalidRequest(CarouselError):
    """Not JSON, unknown keys, a name that cannot be one."""

    code = "invalid_request"


class RouteNotFound(CarouselError):
    """The service has no such route: is the URL that of a Carousel?"""

    code = "not_found"


class MethodNotAllowed(CarouselError):
    """The route has another verb."""

    code = "method_not_allowed"


class UnsupportedEncoding(CarouselError):
    """A Content-Encoding that the service does not read."""

    code = "unsupported_encoding"


class PayloadTooLarge(CarouselError):
    """The body is over the service's limit."""

    code = "payload_too_large"


class ModelNotFound(CarouselError):
    """The service has no model of that name."""

    code = "model_not_found"


class VersionNotFound(CarouselError):
    """The model has no such version, or the session's own was unloaded."""

    code = "version_not_found"


class SessionNotFound(CarouselError):
    """The session never existed, or was deleted."""

    code = "session_not_found"


class ChannelNotFound(CarouselError):
    """The channel was closed; open its session again."""

    code = "channel_not_found"


class SessionExpired(CarouselError):
    """The session was idle beyond its TTL; its id may be created anew."""

    code = "session_expired"


class SessionExists(CarouselError):
    """The id is taken."""

    code = "session_exists"


class StepConflict(CarouselError):
    """The session stands at another step than the one named; nothing ran."""

    code = "step_conflict"

    @property
    def expected_step(self) -> int | None:
        """The step that the session waits for."""
        return self.problem.get("expected_step")

    @property
    def applied(self) -> bool:
        """Whether the named step lies behind: some call has already been applied there."""
        return self.problem.get("applied") is True


class InvalidInput(CarouselError, ValueError):
    """Inputs that the model cannot take; `detail` names the place."""

    code = "invalid_input"


class NonFiniteOutput(CarouselError):
    """The model answered NaN or infinity; the state did not move."""

    code = "non_finite_output"


class NotStreamable(CarouselError):
    """The model needs whole sequences: no sessions of it."""

    code = "not_streamable"


class StateMismatch(CarouselError):
    """A state or session of another model, version or shape, or a damaged state."""

    code = "state_mismatch"


class StateLost(CarouselError):
    """The service no longer knew a session that a stream held open, or stands behind what it had answered.

    Its state is gone. The id stands for a session at step 0 now: open it again to begin anew.
    """

    code = "state_lost"


class PartlyFailed(CarouselError):
    """Some sessions of a call on many channels failed; the others moved, and their outputs are here.

    `errors`: session id → its error. `outputs`: one entry a channel, in the order of the call; None where it failed.
    """

    code = "partly_failed"

    def __init__(self, errors: Mapping[str, CarouselError], outputs: Sequence[NDArray[np.float32] | None]) -> None:
        session, error = next(iter(errors.items()))
        super().__init__(f"{len(errors)} of {len(outputs)} sessions failed, the first {session!r}: {error}")
        self.errors = dict(errors)
        self.outputs = list(outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errors, self.outputs)


class Unavailable(CarouselError):
    """Refused at the door: nothing of the call was applied."""

    code = "unavailable"


class Overloaded(Unavailable):
    """The queue or the session table is full; `retry_after` says for how many seconds to wait."""

    code = "overloaded"


class TooManyChannels(Unavailable):
    """The stream has as many channels as a socket may have: close some, or open another stream."""

    code = "too_many_channels"


class ShuttingDown(Unavailable):
    """The service is draining."""

    code = "shutting_down"


class EngineFailed(Unavailable):
    """The model's engine died."""

    code = "engine_failed"


class DeadlineExceeded(CarouselError):
    """The service did not begin the call within its `timeout`; nothing was applied."""

    code = "deadline_exceeded"


class Internal(CarouselError):
    """A defect of the service; whether the call was applied is unknown."""

    code = "internal"


class ForeignAnswer(CarouselError):
    """An answer that Carousel does not give: a proxy's page, another service."""

    code = "foreign_answer"


class ConnectionFailed(CarouselError):
    """No whole answer came; a call that was sent may have been applied."""

    code = "connection_failed"


class TimedOut(ConnectionFailed):
    """The `timeout` of the call passed here before its answer came."""

    code = "timed_out"


def _tree(root: type[CarouselError]) -> list[type[CarouselError]]:
    return [root, *(leaf for branch in root.__subclasses__() for leaf in _tree(branch))]


BY_CODE = {error.code: error for error in _tree(CarouselError)}


def problem_error(problem: Mapping[str, Any], **known: Any) -> CarouselError:
    """The error that a problem document means; a code from a newer service gives a plain CarouselError."""
    error = BY_CODE.get(str(problem.get("code")), CarouselError)
    known.setdefault("status", problem.get("status"))
    if isinstance(problem.get("retry_after_ms"), int | float):
        known["retry_after"] = float(problem["retry_after_ms"]) / 1000
    return error(str(problem.get("detail") or problem.get("title") or ""), problem=problem, **known)


def answer_error(response: httpx.Response) -> CarouselError:
    """The error that an answer other than success means."""
    request_id = response.headers.get("X-Request-Id")
    try:
        problem = json.loads(response.content)
    except ValueError:
        problem = None
    known = {"status": response.status_code, "request_id": request_id, "retry_after": _retry_after(response)}
    if isinstance(problem, dict) and "code" in problem:
        return problem_error(problem, **known)
    page = response.text.strip()[:80]
    return ForeignAnswer(f"status {response.status_code}, not a problem document: {page!r}", **known)


def _retry_after(response: httpx.Response) -> float | None:
    seconds = response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() else None
