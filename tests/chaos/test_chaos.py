"""A short campaign; `make chaos` makes long ones."""

from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign, Plan


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("store", "sync"), [("embedded", 0), ("embedded", 1), ("redis", 0)])
def test_a_killed_server_loses_doubles_tears_and_leaks_nothing(tmp_path: Path, store: str, sync: int) -> None:
    kills = 6 if store == "redis" else 2
    plan = Plan(seed=11 + sync, kills=kills, clients=1, streams=16, store=store, settings={"store_sync": sync})
    figures = Campaign(plan, tmp_path).run()
    assert figures.steps
    assert figures.resumed
    assert figures.replayed
