from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from study.gates import gates
from tests.training import reference, tables, tiny
from training.cli import app
from training.errors import VerificationError
from training.net.networks import Recurrent
from training.train import train

PNG = b"\x89PNG\r\n\x1a\n"


def lstm(layers: int = 1) -> Recurrent:
    network = tiny.network(layers=layers)
    assert isinstance(network, Recurrent)
    return network


def test_each_gate_is_what_the_seed_equations_give() -> None:
    network, x, zero = lstm(), tiny.rows(40), np.zeros(5)
    found = gates(tiny.model(network), x)
    weights = reference.weights_of(network, 0)
    z = reference.encode(network, x.astype(np.float64))
    h, _, last = reference.lstm(z, zero, zero, weights)
    before = np.vstack([zero, h[:-1]])
    driven = {name: z @ W.T + before @ U.T + b for name, (W, U, b) in weights.items()}
    for name, gate in {"f": found.forget, "i": found.input, "o": found.output}.items():
        np.testing.assert_allclose(gate, reference.sigmoid(driven[name]), atol=1e-6)
    np.testing.assert_allclose(found.candidate, np.tanh(driven["c"]), atol=1e-6)
    np.testing.assert_allclose(found.cell[-1], last, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_last_layers_cell_and_hidden_values_are_those_of_torch_at_every_step(layers: int) -> None:
    network, x = lstm(layers), tiny.rows(30)
    found = gates(tiny.model(network), x)
    state = network.zero_state(1)
    for step, row in enumerate(torch.from_numpy(x)):
        with torch.no_grad():
            _, state = network(row[None, None], torch.tensor([1]), state)
        np.testing.assert_allclose(found.cell[step], state[f"c{layers - 1}"][0], atol=1e-6)
        np.testing.assert_allclose(found.hidden[step], state[f"h{layers - 1}"][0], atol=1e-6)


def test_a_file_that_computes_something_else_is_found_out() -> None:
    model = tiny.model(lstm())
    (node,) = (node for node in model.graph.node if node.op_type == "LSTM")
    node.attribute.append(onnx.helper.make_attribute("activations", ["Sigmoid", "Relu", "Tanh"]))
    with pytest.raises(VerificationError, match="the file's hidden values"):
        gates(model, tiny.rows(20))


def test_the_command_draws_a_picture_of_a_trained_model(tmp_path: Path) -> None:
    train(tables.recipe(tmp_path), tmp_path / "models", runs=tmp_path / "runs")
    picture = tmp_path / "new" / "gates.png"
    result = command(tmp_path, "--output", str(picture))
    assert result == (0, f"Wrote {picture}\n")
    assert picture.read_bytes().startswith(PNG)
    assert command(tmp_path, "--sequence", "1") == (1, "--sequence 1: the test part of tiny has 0 to 0\n")
    later = tmp_path / "later.png"
    assert command(tmp_path, "--output", str(later), "--start", "1")[0] == 0
    assert later.read_bytes() != picture.read_bytes()
    assert command(tmp_path, "--start", "3") == (1, "--start 3: sequence 0 can be drawn from step 0 to 2\n")


@pytest.mark.parametrize("cell", ["feedforward", "rnn", "gru", "bidirectional"])
def test_a_cell_without_gates_to_draw_is_one_message(cell: str, tmp_path: Path) -> None:
    tables.recipe(tmp_path)
    path = tmp_path / "models/tiny/1/model.onnx"
    path.parent.mkdir(parents=True)
    both = cell == "bidirectional"
    onnx.save(tiny.model(tiny.network("lstm" if both else cell, bidirectional=both)), path)
    assert command(tmp_path) == (1, f"{path}: its cell is {cell}; only the gates of a one-way lstm can be drawn\n")


def test_a_missing_model_and_one_of_other_features_are_one_message_each(tmp_path: Path) -> None:
    tables.recipe(tmp_path)
    path = tmp_path / "models/tiny/1/model.onnx"
    assert command(tmp_path) == (1, f"{path}: no such file; `carousel-train fit` makes it\n")
    path.parent.mkdir(parents=True)
    onnx.save(tiny.model(lstm()), path)
    assert command(tmp_path) == (1, f"{path}: was made with other features than the recipe has now; fit it again\n")


def command(folder: Path, *options: str) -> tuple[int, str]:
    """Return exit code and output of `carousel-train gates` on the tiny recipe of a folder."""
    result = CliRunner().invoke(app, ["gates", str(folder / "tiny.toml"), "--models", str(folder / "models"), *options])
    return result.exit_code, result.output
