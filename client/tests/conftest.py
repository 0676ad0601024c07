"""One test body for both clients: `connect` gives the AsyncClient, or the Client behind awaitable methods.

Hypothesis has no deadline here: a busy machine is no failure.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fake_clock import Clock
from fake_service import FakeService
from hypothesis import settings

from carousel_client import AsyncClient, Client, Session

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


class Awaitable:
    """A blocking client or session whose calls can be awaited, so that a test need be written once."""

    def __init__(self, blocking: Any) -> None:
        self.blocking = blocking

    def session(self, *args: Any, **kwargs: Any) -> Awaitable:
        return Awaitable(self.blocking.session(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.blocking, name)
        if not callable(value):
            return value

        async def call(*args: Any, **kwargs: Any) -> Any:
            result = value(*args, **kwargs)
            if isinstance(result, list):
                return [Awaitable(one) if isinstance(one, Session) else one for one in result]
            return Awaitable(result) if isinstance(result, Session) else result

        return call

    async def __aenter__(self) -> Awaitable:
        self.blocking.__enter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self.blocking.__exit__(*error)

    def __repr__(self) -> str:
        return repr(self.blocking)


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest, service: FakeService, clock: Clock) -> Callable[..., Any]:
    def make(**settings: Any) -> Any:
        settings = {"transport": service, "clock": clock, "sleep": clock.sleep} | settings
        if request.param == "async":
            return AsyncClient("http://carousel.test", **settings)
        return Awaitable(Client("http://carousel.test", **settings))

    return make


@pytest.fixture
async def client(connect: Callable[..., Any]) -> AsyncIterator[Any]:
    async with connect() as client:
        yield client
