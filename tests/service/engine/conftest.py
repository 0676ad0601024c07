"""Engines that are started and stopped around a test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from tests.fakes import RunningSum
from tests.service.engine.serving import Serving


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests of a connection on the loop of the server, whose transports they are about."""
    return {"uvloop": uvloop.new_event_loop} if item.path.stem == "test_socket" else {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Serving]]:
    """Makes a Serving; `started=False` leaves it to the test when the engine begins."""
    made: list[Serving] = []

    def make(model: RunningSum | None = None, *, started: bool = True, **how: Any) -> Serving:
        made.append(Serving(model, **how))
        if started:
            made[-1].start()
        return made[-1]

    yield make
    for one in made:
        await one.stop()
