"""The FastAPI application: its document, and the problem that answers each error."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service import __version__
from service.api.http import body
from service.errors import CarouselError, InvalidRequest, MethodNotAllowed, NotFound

_STREAM = (
    ": the stream begins with a WebSocket handshake, of which 'Connection: Upgrade' or 'Upgrade: websocket' is missing;"
    " a proxy may drop them"
)


def application(lifespan: object) -> FastAPI:
    """An application without routes."""
    app = FastAPIOffline(
        title="Carousel",
        version=__version__,
        description="Serves recurrent networks, and keeps every stream's hidden state for its caller.",
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )

    @app.exception_handler(CarouselError)
    async def refused(request: Request, error: CarouselError) -> Response:
        return body.refusal(error, request.url.path)

    @app.exception_handler(HTTPException)
    async def not_routed(request: Request, error: HTTPException) -> Response:
        kind = {404: NotFound, 405: MethodNotAllowed}.get(error.status_code, InvalidRequest)
        path = request.url.path
        answer = body.refusal(kind(f"{request.method} {path}{_STREAM if path == '/v1/stream' else ''}"), path)
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(_verbs(app, request))
        return answer

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:  # the server logs it, with its request id
        return body.refusal(CarouselError(), request.url.path)

    return app


def _verbs(app: FastAPI, request: Request) -> list[str]:
    """Those that some route takes at the path of a request; a route alone knows its own."""
    scopes = [dict(request.scope) | {"method": verb} for verb in ("GET", "POST", "PUT", "DELETE")]
    verbs = [scope["method"] for scope in scopes if any(route.matches(scope)[0] is Match.FULL for route in app.routes)]
    return [*verbs, "HEAD"] if "GET" in verbs else verbs
