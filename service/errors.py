"""The error tree: every refusal is a class with a WIRE code, an HTTP status and a title; nothing else decides these."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Any, ClassVar


class CarouselError(Exception):
    """A defect of ours, unless a subclass says otherwise. `extra` are further members of the problem document."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init_subclass__(cls, code: str, status: int, title: str = "") -> None:
        """Set what tells the kinds of errors apart; the title follows from the code."""
        cls.code, cls.status, cls.title = code, status, title or code.replace("_", " ").capitalize()

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra = extra

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 document of this error."""
        kind = {"type": f"urn:carousel:{self.code}", "title": self.title, "status": self.status}
        return {**kind, "detail": self.detail, "code": self.code, **self.extra}


class InvalidRequest(CarouselError, code="invalid_request", status=400):
    """The body is not the JSON object that the route takes."""


class NotFound(CarouselError, code="not_found", status=404):
    """No such route."""


class MethodNotAllowed(CarouselError, code="method_not_allowed", status=405):
    """The route exists for another verb."""


class UnsupportedEncoding(CarouselError, code="unsupported_encoding", status=415):
    """A Content-Encoding other than gzip or deflate."""


class PayloadTooLarge(CarouselError, code="payload_too_large", status=413):
    """The body, also after decompression, or the number of its sequences is over the limit."""


class HeadTooLarge(CarouselError, code="head_too_large", status=431):
    """The head of a request has too many bytes or lines."""


class TooSlow(CarouselError, code="too_slow", status=408):
    """The head or the body of a request does not arrive in time."""


class InvalidInput(CarouselError, code="invalid_input", status=422):
    """A value that the model cannot take; `detail` names its place."""


class UnknownLabel(InvalidInput, code="invalid_input", status=422):
    """A word that is no label of its feature. The nearest labels are looked up when the error is told, if it is."""

    def __init__(self, place: str, word: str, labels: Iterable[str]) -> None:
        super().__init__(f"{place}: {word[:_SHOWN]!r} is no label of this feature")
        self._word, self._labels = word, labels

    def problem(self) -> dict[str, Any]:
        """See CarouselError.problem."""
        labels = tuple(islice(self._labels, _LOOKED_AT))
        near = _nearest(self._word[:_SHOWN], labels) or labels[:_NAMED]
        return super().problem() | {"detail": f"{self.detail}; the nearest are {', '.join(map(repr, near))}"}


_SHOWN = 50  # characters of a word
_LOOKED_AT = 500  # labels: with the words of a client, a millisecond
_NAMED = 3  # labels in a message


@lru_cache(1024)  # a client that sends a wrong word once sends it again
def _nearest(word: str, labels: tuple[str, ...]) -> list[str]:
    """Labels like a word, the likest first; upper and lower case count as alike."""
    folded = {label[:_SHOWN].casefold(): label for label in labels}
    return [folded[one] for one in get_close_matches(word.casefold(), folded, _NAMED)]


class NonFiniteOutput(CarouselError, code="non_finite_output", status=422, title="Non-finite output"):
    """The model answered NaN or Inf; the state did not move."""


class NotStreamable(CarouselError, code="not_streamable", status=422):
    """A session on a model that needs the whole sequence."""


class StateMismatch(CarouselError, code="state_mismatch", status=422):
    """Another model, version or shape, or a damaged blob."""


class ModelNotFound(CarouselError, code="model_not_found", status=404):
    """No model of that name."""


class VersionNotFound(CarouselError, code="version_not_found", status=404):
    """The model has no such version, or it is not ready."""


class SessionNotFound(CarouselError, code="session_not_found", status=404):
    """The session never existed, or was deleted."""


class ChannelNotFound(CarouselError, code="channel_not_found", status=404):
    """The channel was never opened on this socket, or is closed."""


class SessionExpired(CarouselError, code="session_expired", status=410):
    """The session was idle beyond its TTL."""


class SessionExists(CarouselError, code="session_exists", status=409):
    """The id is taken."""


class StepConflict(CarouselError, code="step_conflict", status=409):
    """The named step is not the next one, and no kept call."""

    def __init__(self, step: int, expected: int) -> None:
        applied = {"applied": True} if step < expected else {}
        super().__init__(f"step {_told(step)} was named, step {expected} is next", expected_step=expected, **applied)


def _told(step: int) -> str:
    return str(step) if step < 2**63 - 1 else f"{step} or a later one"  # see LAST


class SnapshotNotKept(CarouselError, code="step_conflict", status=409):
    """The session has no snapshot at the step to which it is to be rewound."""

    def __init__(self, step: int, expected: int, kept: list[int]) -> None:
        super().__init__(f"no snapshot of step {_told(step)} is kept", expected_step=expected, snapshots=kept)


class Overloaded(CarouselError, code="overloaded", status=503):
    """The queue or the session table is full; nothing of the call was applied."""

    def __init__(self, detail: str, retry_after_ms: int = 1000) -> None:
        super().__init__(detail, retry_after_ms=retry_after_ms)


class TooManyChannels(Overloaded, code="too_many_channels", status=503):
    """65 536 channels are open on this socket."""


class DeadlineExceeded(CarouselError, code="deadline_exceeded", status=504):
    """The caller's deadline passed before the call was taken; nothing was applied."""


class ShuttingDown(CarouselError, code="shutting_down", status=503):
    """The server is draining; nothing of the call was applied."""


class EngineFailed(CarouselError, code="engine_failed", status=503):
    """The engine died; nothing of the call was applied."""


class Forbidden(CarouselError, code="forbidden", status=403):
    """The Host or the Origin of a request is not allowed."""


class StoreUnavailable(CarouselError, code="store_unavailable", status=503):
    """The store cannot be written now; nothing was applied."""

    def __init__(self, detail: str = "", retry_after_ms: int = 1000) -> None:
        super().__init__(detail, retry_after_ms=retry_after_ms)


class SessionMoved(StoreUnavailable, code="store_unavailable", status=503):
    """Another process had the session; nothing was applied. The engine asks once more before it tells a client."""

    def __init__(self, id: str) -> None:
        super().__init__("another process has taken the session over", retry_after_ms=50)
        self.id = id


class CommitUnknown(CarouselError, code="commit_unknown", status=504):
    """Whether the call was committed is not known: send it again only with its step."""


class ModelUnusable(Exception):
    """A model file that cannot be served; the message is the `reason` of an unavailable version."""
