"""Stages of many requests, one stage of all after the other."""

import asyncio
from collections.abc import Iterator

import pytest

from service.api.cohort import Cohort


class Requests:
    """Each of two stages, which are noted."""

    def __init__(self) -> None:
        self.cohort, self.done, self.alone = Cohort(), list[str](), list[bool]()

    def come(self, names: str) -> None:
        for name in names:
            self._add(iter((f"{name}1", f"{name}2")))

    def _add(self, stages: Iterator[str]) -> None:
        def run() -> None:
            if (stage := next(stages, None)) is not None:
                self.done.append(stage)
                self.alone.append(self.cohort.alone)
                self._add(stages)

        self.cohort.add(run)


@pytest.fixture
async def requests() -> Requests:
    requests = Requests()
    requests.come("xy")
    await asyncio.sleep(0)
    requests.done.clear()
    requests.alone.clear()
    return requests


async def test_a_stage_of_all_runs_before_the_next_one_of_any(requests: Requests) -> None:
    requests.come("abc")
    assert requests.done == [], "others may come in this turn"
    await asyncio.sleep(0)
    assert requests.done == ["a1", "b1", "c1", "a2", "b2", "c2"]
    assert not any(requests.alone)


async def test_after_company_the_first_waits_for_some(requests: Requests) -> None:
    requests.come("a")
    assert requests.done == []
    await asyncio.sleep(0)
    assert requests.done == ["a1", "a2"]
    assert all(requests.alone)


async def test_who_came_alone_last_time_is_not_kept_waiting(requests: Requests) -> None:
    requests.come("a")
    await asyncio.sleep(0)
    for name in "bcd":
        requests.come(name)
        assert requests.done[-2:] == [f"{name}1", f"{name}2"]
        await asyncio.sleep(0)
    requests.come("ef")
    assert requests.done[-2:] == ["e1", "e2"], "the others wait for the end of the turn"
    await asyncio.sleep(0)
    assert requests.done[-2:] == ["f1", "f2"]
    requests.come("g")
    assert requests.done[-1] == "f2"
