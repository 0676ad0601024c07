"""Runs the asyncio client for threads: its calls on one event loop, in a thread of its own, for the whole process."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from carousel_client.errors import InvalidRequest
from carousel_client.transport import PerProcess

P = ParamSpec("P")
T = TypeVar("T")
B = TypeVar("B", bound="Blocking")


def _start_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="carousel-client", daemon=True).start()
    return loop


event_loop = PerProcess(_start_loop)


def run(call: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of the asyncio client and wait for its end. An exception here, as of Ctrl-C, cancels it."""
    loop = event_loop()
    if asyncio._get_running_loop() is loop:  # would wait for itself
        call.close()
        raise InvalidRequest("a blocking call in a callback, which runs in the thread of the client")
    result = asyncio.run_coroutine_threadsafe(call, loop)
    try:
        return result.result()
    except BaseException:
        result.cancel()
        raise


def blocking(call: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """The method of a Blocking that runs this method of its asyncio object."""

    @wraps(call)
    def method(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run(call(self._async, *args, **kwargs))

    return method


def giving(kind: Callable[[Any], B], call: Callable[Concatenate[Any, P], Any]) -> Callable[Concatenate[Any, P], B]:
    """As `blocking`, for a method that gives another asyncio object: a Blocking of this kind is made of it."""

    @wraps(call)
    def method(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> B:
        given = call(self._async, *args, **kwargs)
        return kind(run(given) if inspect.iscoroutine(given) else given)

    return method


class Blocking:
    """An object for threads over one for asyncio, whose attributes it has; `with` is its `async with`."""

    def __init__(self, asynchronous: Any) -> None:
        self._async = asynchronous

    if not TYPE_CHECKING:  # for mypy the subclasses declare the attributes

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            return getattr(self._async, name)

    def __enter__(self) -> Self:
        run(self._async.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        run(self._async.__aexit__(*error))

    def __repr__(self) -> str:
        return repr(self._async).replace("Async", "", 1)
