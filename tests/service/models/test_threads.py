"""More threads in a run: taken where all bits stay, and where they are asked for or make long runs shorter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.models.examiner import Examiner
from service.models.fitness import examine, threaded
from service.models.model import Array, Lengths, State
from service.models.providers import ONE_THREAD, Threads
from service.models.speed import Policy
from service.settings import Settings
from tests.fakes import RunningSum
from tests.graphs import write

SMALL = Policy(batch=4, chunk=4, steps=16)


class Paced(RunningSum):
    """Takes a while by a clock that all share, and may round in another way."""

    now = 0.0

    def __init__(self, seconds: float, *, off: float = 0.0) -> None:
        super().__init__()
        self._seconds, self._off = seconds, off

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        outputs, after = super().run(inputs, lengths, state)
        Paced.now += self._seconds
        return outputs + np.float32(self._off), after


def judged(one: Paced, many: Paced, *, asked: bool) -> int:
    found = examine(one, SMALL)
    fitness = threaded(found, one, many, Threads(4, asked), clock=lambda: Paced.now)
    assert replace(fitness, threads=1, seconds_per_step=0, seconds_alone=0) == replace(
        found, seconds_per_step=0, seconds_alone=0
    )
    return fitness.threads


def test_threads_are_taken_where_runs_are_shorter_by_them() -> None:
    assert judged(Paced(1.0), Paced(0.5), asked=False) == 4
    assert judged(Paced(1.0), Paced(0.9), asked=False) == 1
    assert judged(Paced(1.0), Paced(0.9), asked=True) == 4


@pytest.mark.parametrize("off", [1e-6, 1.0])
def test_threads_that_change_a_bit_are_not_taken(off: float) -> None:
    assert judged(Paced(1.0), Paced(0.5, off=off), asked=True) == 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "model.onnx", "lstm")
    return tmp_path / "model.onnx"


def loaded(path: Path, threads: Threads) -> tuple[int, Array]:
    examiner = Examiner(threads=threads)
    model, fitness = examiner.load(path)
    examiner.close()
    inputs = np.random.default_rng(0).normal(size=(8, 5, model.features)).astype(np.float32)
    state = {name: np.zeros((8, *shape), np.float32) for name, shape in model.state_shapes.items()}
    return fitness.threads, model.run(inputs, np.full(8, 5, np.int32), state)[0]


def test_a_file_runs_by_the_threads_that_are_asked_for_and_gives_the_same_bits(path: Path) -> None:
    (one, outputs), (two, others) = loaded(path, ONE_THREAD), loaded(path, Threads(2, asked=True))
    assert (one, two) == (1, 2)
    assert outputs.tobytes() == others.tobytes()


def test_a_file_with_short_runs_has_one_thread_unless_more_are_asked_for(path: Path) -> None:
    assert loaded(path, Threads(2, asked=False))[0] == 1


def test_each_worker_has_its_share_of_the_cores() -> None:
    assert Settings(run_threads=3).threads == (3, True)
    alone, shared = Settings().threads, Settings(workers=64, store="embedded").threads
    assert (alone.asked, shared) == (False, (1, False))
    assert 1 <= alone.most <= 8
