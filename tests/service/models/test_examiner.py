"""Model files that hang, crash or allocate harm only their own version; the others are loaded by the same examiner."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.errors import ModelUnusable
from service.models.examiner import Examiner
from tests import graphs
from tests.service.models import hostile


@pytest.fixture
def examiner() -> Iterator[Examiner]:
    one = Examiner()
    yield one
    one.close()


def assert_serves(examiner: Examiner, folder: Path) -> None:
    """It still loads a good file."""
    model, fitness = examiner.load(graphs.write(folder / "good/1/model.onnx"))
    assert (model.features, fitness.streamable) == (3, True)


def test_what_was_examined_is_loaded_with_its_figures(examiner: Examiner, tmp_path: Path) -> None:
    hostile.weights(tmp_path / "w", 7)
    model, fitness = examiner.load(hostile.external(tmp_path / "model.onnx", "w"))
    (tmp_path / "w").unlink()
    outputs, _ = model.run(np.ones((2, 3, 1), np.float32), np.array([3, 1], np.int32), {})
    assert [outputs[0].tolist(), outputs[1, :1].tolist()] == [[[8]] * 3, [[8]]]
    assert fitness.bit_equal
    assert min(fitness.seconds_per_step, fitness.seconds_alone) > 0
    assert len(model.description.digest) == 64


def test_a_given_batch_and_chunk_are_taken(tmp_path: Path) -> None:
    examiner = Examiner(batch=5, chunk=3)
    _, fitness = examiner.load(graphs.write(tmp_path / "model.onnx"))
    examiner.close()
    assert (fitness.policy.batch, fitness.policy.chunk) == (5, 3)


def test_a_refused_file_tells_the_reason(examiner: Examiner, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("not a model\n" * 1000)
    with pytest.raises(ModelUnusable, match="ONNX Runtime does not load the file"):
        examiner.load(tmp_path / "model.onnx")
    with pytest.raises(ModelUnusable, match=r"missing\.onnx: No such file"):
        examiner.load(tmp_path / "missing.onnx")
    assert_serves(examiner, tmp_path)


def test_a_file_that_never_ends_takes_no_more_than_its_time(examiner: Examiner, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match=r"more than 0\.6 s"):
        examiner.load(hostile.looping(tmp_path / "model.onnx"), share=0.2)
    assert_serves(examiner, tmp_path)


def test_a_file_that_aborts_the_process_is_unusable(examiner: Examiner, tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="SIGABRT"):
        examiner.load(hostile.aborting(tmp_path / "model.onnx"))
    assert_serves(examiner, tmp_path)


def test_a_file_that_allocates_more_than_its_bound_is_unusable(examiner: Examiner, tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="alloc"):
        examiner.load(hostile.allocating(tmp_path / "model.onnx", 2**30))  # 4 GiB
    assert_serves(examiner, tmp_path)


@pytest.mark.parametrize(
    ("width", "state", "reason"),
    [(2**31 - 1, None, "width"), (2**16 + 1, None, "width"), (1, 2**28, "numbers"), (1, 0, "state"), (1, -5, "state")],
)
def test_sizes_out_of_bounds_are_refused(
    examiner: Examiner, tmp_path: Path, width: int, state: int | None, reason: str
) -> None:
    with pytest.raises(ModelUnusable, match=reason):
        examiner.load(hostile.identity(tmp_path / "model.onnx", width, state))


@pytest.mark.parametrize(("width", "state"), [(2**16, None), (1, 2**20)])
def test_the_largest_sizes_are_examined_within_the_bounds(
    examiner: Examiner, tmp_path: Path, width: int, state: int | None
) -> None:
    model, fitness = examiner.load(hostile.identity(tmp_path / "model.onnx", width, state))
    row = 2 * width + 2 * (state or 0)
    assert fitness.policy.batch * row <= 2**24
    assert model.features == width


def test_a_child_that_ends_between_two_files_is_replaced(examiner: Examiner, tmp_path: Path) -> None:
    assert_serves(examiner, tmp_path)
    assert examiner._child is not None
    examiner._child.process.kill()
    examiner._child.process.wait()
    assert_serves(examiner, tmp_path)


def test_to_close_an_examiner_ends_what_it_waits_for(tmp_path: Path) -> None:
    examiner, ended = Examiner(), threading.Event()
    hostile.looping(tmp_path / "model.onnx")

    def load() -> None:
        with pytest.raises(ModelUnusable):
            examiner.load(tmp_path / "model.onnx")
        ended.set()

    waiting = threading.Thread(target=load)
    waiting.start()
    while not examiner._asking.locked():
        os.sched_yield()
    examiner.close()
    waiting.join()
    assert ended.is_set()


def test_a_child_that_does_not_answer_is_late(examiner: Examiner, tmp_path: Path) -> None:
    assert_serves(examiner, tmp_path)
    assert examiner._child is not None
    examiner._child.process.send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        examiner.load(tmp_path / "good/1/model.onnx", share=0.001)
    assert_serves(examiner, tmp_path)


def test_a_child_that_has_nothing_to_do_is_ended_and_another_one_takes_the_next_file(
    examiner: Examiner, tmp_path: Path
) -> None:
    assert_serves(examiner, tmp_path)
    examiner.rest()
    assert examiner._child is not None
    examiner.rest(seconds=0)
    assert examiner._child is None
    assert_serves(examiner, tmp_path)


def test_an_examination_beside_calls_runs_when_nothing_else_does_and_competes_where_that_never_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examiner = Examiner(aside=True)
    with monkeypatch.context() as patient:
        patient.setattr("service.models.examiner._SECONDS", 100)  # others may want the cores of this machine
        assert_serves(examiner, tmp_path)
    assert examiner._child is not None
    starved = examiner._child.process
    assert os.sched_getscheduler(starved.pid) == os.SCHED_IDLE
    starved.send_signal(signal.SIGSTOP)  # as if others had all cores
    assert_serves(examiner, tmp_path)
    assert starved.returncode == -signal.SIGKILL
    competes = examiner._child.process.pid
    assert os.sched_getscheduler(competes) == os.SCHED_OTHER
    assert os.getpriority(os.PRIO_PROCESS, competes) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)
    assert_serves(examiner, tmp_path)  # it stays for the next file, as the other would have
    assert examiner._child.process.pid == competes
    examiner.close()


def test_the_child_ends_when_the_service_is_gone(examiner: Examiner, tmp_path: Path) -> None:
    assert_serves(examiner, tmp_path)
    assert examiner._child is not None
    child, connection, _ = examiner._child
    connection.shutdown(socket.SHUT_RDWR)
    assert child.wait(timeout=60) == 0


def test_the_child_leaves_an_interrupt_from_the_terminal_to_the_service(examiner: Examiner, tmp_path: Path) -> None:
    assert_serves(examiner, tmp_path)
    assert examiner._child is not None
    examiner._child.process.send_signal(signal.SIGINT)
    before = examiner._child.process.pid
    assert_serves(examiner, tmp_path)
    assert examiner._child.process.pid == before
