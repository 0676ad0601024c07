"""`demo.stream` against the server of the wire: what the table of results is made of."""

import numpy as np

from carousel_client import Client
from demo.stream import state_dropped, streamed
from tests.wire.oracle import Oracle
from tests.wire.server import Server
from training.net.evaluate import Unseen


def unseen(oracle: Oracle, rng: np.random.Generator, history: int, steps: int) -> Unseen:
    rows = oracle.inputs(rng, history + steps)
    nothing = np.empty(0, np.float32)
    return Unseen("", rows[:history], rows[history:], nothing, nothing, nothing, {})


def test_streams_come_back_as_their_whole_runs_without_the_history(
    server: Server, oracle: Oracle, rng: np.random.Generator
) -> None:
    streams = [unseen(oracle, rng, history, steps) for history, steps in ((0, 5), (40, 3), (2, 1))]
    with Client(server.url) as client:
        outputs = streamed(client, "lstm", "10", streams)
    for one, own in zip(streams, outputs, strict=True):
        whole = oracle.whole(np.concatenate([one.history, one.inputs]))
        np.testing.assert_array_equal(own, whole[len(one.history) :])


def test_without_its_state_each_row_comes_back_as_a_run_of_its_own(
    server: Server, oracle: Oracle, rng: np.random.Generator
) -> None:
    streams = [unseen(oracle, rng, 0, 300), unseen(oracle, rng, 4, 300)]
    with Client(server.url) as client:
        outputs = state_dropped(client, "lstm", "10", streams)
    for one, own in zip(streams, outputs, strict=True):
        np.testing.assert_array_equal(own, np.concatenate([oracle.whole(row[None]) for row in one.inputs]))
