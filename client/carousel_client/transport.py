"""One HTTP request to the service and its whole answer, of bounded size; knows no calls and no retries."""

from __future__ import annotations

import base64
import io
import os
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import aiohttp
from yarl import URL

from carousel_client.answers import Answer
from carousel_client.errors import AnswerTooLarge, InvalidRequest

T = TypeVar("T")
LARGE = 2**20  # bytes


class PerProcess(Generic[T]):
    """A value that each process makes for itself: after `os.fork`, the child does not touch that of its parent.

    The child keeps the value of the parent, alive and unused: to close it would close what the parent uses.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[int, T] = {}  # by process id

    def __call__(self) -> T:
        """The value of this process."""
        pid = os.getpid()
        return self._values[pid] if pid in self._values else self._values.setdefault(pid, self._make())


@dataclass(frozen=True, slots=True)
class Service:
    """The address of the service. The credentials of the URL become headers, which are never shown."""

    url: URL
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def at(cls, url: str) -> Service:
        """Read `scheme://user:password@host:port/path`. Raises InvalidRequest, without the URL in its text."""
        try:
            parsed = URL(url)
            user, password = parsed.user or "", parsed.password or ""
            basic = base64.b64encode(f"{user}:{password}".encode()).decode()
            bare = parsed.with_user(None).with_query(None).with_fragment(None)
        except (TypeError, ValueError):
            bare = URL()
        if bare.scheme not in {"http", "https"} or not bare.host:
            raise InvalidRequest("url: not the address of a service, such as http://127.0.0.1:8000") from None
        return cls(bare, {"Authorization": f"Basic {basic}"} if user or password else {})

    def route(self, path: str, scheme: str | None = None) -> URL:
        """The URL of a path, which is percent-encoded already."""
        url = self.url if scheme is None else self.url.with_scheme(scheme)
        return URL(str(url).rstrip("/") + path, encoded=True)

    def proxy(self) -> str | None:
        """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for the service."""
        proxies = urllib.request.getproxies()
        found = proxies.get(self.url.scheme) or proxies.get("all")
        return None if urllib.request.proxy_bypass(self.url.host or "") else found


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `replayable`: applied twice, it changes nothing more and has the same answer."""

    method: str
    path: str
    content: bytes | None = None
    replayable: bool = False


class HttpTransport:
    """Connections to the service by aiohttp; each process and its event loop have their own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._session = PerProcess(self._connect)
        self._closed = False

    def check_open(self) -> None:
        """Raise InvalidRequest once it is closed."""
        if self._closed:
            raise InvalidRequest("the client is closed")

    async def send(self, request: Request, headers: Mapping[str, str], limit: int) -> Answer:
        """The whole answer to the request, sent once.

        Raises AnswerTooLarge beyond `limit` bytes, InvalidRequest once it is closed, `retry.FAILURES`.

        Compression is refused: it would undo the limit.
        """
        self.check_open()
        content = request.content
        response = await self._session().request(
            request.method,
            self._service.route(request.path),
            data=io.BytesIO(content) if content and len(content) > LARGE else content,  # is sent piece by piece
            headers={**self._service.headers, "Accept-Encoding": "identity", **headers},
            allow_redirects=False,
        )
        body = bytearray()
        try:
            async for piece in response.content.iter_any():
                body.extend(piece)
                if len(body) > limit:
                    raise AnswerTooLarge(f"more than max_answer_bytes={limit}", request_id=headers.get("X-Request-Id"))
            return Answer.of(response.status, response.headers, bytes(body))
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        await self._session().close()

    def _connect(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None),  # the caller's `asyncio.timeout` bounds the whole exchange
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            proxy=self._service.proxy(),
        )
        session._retry_connection = False  # no retries that `retry` does not know of
        return session
