"""The routes that carry the load, on the shortest path: past the framework's routing, which costs more than they do.

They are routes of the application too, by which they are documented, and by which they are served where a request has a
query. Knows paths; what a route does is given to it.
"""

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import body
from service.errors import CarouselError

Route = Callable[[Request, str], Awaitable[Response]]  # the name is what stands in the braces of its path

_log = logging.getLogger("carousel.request")


class Path:
    """The path of a route, as the request counter reads it."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class Hot:
    """Wraps the application. Paths are `/v1/WHAT/{name}/VERB`, and all take POST."""

    def __init__(self, app: ASGIApp, routes: dict[str, Route]) -> None:
        self._app = app
        self._routes: dict[tuple[str, str], tuple[Path, Route]] = {}
        for path, route in routes.items():
            _, _, what, _, verb = path.split("/")
            self._routes[what, verb] = Path(path), route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["method"] == "POST" and not scope["query_string"]:
            parts = scope["path"].split("/")
            if len(parts) == 5 and parts[1] == "v1" and parts[3] and (found := self._routes.get((parts[2], parts[4]))):
                scope["route"], route = found
                await (await _answer(route, Request(scope, receive), parts[3]))(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _answer(route: Route, request: Request, name: str) -> Response:
    try:
        return await route(request, name)
    except CarouselError as error:
        return body.problem(error)
    except Exception:
        _log.exception("%s", request.url.path)
        return body.problem(CarouselError())
