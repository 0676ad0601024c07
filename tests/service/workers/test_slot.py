"""When the supervisor takes a worker for one that stands still."""

import asyncio
from unittest.mock import AsyncMock

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from service.settings import Settings
from service.workers.slot import Slot


def test_a_worker_that_never_begins_is_killed_too() -> None:
    slot = Slot(1, Settings(store_lease_seconds=5), {}, None)
    assert not slot.silent(1e9)  # there is no process
    slot.seen = 1000.0
    assert (slot.silent(1100.0), slot.silent(1121.0)) == (False, True)
    slot.heard = True
    assert (slot.silent(1004.0), slot.silent(1006.0)) == (False, True)


async def test_a_worker_that_cannot_be_started_counts_as_one_that_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = AsyncMock(side_effect=BlockingIOError(11, "Resource temporarily unavailable"))
    monkeypatch.setattr(asyncio, "create_subprocess_exec", refusal)
    slot, open_files = Slot(1, Settings(), {}, None), psutil.Process().num_fds()
    assert await slot.serve(lambda _: None) == (1, 0.0)
    assert "worker 1 cannot be started: [Errno 11]" in caplog.text
    assert psutil.Process().num_fds() == open_files
