"""A short campaign; `make chaos` makes long ones."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.campaign import Campaign, Plan
from tests.chaos.rolling import Replicas, pause, roll


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("store", "sync", "behind"), [("embedded", 0, 0), ("embedded", 1, 0), ("embedded", 0, 100), ("redis", 0, 0)]
)
def test_a_killed_server_loses_doubles_tears_and_leaks_nothing(
    tmp_path: Path, store: str, sync: int, behind: int
) -> None:
    how: dict[str, Any] = {"store": store, "behind": behind, "settings": {"store_sync": sync}}
    kills, replicas = (6, 2) if store == "redis" else (2, 1)
    plan = Plan(seed=11 + sync, kills=kills, replicas=replicas, clients=1, streams=16, **how)
    figures = Campaign(plan, tmp_path).run()
    assert figures.steps
    assert figures.resumed
    assert figures.replayed


@pytest.mark.timeout(600)
def test_no_client_sees_an_error_while_replicas_are_restarted_or_redis_stands_still(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path)
    try:
        seen = asyncio.run(roll(replicas, 2, 6, seed=11))
        paused, *_ = asyncio.run(pause(replicas, 6.0, 6, seed=12))  # longer than a lease
    finally:
        replicas.end()
    assert (seen.faults, paused.faults) == ([], [])
    assert seen.answers
    assert set(paused.refused) <= {"store_unavailable", "commit_unknown"}


@pytest.mark.timeout(600)
def test_workers_that_die_stop_and_change_lose_double_tear_and_leak_nothing(tmp_path: Path) -> None:
    figures = Campaign(Plan(seed=7, kills=6, clients=1, streams=16, workers=2), tmp_path).run()
    assert figures.steps
    assert figures.resumed
    assert figures.harms
