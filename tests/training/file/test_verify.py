from functools import cache

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.training import tiny
from training.file.verify import Exported, verify


@cache
def exported(hidden: int, layers: int) -> Exported:
    return Exported(tiny.model(tiny.network(hidden=hidden, layers=layers)).SerializeToString())


@given(
    shape=st.sampled_from([(3, 1), (8, 2), (21, 1)]),
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=20),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_ragged_batch_equals_each_row_alone_bit_for_bit(
    shape: tuple[int, int], lengths: list[int], seed: int
) -> None:
    run, (hidden, layers) = exported(*shape), shape
    B, T = len(lengths), max(lengths)
    random = np.random.default_rng(seed)
    x = tiny.rows(B * T, seed).reshape(B, T, 4)
    names = [f"{part}{layer}" for layer in range(layers) for part in "hc"]
    state = {name: random.uniform(-1, 1, (B, hidden)).astype(np.float32) for name in names}
    outputs, last = run(x, np.array(lengths, np.int32), state)
    for row, length in enumerate(lengths):
        own = {name: value[row : row + 1] for name, value in state.items()}
        alone, own_last = run(x[row : row + 1, :length], np.array([length], np.int32), own)
        assert np.array_equal(alone[0].view(np.uint32), outputs[row, :length].view(np.uint32))
        for name in names:
            assert np.array_equal(own_last[name][0].view(np.uint32), last[name][row].view(np.uint32))


def test_a_sound_export_passes_whatever_its_shape() -> None:
    for hidden, layers in ((1, 1), (7, 2), (16, 3)):
        network = tiny.network(hidden=hidden, layers=layers)
        verify(tiny.model(network).SerializeToString(), network, tiny.rows(120))
