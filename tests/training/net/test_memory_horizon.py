from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training import tables, tiny
from training.data.batches import Window
from training.data.dataset import Scaling
from training.data.feature import Feature
from training.file.contract import read_metadata
from training.net.encoder import Encoder
from training.net.heads import Values
from training.net.memory_horizon import LAGS, ends, reach
from training.net.networks import Recurrent
from training.train import train

UNIT = Scaling(np.zeros(1), np.ones(1))
SMALL = 1e-3  # inputs so small that tanh is the identity, near enough


def windows(count: int, steps: int, seed: int = 0) -> list[Window]:
    """Windows of the tiny network's raw rows; all steps have an answer."""
    random = np.random.default_rng(seed)
    return [
        Window(tiny.rows(steps, seed + i), random.normal(50, 20, (steps, 1)).astype(np.float32)) for i in range(count)
    ]


def on_numbers(cell: str, hidden: int, layers: int = 1) -> Recurrent:
    """An untrained network of one number in and one out."""
    torch.manual_seed(0)
    encoder = Encoder([Feature("x")], UNIT, table_width=1, limit=3.0)
    return Recurrent(encoder, Values(hidden, UNIT), cell=cell, hidden=hidden, layers=layers)


def single_unit(weight: float, layers: int = 1) -> Recurrent:
    """An Elman network of one unit: h_t = tanh(x_t + w·h_{t-1}), y = h."""
    network = on_numbers("rnn", 1, layers)
    with torch.no_grad():
        for name, values in network.named_parameters():
            values.fill_(weight if "weight_hh" in name else float("weight" in name))
    return network


def quiet(steps: int, count: int = 3) -> list[Window]:
    """Windows in which a single unit stays linear."""
    random = np.random.default_rng(1)
    shape = (steps, 1)
    return [
        Window(random.normal(0, SMALL, shape).astype(np.float32), random.normal(0, 1, shape).astype(np.float32))
        for _ in range(count)
    ]


@pytest.mark.parametrize("weight", [0.9, 0.5, -0.7])
def test_the_gradient_of_a_single_unit_falls_as_its_weight_to_the_power_of_the_lag(weight: float) -> None:
    found = reach(single_unit(weight), quiet(60))
    falling = np.abs(weight) ** np.arange(60)
    np.testing.assert_allclose(found.share, falling, rtol=1e-3)
    np.testing.assert_allclose(found.inputs / found.inputs[0], falling, rtol=1e-3)
    np.testing.assert_allclose(found.states["h"] / found.states["h"][0], falling, rtol=1e-3)
    assert found.horizon == int(np.log(0.01) / np.log(abs(weight)))  # the last k with |w|^k ≥ 1 %


def test_a_horizon_that_is_not_inside_what_was_measured_is_not_told() -> None:
    assert reach(single_unit(0.9), quiet(45)).horizon == 43
    assert reach(single_unit(0.9), quiet(44)).horizon is None
    assert reach(single_unit(1.0), quiet(200)).horizon is None


def test_a_state_counts_in_all_layers() -> None:
    w = 0.5
    h = reach(single_unit(w, layers=2), quiet(8)).states["h"]
    k = np.arange(1, 8)  # from the upper layer w^k, from the lower one k ways up: k·w^k
    np.testing.assert_allclose(h[1:] / h[0], np.hypot(w**k, k * w**k), rtol=1e-3)


