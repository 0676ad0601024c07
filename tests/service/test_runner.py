"""One tick: what is written where, and what becomes of each work."""

import numpy as np
import pytest

from service.errors import InvalidInput, NonFiniteOutput
from service.model import Lengths
from service.rows import ZERO, Array, Rows, State
from service.runner import Runner
from service.selftest import Fitness
from service.sessions import Session
from service.work import Work
from tests.fakes import RunningSum, sums
from tests.service.works import work


class Table:
    """A runner over rows of RunningSum."""

    def __init__(self, model: RunningSum | None = None, *, chunk: int = 2, min_batch: int = 1) -> None:
        self.model = model or RunningSum()
        self.rows = Rows(self.model.state_shapes)
        self.runner = Runner(self.model, Fitness(True, 0.0, min_batch, 0.0), self.rows, chunk=chunk)

    def session(self, before: float) -> Session:
        session = Session("s", "model", "1", self.rows, 60)
        self.rows.scatter([session.row], {"sum": np.full((1, 1), before, np.float32)})
        return session

    def sum(self, row: int) -> float:
        return float(self.rows.gather([row])["sum"][0, 0])


def answered(one: Work) -> list[float]:
    values: list[float] = one.outputs[: one.done, 0].tolist()
    return values


async def test_a_work_goes_on_chunk_by_chunk_on_a_row_of_its_own_and_ends_on_the_sessions() -> None:
    table = Table()
    session = table.session(100)
    call = work(1, 2, 3, 4, 5, session=session)
    for done in (2, 4):
        assert await table.runner.run([call]) == ([], [call], [])
        assert (call.done, table.sum(session.row), call.owns_row) == (done, 100, True)
    assert await table.runner.run([call]) == ([call], [], [])
    assert (answered(call), table.sum(session.row)) == (sums(1, 2, 3, 4, 5, before=100), 115)
    assert table.rows.used == 2  # whoever ends the work frees its own row


async def test_a_predict_begins_at_the_zero_row_and_leaves_it_zero() -> None:
    table = Table()
    short, long = work(1, 2), work(3, 4, 5)
    assert await table.runner.run([short, long]) == ([short], [long], [])
    assert await table.runner.run([long]) == ([long], [], [])
    assert (answered(short), answered(long)) == ([1, 3], [3, 7, 12])
    assert (table.sum(ZERO), table.rows.used, short.owns_row) == (0, 1, False)


async def test_a_lone_work_has_the_company_of_itself_and_is_written_once() -> None:
    table = Table(min_batch=3)
    session = table.session(10)
    await table.runner.run([work(1, session=session)])
    assert (table.model.batches, table.sum(session.row)) == ([[1, 1, 1]], 11)


async def test_what_is_not_finite_is_refused_and_written_nowhere() -> None:
    table = Table(RunningSum(nan_on=13))
    sessions = [table.session(before) for before in (10, 20)]
    good, bad = (work(*values, session=one) for values, one in zip([(1,), (13,)], sessions, strict=True))
    ended, going_on, refused = await table.runner.run([good, bad])
    assert (ended, going_on) == ([good], [])
    assert [(one, type(error)) for one, error in refused] == [(bad, NonFiniteOutput)]
    assert [table.sum(session.row) for session in sessions] == [11, 20]


async def test_a_state_that_is_not_finite_is_refused_too() -> None:
    class Silent(RunningSum):
        def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
            outputs, after = super().run(inputs, lengths, state)
            return np.zeros_like(outputs), after

    table = Table(Silent(nan_on=13))
    bad = work(13, session=table.session(10))
    assert [one for one, _ in (await table.runner.run([bad])).refused] == [bad]


async def test_a_batch_that_fails_is_run_row_by_row_and_only_the_culprit_is_refused() -> None:
    table = Table(RunningSum(raises_on=13))
    sessions = [table.session(before) for before in (10, 20, 30)]
    asked = [(1.0, 2.0, 3.0), (13.0,), (4.0,)]
    long, bad, short = (work(*values, session=one) for values, one in zip(asked, sessions, strict=True))
    ended, going_on, refused = await table.runner.run([long, bad, short])
    assert (ended, going_on) == ([short], [long])
    assert [(one, type(error)) for one, error in refused] == [(bad, InvalidInput)]
    assert [table.sum(session.row) for session in sessions] == [10, 20, 34]
    assert table.model.batches == [[2, 1, 1], [2], [1], [1], [1]]  # together, each alone, zeros after the culprit


async def test_a_model_that_fails_on_zeros_too_is_not_the_rows_fault() -> None:
    table = Table()
    table.model.broken = True
    with pytest.raises(RuntimeError):
        await table.runner.run([work(1)])


@pytest.mark.parametrize("what", ["outputs", "state"])
async def test_an_answer_of_another_shape_is_refused_before_it_is_applied(what: str) -> None:
    class Misshapen(RunningSum):
        def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
            outputs, after = super().run(inputs, lengths, state)
            if 13 not in inputs:
                return outputs, after
            return (outputs[:, :, :0], after) if what == "outputs" else (outputs, {"sum": after["sum"][0]})

    table = Table(Misshapen())
    session = table.session(10)
    bad = work(13, session=session)
    assert [(one, type(error)) for one, error in (await table.runner.run([bad])).refused] == [(bad, InvalidInput)]
    assert (bad.done, table.sum(session.row)) == (0, 10)


async def test_a_tick_is_counted_with_its_padding() -> None:
    table = Table()
    await table.runner.run([work(1, 2, 3), work(1)])
    assert vars(table.runner.tally) == {
        **{"_ticks": 1, "_rows": 2, "_steps": 3, "_padded": 1, "_seconds": table.runner.tally._seconds},
        "_by_rows": [0, 1, 0, 0, 0, 0, 0, 0],
    }
