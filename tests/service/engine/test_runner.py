"""One tick: what a run comes to for each piece, of which nothing is written to the table."""

from typing import Any

import numpy as np
import pytest

from service.engine.call import ALL, Call, Piece
from service.engine.runner import Outcome, Runner
from service.engine.statistics import Counters
from service.errors import InvalidInput, NonFiniteOutput
from service.models.fitness import Fitness
from service.models.model import Array, Lengths, State
from service.sessions.table import ZERO, Table
from tests.fakes import RunningSum, sums
from tests.service.engine.serving import call, summed

Came = tuple[list[float], float]  # the outputs of the steps that were run, and the sum after them


class Running:
    """A runner over a table of RunningSum."""

    def __init__(self, model: RunningSum | None = None, *, chunk: int = 2, **fitness: Any) -> None:
        self.model = model or RunningSum()
        self.table, self.counters = Table(self.model.state_shapes), Counters()
        found = Fitness(**{"streamable": True, "tolerance": 0.0, "min_batch": 1, "seconds_per_step": 0.0} | fitness)
        self.runner = Runner(self.model, found, self.table, self.counters, chunk=chunk)
        self.came: dict[Call, dict[int, Came]] = {}  # by call and place
        self.rode: list[list[Call]] = []  # riders of each piece of the last run

    def session(self, before: float) -> int:
        """A row that holds a sum."""
        row = self.table.allocate()
        self.table.scatter(np.array([row]), summed(before))
        return row

    def call(self, *sequences: tuple[float, ...], before: list[float] | None = None) -> Call:
        """A call on new sessions with these sums, or a predict."""
        return call(*sequences, rows=None if before is None else [self.session(one) for one in before])

    async def run(self, *pieces: Piece | Call, riders: list[list[Call]] | None = None) -> list[tuple[Call, int, type]]:
        """Run a batch → the rows that were refused or are not finite."""
        batch = [Piece(one, ALL, len(one.rows)) if isinstance(one, Call) else one for one in pieces]
        before = {name: array.copy() for name, array in self.table.state.items()}
        outcome = await self.runner.run(batch, riders or [[] for _ in batch])
        assert all((self.table.state[name] == array).all() for name, array in before.items())
        return self.read(outcome)

    def read(self, outcome: Outcome) -> list[tuple[Call, int, type]]:
        self.rode = [list(advance.riders) for advance in outcome.advances]
        bad = [(piece.call, piece.index(0), type(error)) for piece, error in outcome.refused]
        for piece, lengths, outputs, state, good, _ in outcome.advances:
            for row, length in enumerate(lengths.tolist()):
                if good is not None and not good[row]:
                    bad.append((piece.call, piece.index(row), NonFiniteOutput))
                    continue
                came = outputs[row, :length, 0].tolist(), state["sum"][row, 0].item()
                self.came.setdefault(piece.call, {})[piece.index(row)] = came
        return bad


def part(whole: Call, *places: int, done: int = 0, state: list[float] | None = None) -> Piece:
    """Some rows of a call, after so many steps."""
    after = None if state is None else summed_all(state)
    return Piece(whole, np.array(places), len(places), done, after)


def summed_all(values: list[float]) -> State:
    return {"sum": np.array(values, np.float32)[:, None]}


async def test_a_row_advances_by_a_chunk_from_the_state_of_its_session() -> None:
    it = Running()
    asked = it.call((1, 2, 3, 4, 5), before=[100])
    assert await it.run(asked) == []
    assert it.came == {asked: {0: ([101, 103], 103)}}


async def test_a_row_goes_on_from_the_state_that_its_piece_carries() -> None:
    it = Running()
    asked = it.call((1, 2, 3, 4, 5), (6, 7, 8, 9, 10), before=[100, 200])
    await it.run(part(asked, 1, 0, done=2, state=[213, 103]))
    assert it.came == {asked: {1: ([221, 230], 230), 0: ([106, 110], 110)}}
    await it.run(part(asked, 0, done=4, state=[110]))
    assert it.came[asked][0] == ([115], 115)


async def test_a_predict_begins_at_the_zero_state() -> None:
    it = Running()
    it.session(50)
    asked = it.call((1, 2), (3, 4))
    await it.run(asked)
    assert it.came == {asked: {0: ([1, 3], 3), 1: ([3, 7], 7)}}


async def test_pieces_of_several_calls_and_lengths_run_together_each_in_its_place() -> None:
    it = Running(chunk=4)
    one, other = it.call((1,), (2,), before=[10, 20]), it.call((3, 3, 3), (4, 4, 4), before=[30, 40])
    predict = it.call((5, 6))
    await it.run(part(other, 1), one, predict, part(other, 0))
    assert it.model.batches == [[3, 1, 1, 2, 3]]
    assert it.came == {
        other: {1: (sums(4, 4, 4, before=40), 52), 0: (sums(3, 3, 3, before=30), 39)},
        one: {0: ([11], 11), 1: ([22], 22)},
        predict: {0: ([5, 11], 11)},
    }


async def test_riders_are_further_steps_of_the_rows_of_their_piece() -> None:
    it = Running(chunk=8)
    first, other = it.call((1,), (2,), before=[10, 20]), it.call((3,), before=[30])
    riders = [call([value], [10 * value], rows=first.rows.tolist()) for value in (4, 5)]
    await it.run(first, other, riders=[riders, []])
    assert (it.model.batches, it.rode) == ([[3, 3, 1]], [riders, []])
    assert it.came == {first: {0: ([11, 15, 20], 20), 1: ([22, 62, 112], 112)}, other: {0: ([33], 33)}}


