"""The routes that carry the load: served below ASGI and past the framework, which cost more than they do.

They are routes of the application too, by which they are documented, and by which they are served where a request is
not of the usual kind. Knows paths; what a route does is given to it, and HTTP is left to its caller.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from starlette.responses import Response

from service.api import body
from service.api.cohort import Cohort
from service.api.edge import Edge
from service.errors import InvalidRequest
from service.reply import Reply

LEFT = 499  # nobody reads it; it is what is counted when the caller leaves before he is answered


class Asked:
    """What a hot route is asked: a body, maybe still on its way, by a caller who may be impatient, and may leave."""

    __slots__ = ("_abandon", "_arrival", "_headers", "_left", "content", "deadline", "length")

    def __init__(self, headers: Mapping[bytes, bytes], length: int, content: bytes | None) -> None:
        self._headers, self.length = headers, length
        self.content = content  # the whole body; None: it is on its way
        self._arrival = Reply[bytes](loop=asyncio.get_running_loop()) if content is None else None
        self.deadline: float | None = None  # known with the body: it counts from the last byte
        self._abandon: Callable[[], object] | None = None
        self._left = False

    async def read(self) -> bytes:
        """The whole body. Raises InvalidRequest: it is cut off, or see `body.deadline`."""
        content = self.content if self._arrival is None else await self._arrival
        self.content = self._arrival = None  # it is read once, and is many times what is made of it
        assert content is not None, "it is there, or arrives"
        self.deadline = body.deadline(self._headers)
        return content

    def arrive(self, content: bytes) -> None:
        """The body is there."""
        if self._arrival is not None:
            self._arrival.set_result(content)
            self._arrival.tell()

    def leave(self) -> None:
        """The caller has left."""
        self._left = True
        if self._arrival is not None and not self._arrival.done():  # nobody reads the answer; it counts as his fault
            self._arrival.set_exception(InvalidRequest("the body is cut off"))
            self._arrival.exception()  # the route may have answered already
            self._arrival.tell()
        elif self._abandon is not None:
            self._abandon()

    def leaving(self, abandon: Callable[[], object]) -> None:
        """What to do if the caller leaves, or has left; it cancels the route."""
        self._abandon = abandon
        if self._left:
            abandon()


Route = Callable[[Asked, str], Coroutine[Any, Any, Response]]  # the name is what stands in the braces of its path


class Hot:
    """The routes by path, each with one name in braces. All take POST."""

    def __init__(self, routes: dict[str, Route], edge: Edge) -> None:
        self.edge, self.cohort = edge, Cohort()
        self._routes = list(routes.items())
        self._paths = re.compile("|".join(re.sub(r"{\w+}", r"([\\w.:@-]+)", path) for path in routes).encode())

    def find(self, path: bytes) -> tuple[str, Route, str] | None:
        """The route of a path without query and escapes: as it is written, itself, and the name that it takes."""
        match = self._paths.fullmatch(path)
        if match is None or match.lastindex is None:
            return None
        return *self._routes[match.lastindex - 1], match[match.lastindex].decode("ascii")
