"""One tick: what is written where, and what becomes of each work."""

import asyncio
from typing import Any

import numpy as np
import pytest
from service.bundle import ALL, Part, Round
from service.gate import Gate
from service.statistics import Tally
from service.works import Works

from service.engine.runner import Runner
from service.errors import InvalidInput, NonFiniteOutput
from service.models.fitness import Fitness
from service.models.model import Lengths
from service.sessions.table import ZERO, Array, Rows, State
from tests.fakes import FakeClock, RunningSum, sums, until
from tests.service.works import call, enter

Outcome = tuple[list[int], list[int], list[tuple[int, type[Exception]]]]


class Table:
    """A runner over rows of RunningSum, and the works on them."""

    def __init__(self, model: RunningSum | None = None, *, chunk: int = 2, **fitness: Any) -> None:
        self.model = model or RunningSum()
        self.rows, self.works = Rows(self.model.state_shapes), Works()
        found = Fitness(**{"streamable": True, "tolerance": 0.0, "min_batch": 1, "seconds_per_step": 0.0} | fitness)
        self.tally = Tally()
        self.sessions: dict[int, int] = {}  # work → row
        self.runner = Runner(self.model, found, self.rows, self.works, self.tally, chunk=chunk, clock=FakeClock())

    def session(self, before: float) -> int:
        """A row that holds a sum."""
        row = self.rows.allocate()
        self.rows.scatter([row], {"sum": np.full((1, 1), before, np.float32)})
        return row

    def works_of(self, *sequences: tuple[float, ...], before: list[float] | None = None) -> list[int]:
        """Works of one call on new sessions with these sums, or of a predict."""
        rows = None if before is None else [self.session(one) for one in before]
        works = enter(self.works, call(*sequences, rows=rows)).tolist()
        self.sessions |= dict(zip(works, rows or [ZERO] * len(works), strict=True))
        return works

    async def run(self, *works: int) -> Outcome:
        """Ended, going on, and refused."""
        outcome = await self.runner.run([Round(ALL, self.works.parts(np.array(works)))])
        refused = [(work, type(error)) for work, error in outcome.refused]
        return ids([part for round in outcome.ended for part in round]), ids(outcome.going_on), refused

    def sum(self, work: int) -> float:
        """Where the session of a work stands."""
        return float(self.rows.gather([self.sessions[work]])["sum"][0, 0])

    def sums(self, *works: int) -> list[float]:
        return [self.sum(work) for work in works]

    def answered(self, work: int) -> list[float]:
        """The outputs of a work that ended."""
        bundle, place = self.works.at(work)
        at = int(bundle.at(ALL)[place])
        values: list[float] = bundle.outputs[at : at + int(bundle.lengths[place]), 0].tolist()
        return values

    def done(self, work: int) -> int:
        """Its steps that are."""
        bundle, place = self.works.at(work)
        return int(bundle.lengths[place] - bundle.ahead(ALL)[place])

    def end(self, *works: int) -> None:
        """What a queue does to works whose caller has left."""
        self.works.end(np.array(works))
        self.works.suspect = True

    def own_row(self, work: int) -> bool:
        bundle, place = self.works.at(work)
        return bool(bundle.row[place] != bundle.rows[place])


def ids(parts: list[Part]) -> list[int]:
    return [work for part in parts for work in part.ids.tolist()]


async def test_a_work_goes_on_chunk_by_chunk_on_a_row_of_its_own_and_ends_on_the_sessions() -> None:
    table = Table()
    [work] = table.works_of((1, 2, 3, 4, 5), before=[100])
    for done in (2, 4):
        assert await table.run(work) == ([], [work], [])
        assert (table.done(work), table.sum(work), table.own_row(work)) == (done, 100, True)
    assert await table.run(work) == ([work], [], [])
    assert (table.answered(work), table.sum(work)) == (sums(1, 2, 3, 4, 5, before=100), 115)
    assert table.rows.used == 2  # whoever ends the work frees its own row


async def test_a_predict_begins_at_the_zero_row_and_leaves_it_zero() -> None:
    table = Table()
    short, long = table.works_of((1, 2), (3, 4, 5))
    assert await table.run(short, long) == ([short], [long], [])
    assert await table.run(long) == ([long], [], [])
    assert (table.answered(short), table.answered(long)) == ([1, 3], [3, 7, 12])
    assert (table.sum(short), table.rows.used, table.own_row(short)) == (0, 1, False)


