"""Lookups of sessions that other processes may have: once at a time, and each waiting call learns what came of it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.errors import CarouselError, Overloaded, SessionNotFound, StoreUnavailable
from service.sessions.reach import reach
from service.store.lookups import Lookups
from tests.service.engine.serving import Serving


class Others:
    """What `look` asks; it answers once it is told."""

    def __init__(self, act: Callable[[str], Awaitable[None]] | None = None, patience: float = 60.0) -> None:
        self.serving, self.asked, self.goes_on = Serving(), list[str](), asyncio.Event()
        self.lookups, self._act = Lookups(self.serving.sessions, self._look, patience), act

    async def _look(self, id: str) -> None:
        self.asked.append(id)
        await self.goes_on.wait()
        if self._act is not None:
            await self._act(id)


async def test_calls_on_one_id_wait_for_one_lookup() -> None:
    others = Others()
    first = others.lookups.fetch("a")
    assert others.lookups.fetch("a") is first
    assert others.lookups.fetch("b") is not first
    others.goes_on.set()
    assert first is not None
    await first
    assert others.asked == ["a", "b"]
    assert others.lookups.fetch("a") is None  # it is nowhere, and that is told once
    assert others.lookups.fetch("a") is not None
    await asyncio.wait([*others.lookups.running.values()])


async def test_a_session_that_came_is_found_before_its_lookup_has_ended() -> None:
    others = Others()
    waiting = others.lookups.fetch("a")
    others.serving.start()
    session = await others.serving.lifecycle.open("a", 60.0)
    others.lookups.end("a")
    assert waiting is not None
    await waiting
    assert others.lookups.here("a")
    await others.serving.lifecycle.delete(session)
    others.goes_on.set()
    await asyncio.sleep(0)  # the lookup ends, and tells nothing of an id that others may open now
    await asyncio.sleep(0)
    assert others.lookups.fetch("a") is not None
    await asyncio.wait([*others.lookups.running.values()])
    await others.serving.stop()


@pytest.mark.parametrize(
    ("raised", "told"),
    [(Overloaded("busy"), Overloaded), (ValueError("a defect"), CarouselError), (None, StoreUnavailable)],
)
async def test_why_a_session_cannot_be_had_is_told_to_the_calls_that_wait(
    raised: Exception | None, told: type[CarouselError]
) -> None:
    async def fail(id: str) -> None:
        if raised is not None:
            raise raised
        await asyncio.Event().wait()  # until patience ends

    others = Others(fail, patience=60.0 if raised is not None else 0.0)
    others.goes_on.set()
    sessions = others.serving.sessions
    sessions.elsewhere = type("Elsewhere", (), {"fetch": others.lookups.fetch, "owned": lambda _: None})()
    with pytest.raises(told) as error:
        await reach(sessions, "a")
    assert type(error.value) is told
    assert not others.lookups.running
    assert others.lookups.fetch("a" * 129) is None  # no id is as long
    with pytest.raises(SessionNotFound):
        sessions.known("a" * 129)
