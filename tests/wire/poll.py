"""Waiting for what another process will do: polled, and never longer than it is worth."""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def until(look: Callable[[], _T], *, seconds: float = 10, what: str = "the condition") -> _T:
    """The first true thing that `look` gives; an AssertionError if there is none in time."""
    ends = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < ends, f"{what} did not come true within {seconds} s"
        time.sleep(0.01)
    return seen