@pytest.mark.parametrize("model", [RunningSum(nan_on=13), RunningSum(raises_on=13)], ids=["not finite", "refused"])
async def test_no_rider_runs_where_a_row_fails(model: RunningSum) -> None:
    it = Running(model, chunk=8)
    first, other = it.call((1,), before=[10]), it.call((2,), before=[20])
    rider = call([13], rows=first.rows.tolist())
    assert await it.run(first, other, riders=[[rider], []]) == []
    assert (it.came, it.rode) == ({first: {0: ([11], 11)}, other: {0: ([22], 22)}}, [[], []])


async def test_a_lone_row_is_repeated_for_a_model_that_needs_more_rows() -> None:
    it = Running(min_batch=3)
    asked = it.call((1,), before=[10])
    await it.run(asked)
    assert (it.model.batches, it.came) == ([[1, 1, 1]], {asked: {0: ([11], 11)}})


async def test_what_is_not_finite_fails_by_itself() -> None:
    it = Running(RunningSum(nan_on=13))
    asked, other = it.call((1,), (13,), (3,), before=[10, 20, 30]), it.call((5,), before=[50])
    assert await it.run(asked, other) == [(asked, 1, NonFiniteOutput)]
    assert it.came == {asked: {0: ([11], 11), 2: ([33], 33)}, other: {0: ([55], 55)}}


async def test_a_state_that_is_not_finite_fails_too() -> None:
    class Silent(RunningSum):
        def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
            outputs, after = super().run(inputs, lengths, state)
            return np.zeros_like(outputs), after

    it = Running(Silent(nan_on=13))
    asked = it.call((13,), before=[10])
    assert await it.run(asked) == [(asked, 0, NonFiniteOutput)]


async def test_a_batch_that_fails_is_run_row_by_row_and_only_the_row_at_fault_is_refused() -> None:
    it = Running(RunningSum(raises_on=13))
    asked, short = it.call((1, 2, 3), (13, 1, 1), before=[10, 20]), it.call((4,), before=[30])
    assert await it.run(asked, short) == [(asked, 1, InvalidInput)]
    assert it.came == {asked: {0: ([11, 13], 13)}, short: {0: ([34], 34)}}
    assert it.model.batches == [[2, 2, 1], [2], [2], [1], [1]]  # together, each alone, zeros after the one at fault


async def test_a_row_that_is_not_finite_is_found_among_those_that_run_one_by_one() -> None:
    it = Running(RunningSum(raises_on=13, nan_on=17))
    asked = it.call((13,), (17,), (1,), before=[10, 20, 30])
    assert await it.run(asked) == [(asked, 0, InvalidInput), (asked, 1, NonFiniteOutput)]
    assert it.came == {asked: {2: ([31], 31)}}


async def test_a_model_that_fails_on_zeros_too_is_not_the_fault_of_a_row() -> None:
    it = Running()
    it.model.broken = True
    with pytest.raises(RuntimeError):
        await it.run(it.call((1,)))


@pytest.mark.parametrize("what", ["outputs", "state"])
async def test_an_answer_of_another_shape_is_refused(what: str) -> None:
    class Misshapen(RunningSum):
        def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
            outputs, after = super().run(inputs, lengths, state)
            if 13 not in inputs:
                return outputs, after
            return (outputs[:, :, :0], after) if what == "outputs" else (outputs, {"sum": after["sum"][0]})

    it = Running(Misshapen())
    asked = it.call((13,), before=[10])
    assert await it.run(asked) == [(asked, 0, InvalidInput)]
    assert it.runner.run_alone(asked.rows.item(0), asked.inputs) is None


async def test_a_tick_is_counted_with_its_padding() -> None:
    it = Running()
    await it.run(it.call((1, 2, 3)), it.call((1,)))
    told = it.counters.frozen(alive=True, rows=0, size=0)
    assert (told.steps, told.padded_steps, told.rows.total) == (3, 1, 2)
    assert [sum(seen.counts) for seen in (told.rows, told.running)] == [1, 1]


def test_a_step_that_runs_alone_comes_to_the_same_and_is_counted() -> None:
    it = Running()
    asked = it.call((5,), before=[10])
    found = it.runner.run_alone(asked.rows.item(0), asked.inputs)
    assert found is not None
    outputs, after = found
    assert (outputs.tolist(), after["sum"].tolist()) == ([[15]], [[15]])
    assert it.table.state["sum"][asked.rows, 0].tolist() == [10]
    assert it.counters.frozen(alive=True, rows=0, size=0).rows.total == 1


@pytest.mark.parametrize(
    ("model", "fitness"),
    [
        (RunningSum(nan_on=13), {}),
        (RunningSum(raises_on=13), {}),
        (RunningSum(), {"min_batch": 2}),
        (RunningSum(), {"seconds_per_step": 1.0}),
    ],
    ids=["not finite", "refused", "needs more rows", "runs in a thread"],
)
def test_a_step_does_not_run_alone_where_it_would_fail_or_the_model_needs_something(
    model: RunningSum, fitness: dict[str, Any]
) -> None:
    it = Running(model, **fitness)
    asked = it.call((13,), before=[10])
    assert it.runner.run_alone(asked.rows.item(0), asked.inputs) is None
    assert it.table.state["sum"][ZERO, 0] == 0
