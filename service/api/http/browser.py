"""What web pages may do: which hosts are served, which origins may call, and the headers that browsers obey.

A page that a browser shows can send requests to every address that the browser reaches, a service on localhost among
them. Clients that are no browsers send no `Origin`, and notice nothing of this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware

from service.api.http import body
from service.errors import Forbidden

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.settings import Settings

_HOST = re.compile(rb"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")  # without its port
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_LOOPBACK = ("127.", "localhost", "::1")
_HEADERS = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer"}
_TOLD = ("Allow", "Inference-Header-Content-Length", "Retry-After", "X-Request-Id")  # beside what browsers show anyway
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
_DOCS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " frame-ancestors 'none'"
)


class Browsers:
    """The rules. Without `allowed_hosts` they hold where the service listens on loopback addresses alone."""

    def __init__(self, settings: Settings) -> None:
        self._hosts = frozenset(host.lower().encode() for host in settings.allowed_hosts)
        self.origins = settings.allowed_origins
        self._checks_hosts = bool(self._hosts) or settings.host.startswith(_LOOPBACK)
        self.serves = lru_cache(256)(self._serves)

    def _serves(self, host: bytes) -> bool:
        """Whether requests for this `Host` are answered: see `allowed_hosts` in docs/operations.md.

        An address or a name of one label cannot be a page's own that was pointed here later (DNS rebinding).
        """
        found = _HOST.fullmatch(host.lower())
        name = found[1].strip(b"[]") if found else host
        return not self._checks_hosts or name in self._hosts or b"." not in name or _is_address(name)

    def foreign(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request comes from a page of another origin that is not allowed."""
        origin = headers.get(b"origin")
        if origin is None:
            return headers.get(b"sec-fetch-site") == b"cross-site"
        own = origin.partition(b"://")[2] == headers.get(b"host")
        return not own and origin.decode("latin-1") not in self.origins

    def refusal(self, headers: Mapping[bytes, bytes], *, unsafe: bool) -> Forbidden | None:
        """Why a request is refused, or None."""
        if not self.serves(headers.get(b"host", b"")):
            return Forbidden(f"Host {headers[b'host'].decode('latin-1')} is not served: see CAROUSEL_ALLOWED_HOSTS")
        if unsafe and self.foreign(headers):
            origin = headers.get(b"origin", b"of another site").decode("latin-1")
            return Forbidden(f"Origin {origin} may not call: see CAROUSEL_ALLOWED_ORIGINS")
        return None


class Guarded:
    """Wraps an application: checks hosts and origins, adds headers, and answers CORS requests of allowed origins."""

    def __init__(self, app: ASGIApp, browsers: Browsers) -> None:
        cors = {
            "allow_origins": browsers.origins,
            "allow_methods": ["*"],
            "allow_headers": ["*"],
            "expose_headers": _TOLD,
        }
        self._app = CORSMiddleware(app, **cors) if browsers.origins else app  # type: ignore[arg-type]
        self._browsers = browsers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        policy = _DOCS if path.startswith(("/docs", "/static")) else _NOTHING

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["method"] in _SAFE:  # what a browser may show
                headers = MutableHeaders(scope=message)
                for name, value in (*_HEADERS.items(), ("content-security-policy", policy)):
                    headers[name] = value
            await send(message)

        headers = dict(scope["headers"])
        unsafe = scope["method"] not in _SAFE or b"access-control-request-method" in headers
        refusal = self._browsers.refusal(headers, unsafe=unsafe)
        app = self._app if refusal is None or path.startswith("/health/") else body.refusal(refusal, path)
        await app(scope, receive, send_with_headers)


def _is_address(name: bytes) -> bool:
    try:
        ip_address(name.decode("latin-1"))
    except ValueError:
        return False
    return True
