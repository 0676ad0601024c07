"""Exports of a network as people make them with PyTorch: served with its numbers, or refused with a sentence."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests import exports
from tests.exports import Export
from tests.wire.expect import Array, bits, done, refused
from tests.wire.server import Server

pytestmark = pytest.mark.timeout(900)  # thirty-six exports are written first, some of them for seconds
STREAM = "abdefghijklmopqr"
REFUSED = {"c": "batch and time are fixed", "n": "batch and time are fixed", "s": "ONNX Runtime does not load the file"}
Exports = dict[str, Export]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exports]:
    """A folder of models named LETTERLAYERS, and what is no model beside them."""
    folder = tmp_path_factory.mktemp("exports")
    found: Exports = {}
    for layers in (1, 2):
        found |= {f"{letter}{layers}": one for letter, one in exports.write(folder, layers).items()}
    (folder / "s/1").mkdir(parents=True)
    (folder / "s/1/model.onnx").write_text("this is no model\n")
    (folder / "t/1").mkdir(parents=True)
    (folder / "u/latest").mkdir(parents=True)
    (folder / "u/latest/model.onnx").write_bytes(found["a1"].path.read_bytes())
    (folder / "flat.onnx").write_bytes(found["a1"].path.read_bytes())
    return folder, found


@pytest.fixture(scope="session")
def exported(written: tuple[Path, Exports], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(written[0], tmp_path_factory.mktemp("exported") / "log").wait_until_ready(seconds=200)
    yield server
    assert server.stop() == 0, server.log


@pytest.fixture
def client(exported: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=exported.url, timeout=20) as one:
        yield one


def drawn(seed: int, *lengths: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 2, (length, exports.F)).astype(np.float32) for length in lengths]


def predict(client: httpx.Client, name: str, sequences: list[Array]) -> list[Array]:
    answer = client.post(f"/v1/models/{name}/predict", json={"sequences": [one.tolist() for one in sequences]})
    return [np.array(one, np.float32) for one in done(answer)["outputs"]]


def step(client: httpx.Client, session: str, inputs: Array) -> Array:
    return np.array(done(client.post(f"/v1/sessions/{session}/steps", json={"inputs": inputs.tolist()}))["outputs"])


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("letter", STREAM)
class TestEachThatStreams:
    def test_answers_strangers_of_different_lengths_as_torch_does(
        self, client: httpx.Client, written: tuple[Path, Exports], letter: str, layers: int
    ) -> None:
        name = f"{letter}{layers}"
        export, sequences = written[1][name], drawn(1, 7, 1, 40, 3, 40, 75, 5)
        for sequence, outputs in zip(sequences, predict(client, name, sequences), strict=True):
            expected = export.whole(sequence)[-1:] if export.last else export.whole(sequence)
            assert outputs.shape == expected.shape
            assert np.abs(outputs - expected).max() < 1e-5

    def test_steps_two_interleaved_sessions_to_the_bits_of_their_whole_sequences(
        self, client: httpx.Client, written: tuple[Path, Exports], letter: str, layers: int
    ) -> None:
        name = f"{letter}{layers}"
        export, sequences = written[1][name], drawn(2, 30, 30)
        sessions = [done(client.post(f"/v1/models/{name}/sessions", json={}), 201)["id"] for _ in sequences]
        cuts = [0, 1, 2, 9, 10, 30]
        answers: list[list[Array]] = [[], []]
        for first, end in pairwise(cuts):
            for index, session in enumerate(sessions):
                answers[index].append(step(client, session, sequences[index][first:end]))
        stepped = [np.concatenate(one) for one in answers]
        for outputs, sequence, whole in zip(stepped, sequences, predict(client, name, sequences), strict=True):
            assert np.abs(outputs - export.whole(sequence)).max() < 1e-5
            assert bits(outputs[-1:] if export.last else outputs) == bits(whole)

    def test_tells_what_was_inferred(self, client: httpx.Client, letter: str, layers: int, **_: object) -> None:
        told = done(client.get(f"/v1/models/{letter}{layers}"))
        assert told["streamable"] and told["bit_equal"]
        assert ("signature" in told) is (letter != "q")  # it follows the contract
        if letter != "q":
            ways = {"rewritten"} if letter in "abdl" else {"contract"} if letter in "hjkpr" else {"name"}
            assert {one["told"] for one in told["signature"]["states"]} == ways
            assert told["signature"]["answers"] == ("last step" if letter == "d" else "each step")


@pytest.mark.parametrize("letter", REFUSED)
def test_a_file_that_cannot_be_served_is_refused_with_the_reason(client: httpx.Client, letter: str) -> None:
    for layers in [""] if letter == "s" else ["1", "2"]:
        told = refused(client.post(f"/v1/models/{letter}{layers}/sessions", json={}), "version_not_found")
        assert REFUSED[letter] in told["detail"]
        if letter != "s":
            assert "export it with dynamic_axes" in told["detail"]


def test_what_is_no_model_is_named(client: httpx.Client, exported: Server) -> None:
    (latest,) = next(one for one in done(client.get("/v1/models"))["models"] if one["name"] == "u")["versions"]
    assert latest["state"] == "unavailable"
    assert "decimal number" in latest["reason"]
    for name in ("t/1", "u/latest", "flat.onnx"):
        assert any(name in line and "not served" in line for line in exported.log.splitlines())
