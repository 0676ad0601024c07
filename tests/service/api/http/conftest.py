"""A connection for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.service.api.line import Line


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    """A connection without a socket."""
    line = Line()
    yield line
    line.http.resume_writing()  # uvicorn's tasks would wait for it, cancelled or not
