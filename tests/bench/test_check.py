import struct
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench import models
from bench.check import Reference, WrongAnswerError, check, compare
from bench.generator import Load
from bench.inputs import ROWS, rows_of


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference(models.write(tmp_path_factory.mktemp("models"), "S"))


def record(session: int, step: int, answer: bytes) -> bytes:
    return struct.pack("<QII", step, session, len(answer)) + answer


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    first, again, other = (models.write(tmp_path / name, "S", seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()


def test_sessions_send_rows_of_their_own_in_an_order_of_their_own() -> None:
    sent = np.stack([rows_of(session, 0, 500) for session in range(8)])
    assert sent.max() < ROWS
    assert len({row.tobytes() for row in sent}) == 8
    assert rows_of(3, 100, 50).tolist() == sent[3, 100:150].tolist()


def test_a_lone_run_in_pieces_is_that_of_the_whole(reference: Reference) -> None:
    whole = reference.outputs(5, 0, 1030)
    assert whole.shape == (1030, 16)
    assert reference.outputs(5, 0, 20).tobytes() == whole[:20].tobytes()


def test_right_answers_pass_in_whatever_order_they_came(reference: Reference, tmp_path: Path) -> None:
    whole = reference.outputs(7, 0, 12)
    samples = tmp_path / "samples"
    samples.write_bytes(b"".join(record(7, step, whole[step : step + 4].tobytes()) for step in (8, 0)))
    assert check(samples, Load("stream", length=4), reference) == 8


def test_one_wrong_bit_is_found(reference: Reference, tmp_path: Path) -> None:
    answer = reference.outputs(7, 0, 3)[2:].copy()
    answer.view(np.uint32)[0, 15] ^= 1
    samples = tmp_path / "samples"
    samples.write_bytes(record(7, 2, answer.tobytes()))
    with pytest.raises(WrongAnswerError, match="session 7, step 2"):
        check(samples, Load("stream"), reference)


def test_json_answers_are_compared_as_float32(reference: Reference, tmp_path: Path) -> None:
    told = {"outputs": reference.outputs(1, 0, 2), "step": 2}
    samples = tmp_path / "samples"
    samples.write_bytes(record(1, 0, orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)))
    assert check(samples, Load(length=2), reference) == 2


def test_a_predict_begins_at_the_zero_state(reference: Reference) -> None:
    kept = {2: [(64, reference.outputs(2, 64, 32))]}
    assert compare(kept, reference, from_zero=True) == 32
    with pytest.raises(WrongAnswerError):
        compare(kept, reference)
