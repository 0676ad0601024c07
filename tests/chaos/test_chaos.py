"""A short campaign; `make chaos` makes long ones."""

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.campaign import Campaign, Plan


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("store", "sync", "behind"), [("embedded", 0, 0), ("embedded", 1, 0), ("embedded", 0, 100), ("redis", 0, 0)]
)
def test_a_killed_server_loses_doubles_tears_and_leaks_nothing(
    tmp_path: Path, store: str, sync: int, behind: int
) -> None:
    how: dict[str, Any] = {"store": store, "behind": behind, "settings": {"store_sync": sync}}
    plan = Plan(seed=11 + sync, kills=6 if store == "redis" else 2, clients=1, streams=16, **how)
    figures = Campaign(plan, tmp_path).run()
    assert figures.steps
    assert figures.resumed
    assert figures.replayed
