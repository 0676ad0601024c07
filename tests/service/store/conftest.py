"""A store in a folder of its own, and processes that come one after the other."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeClock, RunningSum
from tests.service.store.serving import Begin, Durable, process


@pytest.fixture
def wall() -> FakeClock:
    """The system's clock."""
    return FakeClock(1e9)


@pytest.fixture
async def begin(tmp_path: Path, wall: FakeClock) -> AsyncIterator[Begin]:
    """Begin a process over the store; the last one is ended."""
    begun: list[Durable] = []

    async def start(*, fitness: Any = None, model: RunningSum | None = None, **settings: Any) -> Durable:
        one = process(model, **({} if fitness is None else {"fitness": fitness}))
        begun.append(one)
        return await one.begin(tmp_path / "store", wall, **settings)

    yield start
    last = begun[-1]
    if last.loop is not None and not last.loop.done():
        await last.end()
