"""Messages between the supervisor and its workers."""

import asyncio
import socket

import pytest

from service.workers.channel import Channel, LostError, connect
from tests.fakes import until


async def test_what_a_process_said_last_is_not_heard_after_its_end() -> None:
    """Else it would count as the sign of life of the next one in its place."""
    heard = list[str]()

    async def hear(told: str) -> None:
        heard.append(told)

    ours, its = socket.socketpair()
    here, there = await connect(ours, {"alive": hear}), await connect(its, {})
    there.tell("alive", "first")
    await until(lambda: bool(heard) and not here._running)
    there.tell("alive", "last")
    await until(lambda: bool(here._running))
    here.lose()
    await asyncio.wait(here._running)
    assert heard == ["first"]
    there.lose()


async def test_what_is_asked_of_a_process_that_ended_fails_at_once() -> None:
    channel = Channel({})
    asked = channel.ask("has", [])
    channel.lose()
    for one in (asked, channel.ask("has", [])):
        with pytest.raises(LostError):
            await one
