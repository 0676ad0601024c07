"""Calls of a session take turns: one runs at a time, in the order in which they were begun."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from carousel_client.transport import PerProcess

P = ParamSpec("P")
T = TypeVar("T")


class _InTurn(Protocol):
    """What has calls that take turns."""

    _turn: PerProcess[asyncio.Lock]


_S = TypeVar("_S", bound=_InTurn)


def in_turn(
    call: Callable[Concatenate[_S, P], Awaitable[T]],
) -> Callable[Concatenate[_S, P], Coroutine[Any, Any, T]]:
    """The call, behind the calls of the session that began before it."""

    @wraps(call)
    async def method(self: _S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._turn():
            return await call(self, *args, **kwargs)

    return method
