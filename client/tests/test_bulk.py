"""Many sessions at once: pages of them, and deletes by filter."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fake_service import FakeService, Sums, answer_with, lose_answer

from carousel_client import ForeignAnswer, SessionExists


@pytest.fixture(autouse=True)
def stored(service: FakeService) -> None:
    service.sessions = {id: Sums(id) for id in ("b", "a2", "a1", "c", "a3")}


async def test_pages_follow_one_another_to_the_last(client: Any) -> None:
    first = await client.sessions(prefix="a", limit=2)
    assert ([one.id for one in first.sessions], first.next) == (["a1", "a2"], "a2")
    assert (first.sessions[0].resident, first.sessions[0].idle_seconds, first.sessions[0].step) == (True, 1.5, 0)
    last = await client.sessions(prefix="a", limit=2, after=first.next)
    assert ([one.id for one in last.sessions], last.next) == (["a3"], None)
    assert (await client.sessions("other")).sessions == []


async def test_a_filter_says_what_is_deleted(client: Any, service: FakeService) -> None:
    assert await client.delete_sessions("other") == 0
    assert await client.delete_sessions(prefix="a") == 3
    assert await client.delete_sessions(all=True) == 2
    assert not service.sessions


@pytest.mark.parametrize(
    "lie",
    [
        {"sessions": [Sums("b").described()]},  # without what a page tells
        {"sessions": [Sums(id).described() | {"resident": True, "idle_seconds": 0} for id in ("a2", "a1")]},
        {"sessions": [Sums("b").described() | {"resident": True, "idle_seconds": 0}]},  # not what was asked for
        {"sessions": [], "next": "a"},
    ],
)
async def test_a_page_that_does_not_fit_is_refused(client: Any, service: FakeService, lie: Any) -> None:
    service.faults.append(answer_with(httpx.Response(200, json=lie)))
    with pytest.raises(ForeignAnswer):
        await client.sessions(prefix="a")


async def test_many_copies_of_a_session_go_their_own_ways(client: Any, service: FakeService) -> None:
    async with client.session("sum", "source") as session:
        await session.step([[1.0, 2.0]])
        service.faults.append(lose_answer)  # the copies are made, all of them: it is asked for them again
        copies = await session.fork_many(3)
        assert [await copy.step([1.0, 1.0]) for copy in copies] == [[2.0, 3.0]] * 3
        assert [copy.id for copy in await session.fork_many(["x", "y"])] == ["x", "y"]
        with pytest.raises(SessionExists):
            await session.fork_many(["z", "y"])
        assert "z" not in service.sessions