@pytest.mark.parametrize("cell", ["feedforward", "rnn", "gru", "lstm"])
def test_norms_are_those_that_autograd_finds_in_one_pass_over_a_window(cell: str) -> None:
    network = tiny.network(cell, layers=2)
    (one,) = windows(1, 12)
    seen: list[Tensor] = []
    hook = network.encoder.register_forward_hook(lambda module, entered, left: seen.append(left))
    x = torch.from_numpy(one.x)[None].requires_grad_()
    h, _ = network.hidden_values(x, torch.tensor([12]), network.zero_state(1))
    hook.remove()
    loss = network.head.loss(h[:, -1:], torch.from_numpy(one.answers)[None, -1:])
    z, last = torch.autograd.grad(loss, [seen[0], h])
    found = reach(network, [one])
    np.testing.assert_allclose(found.inputs, z[0].norm(dim=1).flip(0), rtol=1e-4, atol=1e-9)
    assert found.states["h"][0] == pytest.approx(float(last[0, -1].norm()), rel=1e-4)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_norms_of_states_are_finite_differences_of_the_loss(cell: str) -> None:
    network = on_numbers(cell, 3).double()
    lag, (one,) = 4, quiet(10, 1)
    x, answer = torch.from_numpy(one.x).double()[None], torch.from_numpy(one.answers).double()[None, -1:]

    def loss(state: dict[str, Tensor]) -> float:
        h, _ = network.hidden_values(x[:, -lag:], torch.tensor([lag]), state)
        return float(network.head.loss(h[:, -1:], answer))

    with torch.no_grad():
        _, state = network.hidden_values(x[:, :-lag], torch.tensor([10 - lag]), network.zero_state(1))
        slopes: dict[str, list[float]] = {}
        for name in state:
            for unit in torch.eye(3, dtype=torch.float64) * 1e-6:
                up, down = ({**state, name: state[name] + sign * unit} for sign in (1, -1))
                slopes.setdefault(name[0], []).append((loss(up) - loss(down)) / 2e-6)
    found = reach(network.float(), [one])
    assert found.states.keys() == slopes.keys()
    for letter, slope in slopes.items():
        assert found.states[letter][lag] == pytest.approx(float(np.linalg.norm(slope)), rel=1e-3)


def test_windows_of_different_lengths_are_measured_as_if_alone() -> None:
    network, (long, short) = tiny.network("gru"), [*windows(1, 30), *windows(1, 9, seed=5)]
    together, alone = reach(network, [long, short]), [reach(network, [one]) for one in (long, short)]
    assert (len(together.share), together.windows) == (30, 2)
    np.testing.assert_allclose(together.inputs[:9], (alone[0].inputs[:9] + alone[1].inputs) / 2, rtol=1e-5)
    np.testing.assert_allclose(together.share[9:], alone[0].share[9:], rtol=1e-5)


def test_a_lag_that_hardly_any_window_reaches_is_not_told() -> None:
    cut = [*windows(1, 40), *windows(20, 6, seed=1)]
    assert len(reach(tiny.network(), cut).share) == 6


def test_a_feedforward_network_listens_to_the_step_itself() -> None:
    found = reach(tiny.network("feedforward"), windows(5, 8))
    assert found.horizon == 0
    assert not found.inputs[1:].any()


def test_windows_end_in_steps_that_have_an_answer(tmp_path: Path) -> None:
    (test,) = tables.data(tmp_path, table=tables.line(2000)).test
    cut = ends([test])
    assert len(cut) == 200
    assert {len(one.x) for one in cut} == {LAGS + 1}
    assert [float(cut[i].answers[-1, 0]) for i in (0, -1)] == [1600, 1999]
    steps = np.diff([one.answers[-1, 0] for one in cut])
    assert set(steps.tolist()) <= {2.0, 3.0}


def test_a_step_without_an_answer_ends_no_window_and_few_steps_make_few(tmp_path: Path) -> None:
    gap = tables.line().replace(",18\n", ",\n")
    (test,) = tables.data(tmp_path, tables.RECIPE.replace('name = "x"', 'name = "x"\nmissing = "hold"'), gap).test
    assert [float(one.answers[-1, 0]) for one in ends([test])] == [16, 17, 19]


@pytest.mark.parametrize(
    ("network", "horizon"), [('cell = "feedforward"', [0]), ("bidirectional = true", []), ("", [None])]
)
def test_every_file_tells_the_horizon_of_what_can_be_streamed(
    network: str, horizon: list[int | None], tmp_path: Path
) -> None:
    text = tables.RECIPE.replace("hidden = 4", f"hidden = 4\n{network}")
    told = read_metadata(
        train(tables.recipe(tmp_path, text, tables.line(9)), tmp_path / "models", runs=tmp_path / "runs")
    )
    assert [told[key] for key in told if key == "memory_horizon"] == horizon
