"""The routes that carry the load: served below ASGI and past the framework, which cost more than they do.

They are routes of the application too, by which they are documented, and by which they are served where a request is
not of the usual kind. Knows paths; what a route does is given to it, and HTTP is left to its caller.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from starlette.responses import Response

from service.api import body
from service.api.edge import Edge

LEFT = 499  # nobody reads it; it is what is counted when the caller leaves before he is answered


class Asked:
    """What a hot route is asked: the whole body, by a caller who may be impatient, and may leave."""

    __slots__ = ("abandon", "content", "deadline")

    def __init__(self, content: bytes, headers: dict[bytes, bytes]) -> None:
        self.content, self.deadline = content, body.deadline(headers)
        self.abandon: Callable[[], object] | None = None  # what to do if the caller leaves: it cancels the route


Route = Callable[[Asked, str], Coroutine[Any, Any, Response]]  # the name is what stands in the braces of its path


class Found(NamedTuple):
    """The route of a path, and the name in it."""

    path: str
    route: Route
    name: str


class Hot:
    """The routes by path, each with one name in braces. All take POST."""

    def __init__(self, routes: dict[str, Route], edge: Edge) -> None:
        self.edge = edge
        self._routes = [(_pattern(path), path, route) for path, route in routes.items()]

    def find(self, path: bytes) -> Found | None:
        """The route of a path without query and escapes, if there is one."""
        for pattern, written, route in self._routes:
            if (match := pattern.fullmatch(path)) is not None:
                return Found(written, route, match[1].decode("ascii"))
        return None


def _pattern(path: str) -> re.Pattern[bytes]:
    return re.compile(re.sub(r"{\w+}", r"([\\w.:@-]+)", path).encode())
