"""The routes that carry the load: served below ASGI and past the framework, which cost more than they do.

They are routes of the application too, by which they are documented, and by which they are served where a request is
not of the usual kind. Knows paths; what a route does is given to it, and HTTP is left to its caller.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from starlette.responses import Response

from service.api import body
from service.api.edge import Edge

LEFT = 499  # nobody reads it; it is what is counted when the caller leaves before he is answered


class Asked:
    """What a hot route is asked: the whole body, by a caller who may be impatient, and may leave."""

    __slots__ = ("abandon", "content", "deadline")

    def __init__(self, content: bytes, headers: Mapping[bytes, bytes]) -> None:
        self.content, self.deadline = content, body.deadline(headers)
        self.abandon: Callable[[], object] | None = None  # what to do if the caller leaves: it cancels the route


Route = Callable[[Asked, str], Coroutine[Any, Any, Response]]  # the name is what stands in the braces of its path


class Hot:
    """The routes by path, each with one name in braces. All take POST."""

    def __init__(self, routes: dict[str, Route], edge: Edge) -> None:
        self.edge = edge
        self._routes = list(routes.items())
        self._paths = re.compile("|".join(re.sub(r"{\w+}", r"([\\w.:@-]+)", path) for path in routes).encode())

    def find(self, path: bytes) -> tuple[str, Route, str] | None:
        """The route of a path without query and escapes: as it is written, itself, and the name that it takes."""
        match = self._paths.fullmatch(path)
        if match is None or match.lastindex is None:
            return None
        return *self._routes[match.lastindex - 1], match[match.lastindex].decode("ascii")
