"""Why a socket is gone, or was not to be had: the failures of the websockets library as errors of ours."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from carousel_client.errors import CarouselError, ConnectionFailed, ForeignAnswer, Unavailable, answer_error
from carousel_client.exchange import PROXY_FAILURES

FAILURES = (OSError, WebSocketException, ForeignAnswer)  # OSError: TimeoutError too


@dataclass(frozen=True, slots=True)
class Loss:
    """The error for those who waited, the service's close code if it gave one, and whether another socket may help."""

    error: CarouselError
    code: int | None = None
    again: bool = True


def loss(failure: Exception) -> Loss:
    """What one of FAILURES means."""
    if isinstance(failure, ForeignAnswer):
        return Loss(failure, again=False)
    if isinstance(failure, ConnectionClosed):
        code = None if failure.rcvd is None else failure.rcvd.code
        return Loss(ConnectionFailed(f"the socket was lost: {failure}"), code)
    if isinstance(failure, InvalidStatus):
        error = answer_error(_response(failure))
        return Loss(error, again=isinstance(error, Unavailable) or error.status in PROXY_FAILURES)
    error = ConnectionFailed(f"{type(failure).__name__}: {failure}")
    return Loss(error, again=not isinstance(failure, InvalidURI))


def _response(refused: InvalidStatus) -> httpx.Response:
    answer = refused.response
    headers = list(answer.headers.raw_items())
    return httpx.Response(answer.status_code, headers=headers, content=bytes(answer.body or b""))
