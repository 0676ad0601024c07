"""The loops that tests of the service run on."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests of a connection on the server's kind of loop, whose transports they are about."""
    return {"uvloop": uvloop.new_event_loop} if item.path.stem == "test_socket" else {"asyncio": asyncio.new_event_loop}
