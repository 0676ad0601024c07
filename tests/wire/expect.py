"""What the tests of the wire say again and again, said once."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from service.errors import CarouselError

Array = NDArray[np.float32]


def _leaves(kind: type[CarouselError]) -> list[type[CarouselError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in _leaves(child))]


STATUS = {
    **{"invalid_request": 400, "not_found": 404, "method_not_allowed": 405, "unsupported_encoding": 415},
    **{"model_not_found": 404, "version_not_found": 404, "session_not_found": 404, "channel_not_found": 404},
    **{"session_expired": 410, "session_exists": 409, "step_conflict": 409, "invalid_input": 422},
    **{"non_finite_output": 422, "not_streamable": 422, "state_mismatch": 422, "payload_too_large": 413},
    **{"overloaded": 503, "too_many_channels": 503, "deadline_exceeded": 504, "shutting_down": 503},
    **{"engine_failed": 503, "forbidden": 403, "internal": 500, "head_too_large": 431, "too_slow": 408},
    **{"store_unavailable": 503, "commit_unknown": 504},
}  # the table of WIRE, written once more: not the service's own

_LATER = ("overloaded", "too_many_channels", "store_unavailable")


def problem(told: Mapping[str, Any], code: str) -> Mapping[str, Any]:
    """An RFC 9457 document of this code."""
    assert told.get("code") == code, told
    assert {"type", "title", "status", "detail", "code"} <= told.keys()
    assert told["type"] == f"urn:carousel:{code}"
    assert told["status"] == STATUS[code]
    assert told["title"] and told["detail"]
    assert (told.get("retry_after_ms", 0) >= 1) == (code in _LATER)
    return told


def refused(answer: httpx.Response, code: str) -> Mapping[str, Any]:
    """An HTTP answer that is this problem."""
    told = problem(answer.json(), code)
    assert answer.status_code == STATUS[code]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    if code in _LATER:
        assert re.fullmatch("[1-9][0-9]*", answer.headers["retry-after"])
    return told


def done(answer: httpx.Response, status: int = 200) -> Any:
    """The JSON of a good answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def bits(outputs: Any) -> bytes:
    """The float32 bits of numbers as they came over the wire, or as an oracle gave them."""
    return np.asarray(outputs, np.float64).astype(np.float32).tobytes()
