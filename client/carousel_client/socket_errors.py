"""What the end of a WebSocket means: the exceptions of the websockets library as errors of the client."""

from __future__ import annotations

from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from carousel_client.answers import Answer
from carousel_client.errors import AnswerTooLarge, CarouselError, ConnectionFailed, ForeignAnswer, Unavailable
from carousel_client.retry import PROXY_FAILURES

FAILURES = (OSError, WebSocketException, ForeignAnswer, ValueError, EOFError)  # OSError: TimeoutError too


@dataclass(frozen=True, slots=True)
class Loss:
    """The error of the calls in flight, the close code of the service if any, and whether another socket may help."""

    error: CarouselError
    code: int | None = None
    again: bool = True


def loss(failure: Exception) -> Loss:
    """The meaning of one of FAILURES."""
    if isinstance(failure, ForeignAnswer):
        return Loss(failure, again=False)
    if isinstance(failure, ConnectionClosed):
        if failure.sent is not None and failure.sent.code == 1009 and not failure.rcvd_then_sent:
            return Loss(AnswerTooLarge("a frame of more than max_answer_bytes"), again=False)
        code = None if failure.rcvd is None else failure.rcvd.code
        return Loss(ConnectionFailed(f"the socket was lost: {failure}"), code)
    if isinstance(failure, InvalidStatus):
        refused = failure.response
        error = Answer.of(refused.status_code, refused.headers, bytes(refused.body or b"")).error()
        return Loss(error, again=isinstance(error, Unavailable) or error.status in PROXY_FAILURES)
    error = ConnectionFailed(f"{type(failure).__name__}: {failure}")
    return Loss(error, again=not isinstance(failure, InvalidURI))