async def test_works_of_several_calls_run_together_each_in_its_place() -> None:
    table = Table()
    one, other = table.works_of((1,), (2,), before=[10, 20]), table.works_of((3,), (4,), before=[30, 40])
    [predict] = table.works_of((5,))
    batch = [other[1], one[0], predict, other[0]]
    assert await table.run(*batch) == (batch, [], [])
    assert [table.answered(work) for work in batch] == [[44], [11], [5], [33]]
    assert table.sums(*one, *other, predict) == [11, 20, 33, 44, 0]


async def test_a_lone_work_has_the_company_of_itself_and_is_written_once() -> None:
    table = Table(min_batch=3)
    [work] = table.works_of((1,), before=[10])
    await table.run(work)
    assert (table.model.batches, table.sum(work)) == ([[1, 1, 1]], 11)


async def test_what_is_not_finite_is_refused_and_written_nowhere() -> None:
    table = Table(RunningSum(nan_on=13))
    good, bad, fine = table.works_of((1,), (13,), (3,), before=[10, 20, 30])
    assert await table.run(good, bad, fine) == ([good, fine], [], [(bad, NonFiniteOutput)])
    assert table.sums(good, bad, fine) == [11, 20, 33]


async def test_a_state_that_is_not_finite_is_refused_too() -> None:
    class Silent(RunningSum):
        def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
            outputs, after = super().run(inputs, lengths, state)
            return np.zeros_like(outputs), after

    table = Table(Silent(nan_on=13))
    [bad] = table.works_of((13,), before=[10])
    assert await table.run(bad) == ([], [], [(bad, NonFiniteOutput)])


async def test_a_batch_that_fails_is_run_row_by_row_and_only_the_culprit_is_refused() -> None:
    table = Table(RunningSum(raises_on=13))
    long, bad, short = table.works_of((1, 2, 3), (13,), (4,), before=[10, 20, 30])
    assert await table.run(long, bad, short) == ([short], [long], [(bad, InvalidInput)])
    assert table.sums(long, bad, short) == [10, 20, 34]
    assert table.model.batches == [[2, 1, 1], [2], [1], [1], [1]]  # together, each alone, zeros after the culprit


async def test_a_model_that_fails_on_zeros_too_is_not_the_rows_fault() -> None:
    table = Table()
    table.model.broken = True
    with pytest.raises(RuntimeError):
        await table.run(*table.works_of((1,)))


@pytest.mark.parametrize("what", ["outputs", "state"])
async def test_an_answer_of_another_shape_is_refused_before_it_is_applied(what: str) -> None:
    class Misshapen(RunningSum):
        def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
            outputs, after = super().run(inputs, lengths, state)
            if 13 not in inputs:
                return outputs, after
            return (outputs[:, :, :0], after) if what == "outputs" else (outputs, {"sum": after["sum"][0]})

    table = Table(Misshapen())
    [bad] = table.works_of((13,), before=[10])
    assert await table.run(bad) == ([], [], [(bad, InvalidInput)])
    assert (table.done(bad), table.sum(bad)) == (0, 10)


async def test_a_tick_is_counted_with_its_padding() -> None:
    table = Table()
    await table.run(*table.works_of((1, 2, 3), (1,)))
    told = table.tally.frozen(Gate(most_rows=1, most_bytes=1), alive=True)
    assert (told.steps, told.padded_steps, told.rows.total) == (3, 1, 2)
    assert [sum(seen.counts) for seen in (told.rows, told.running, told.queued)] == [1, 1, 2]


@pytest.mark.parametrize("raises_on", [None, 13], ids=["the run is good", "the run fails"])
async def test_a_work_that_ends_while_it_runs_is_written_nowhere_and_told_of_no_more(raises_on: float | None) -> None:
    table = Table(RunningSum(raises_on=raises_on), seconds_per_step=1.0)
    works = table.works_of((13,), (1, 2, 3), (4,), before=[10, 20, 30])
    table.model.hold()
    run = asyncio.create_task(table.run(*works))
    await until(lambda: len(table.model.batches) == 1)
    table.end(*works[:2])
    table.model.release()
    assert await run == (works[2:], [], [])
    assert table.sums(*works) == [10, 20, 34]
    assert table.rows.used == 3


@pytest.mark.parametrize("raises_on", [None, 13], ids=["the run is good", "the run fails"])
async def test_a_run_of_which_nobody_is_left_comes_to_nothing(raises_on: float | None) -> None:
    table = Table(RunningSum(raises_on=raises_on), seconds_per_step=1.0)
    works = table.works_of((13,), (1,))
    table.model.hold()
    run = asyncio.create_task(table.run(*works))
    await until(lambda: len(table.model.batches) == 1)
    table.end(*works)
    table.model.release()
    assert await run == ([], [], [])
