"""The error tree: every refusal is a class with a WIRE code, an HTTP status and a title; nothing else decides these.

CarouselError
├── InvalidRequest, NotFound, MethodNotAllowed, UnsupportedEncoding, PayloadTooLarge, HeadTooLarge, TooSlow
├── InvalidInput, NonFiniteOutput, NotStreamable, StateMismatch
├── ModelNotFound, VersionNotFound, SessionNotFound, ChannelNotFound, SessionExpired
├── SessionExists, StepConflict
└── Overloaded ── TooManyChannels;  DeadlineExceeded, ShuttingDown, EngineFailed
"""

from typing import Any, ClassVar


class CarouselError(Exception):
    """A defect of ours, unless a subclass says otherwise. `extra` are further members of the problem document."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra = extra

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 document of this error."""
        return {
            "type": f"urn:carousel:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }


class InvalidRequest(CarouselError):
    """The body is not the JSON object that the route takes."""

    code, status, title = "invalid_request", 400, "Invalid request"


class NotFound(CarouselError):
    """No such route."""

    code, status, title = "not_found", 404, "Not found"


class MethodNotAllowed(CarouselError):
    """The route exists for another verb."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class UnsupportedEncoding(CarouselError):
    """A Content-Encoding other than gzip or deflate."""

    code, status, title = "unsupported_encoding", 415, "Unsupported encoding"


class PayloadTooLarge(CarouselError):
    """The body, also after decompression, or the number of its sequences is over the limit."""

    code, status, title = "payload_too_large", 413, "Payload too large"


class HeadTooLarge(CarouselError):
    """The head of a request has too many bytes or lines."""

    code, status, title = "head_too_large", 431, "Head too large"


class TooSlow(CarouselError):
    """The head or the body of a request does not arrive in time."""

    code, status, title = "too_slow", 408, "Too slow"


class InvalidInput(CarouselError):
    """A value that the model cannot take; `detail` names its place."""

    code, status, title = "invalid_input", 422, "Invalid input"


class NonFiniteOutput(CarouselError):
    """The model answered NaN or Inf; the state did not move."""

    code, status, title = "non_finite_output", 422, "Non-finite output"


class NotStreamable(CarouselError):
    """A session on a model that needs the whole sequence."""

    code, status, title = "not_streamable", 422, "Not streamable"


class StateMismatch(CarouselError):
    """Another model, version or shape, or a damaged blob."""

    code, status, title = "state_mismatch", 422, "State mismatch"


class ModelNotFound(CarouselError):
    """No model of that name."""

    code, status, title = "model_not_found", 404, "Model not found"


class VersionNotFound(CarouselError):
    """The model has no such version, or it is not ready."""

    code, status, title = "version_not_found", 404, "Version not found"


class SessionNotFound(CarouselError):
    """The session never existed, or was deleted."""

    code, status, title = "session_not_found", 404, "Session not found"


class ChannelNotFound(CarouselError):
    """The channel was never opened on this socket, or is closed."""

    code, status, title = "channel_not_found", 404, "Channel not found"


class SessionExpired(CarouselError):
    """The session was idle beyond its TTL."""

    code, status, title = "session_expired", 410, "Session expired"


class SessionExists(CarouselError):
    """The id is taken."""

    code, status, title = "session_exists", 409, "Session exists"


class StepConflict(CarouselError):
    """The named step is not the next one, and no kept call."""

    code, status, title = "step_conflict", 409, "Step conflict"

    def __init__(self, step: int, expected: int) -> None:
        applied = {"applied": True} if step < expected else {}
        super().__init__(f"step {step} was named, step {expected} is next", expected_step=expected, **applied)


class Overloaded(CarouselError):
    """The queue or the session table is full; nothing of the call was applied."""

    code, status, title = "overloaded", 503, "Overloaded"

    def __init__(self, detail: str, retry_after_ms: int = 1000) -> None:
        super().__init__(detail, retry_after_ms=retry_after_ms)


class TooManyChannels(Overloaded):
    """65 536 channels are open on this socket."""

    code, status, title = "too_many_channels", 503, "Too many channels"


class DeadlineExceeded(CarouselError):
    """The caller's deadline passed before the call was taken; nothing was applied."""

    code, status, title = "deadline_exceeded", 504, "Deadline exceeded"


class ShuttingDown(CarouselError):
    """The server is draining; nothing of the call was applied."""

    code, status, title = "shutting_down", 503, "Shutting down"


class EngineFailed(CarouselError):
    """The engine died; nothing of the call was applied."""

    code, status, title = "engine_failed", 503, "Engine failed"


class StoreUnavailable(CarouselError):
    """The store cannot be written now; nothing was applied."""

    code, status, title = "store_unavailable", 503, "Store unavailable"

    def __init__(self, detail: str = "", retry_after_ms: int = 1000) -> None:
        super().__init__(detail, retry_after_ms=retry_after_ms)


class CommitUnknown(CarouselError):
    """Whether the call was committed is not known: send it again only with its step."""

    code, status, title = "commit_unknown", 504, "Commit unknown"


class ModelUnusable(Exception):
    """A model file that cannot be served; the message is the `reason` of an unavailable version."""
