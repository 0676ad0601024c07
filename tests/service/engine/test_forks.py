"""Many copies of a session are made and dropped a slice in each turn of the loop, so that others are served between."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from service.errors import SessionExists
from tests.service.engine.serving import Serve


async def most_in_a_turn(forking: "asyncio.Future[object]", count: Callable[[], int]) -> int:
    """By how much a count changes at most from one turn of the loop to the next, until many copies are there."""
    counts = [count()]
    while not forking.done():
        await asyncio.sleep(0)
        counts.append(count())
    return int(np.abs(np.diff(counts)).max())


async def test_large_states_are_copied_a_few_in_each_turn(serve: Serve) -> None:
    it = serve(most_bytes=2**40)
    source, table = it.open(), it.engine.table
    await it.step(source, 5)
    table.row_bytes = 2**22
    forking = asyncio.ensure_future(it.lifecycle.fork_many(source, 50))
    assert await most_in_a_turn(forking, lambda: np.count_nonzero(table.state["sum"])) == 2
    table.row_bytes = 4


async def test_copies_that_cannot_all_be_made_are_dropped_as_many_at_a_time_as_they_were_made(serve: Serve) -> None:
    it = serve(most=10_000)
    source = it.open("taken")
    forking = asyncio.ensure_future(it.lifecycle.fork_many(source, [*(f"s{n}" for n in range(3000)), "taken"]))
    assert await most_in_a_turn(forking, lambda: it.engine.table.used) == 500
    with pytest.raises(SessionExists):
        await forking
    assert it.engine.table.used == 1
