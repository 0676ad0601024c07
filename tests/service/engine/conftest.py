"""Engines that are started and stopped around a test."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.fakes import RunningSum
from tests.service.engine.serving import Serving


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
