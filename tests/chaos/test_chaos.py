"""A short campaign; `make chaos` makes long ones."""

from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign, Plan


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("sync", "behind"), [(0, 0), (1, 0), (0, 100)])
def test_a_killed_server_loses_doubles_tears_and_leaks_nothing(tmp_path: Path, sync: int, behind: int) -> None:
    plan = Plan(seed=11 + sync, kills=2, clients=1, streams=16, behind=behind, settings={"store_sync": sync})
    figures = Campaign(plan, tmp_path).run()
    assert figures.steps
    assert figures.resumed
    assert figures.replayed
