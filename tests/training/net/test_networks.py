import numpy as np
import pytest
import torch

from tests.training import reference, tiny
from training.file.verify import Exported
from training.net.networks import Network


def some_state(network: Network, batch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    zero = network.zero_state(batch)
    return {name: random.uniform(-1, 1, value.shape).astype(np.float32) for name, value in zero.items()}


@pytest.mark.parametrize("layers", [1, 2])
def test_numpy_equations_torch_and_onnx_runtime_agree(layers: int) -> None:
    network = tiny.network(layers=layers)
    x, state = tiny.rows(40), some_state(network, 1)

    wanted, last = reference.run(network, x.astype(np.float64), {name: v[0].astype(float) for name, v in state.items()})
    with torch.no_grad():
        by_torch, torch_state = network(
            torch.from_numpy(x)[None], torch.tensor([40]), {name: torch.from_numpy(v) for name, v in state.items()}
        )
    by_ort, ort_state = Exported(tiny.model(network).SerializeToString())(x[None], np.array([40], np.int32), state)

    std = tiny.TARGET.std
    np.testing.assert_allclose(by_torch[0].numpy() / std, wanted / std, rtol=0, atol=1e-6)
    np.testing.assert_allclose(by_ort[0] / std, wanted / std, rtol=0, atol=1e-6)
    for name, value in last.items():
        np.testing.assert_allclose(torch_state[name][0].numpy(), value, rtol=0, atol=1e-6)
        np.testing.assert_allclose(ort_state[name][0], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", ["feedforward", "rnn", "gru", "lstm"])
def test_a_padded_row_ends_where_it_does_alone(cell: str) -> None:
    network = tiny.network(cell, layers=2)
    x = torch.from_numpy(tiny.rows(20)).reshape(2, 10, 4)
    with torch.no_grad():
        y, together = network(x, torch.tensor([10, 3]), network.zero_state(2))
        y_alone, alone = network(x[1:, :3], torch.tensor([3]), network.zero_state(1))
    torch.testing.assert_close(y[1:, :3], y_alone)
    assert together.keys() == alone.keys() == network.state_shapes.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name][1:], value)


@pytest.mark.parametrize("cell", ["feedforward", "rnn", "gru", "lstm"])
def test_only_a_recurrent_network_remembers(cell: str) -> None:
    network = tiny.network(cell)
    x = torch.from_numpy(tiny.rows(6))[None]
    changed = x.clone()
    changed[0, 0, tiny.LOAD] += 20
    with torch.no_grad():
        outputs = [network(one, torch.tensor([6]), network.zero_state(1))[0][0, 1:] for one in (x, changed)]
    assert torch.equal(*outputs) == (cell == "feedforward")


def test_a_bidirectional_network_reads_from_both_ends_of_each_row() -> None:
    network = tiny.network(bidirectional=True)
    x = torch.from_numpy(tiny.rows(20)).reshape(2, 10, 4)
    with torch.no_grad():
        together, state = network(x, torch.tensor([10, 3]), {})
        alone, _ = network(x[1:, :3], torch.tensor([3]), {})
        cut, _ = network(x[:1, :9], torch.tensor([9]), {})
    torch.testing.assert_close(together[1:, :3], alone)
    assert state == {}
    assert not torch.allclose(together[:1, :9], cut)  # what comes after is heard


def test_a_column_that_never_varied_in_training_is_ignored() -> None:
    network = tiny.network()
    x = tiny.rows(5)
    changed = x.copy()
    changed[:, tiny.CONSTANT] = 1e6
    with torch.no_grad():
        assert torch.equal(network.encoder(torch.from_numpy(x)), network.encoder(torch.from_numpy(changed)))


def test_a_number_is_held_within_the_limit() -> None:
    network = tiny.network()
    x = np.repeat(tiny.rows(1), 2, axis=0)
    x[:, tiny.LOAD] = 50 + 3 * 20, 3e38
    with torch.no_grad():
        near, far = network.encoder(torch.from_numpy(x))
    assert torch.equal(near, far)


def test_untrained_tables_treat_every_code_as_unknown() -> None:
    network = tiny.network()
    for table in network.encoder.tables:
        torch.nn.init.zeros_(table)
    x = np.repeat(tiny.rows(1), 2, axis=0)
    x[:, tiny.KIND] = 5, 99
    with torch.no_grad():
        known, unknown = network.encoder(torch.from_numpy(x))
    assert torch.equal(known, unknown)
