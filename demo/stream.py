"""Unseen streams sent through a running service, as callers would send them. Knows no model by name."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carousel_client import Client
from training.net.evaluate import Unseen

AT_ONCE = 512  # one-step sequences in a predict

Floats = NDArray[np.float32]


def streamed(client: Client, model: str, version: str, streams: Sequence[Unseen]) -> list[Floats]:
    """Return the outputs [N, K] of each stream, sent row by row through a session of its own, all side by side.

    A stream's history goes first, in one piece; its outputs are dropped.
    """
    pieces = [_pieces(one) for one in streams]
    at = [0] * len(streams)  # the step that each session expects
    outputs: list[list[Floats]] = [[] for _ in streams]
    for turn in range(max(map(len, pieces))):
        now = [index for index, own in enumerate(pieces) if turn < len(own)]
        items = [(f"{model}-{version}-{index}", pieces[index][turn], at[index]) for index in now]
        for index, answer in zip(now, client.steps(model, items, open=turn == 0, version=version), strict=True):
            if answer.outputs is None or answer.step is None:
                raise answer.error or RuntimeError(f"session {answer.session} gave no outputs")
            outputs[index].append(answer.outputs)
            at[index] = answer.step
    return [np.concatenate(own)[-len(one.inputs) :] for own, one in zip(outputs, streams, strict=True)]


def state_dropped(client: Client, model: str, version: str, streams: Sequence[Unseen]) -> list[Floats]:
    """Return the outputs [N, K] of each stream, each of its rows alone from the zero state."""
    alone = [row[np.newaxis] for one in streams for row in one.inputs]  # [1, F]
    outputs: list[Floats] = []
    for start in range(0, len(alone), AT_ONCE):
        outputs += client.predict(model, alone[start : start + AT_ONCE], version)
    ends = np.cumsum([len(one.inputs) for one in streams])
    return np.split(np.concatenate(outputs), ends[:-1])


def _pieces(one: Unseen) -> list[Floats]:
    """Return the history, if there is any, and then row after row."""
    rows = list(one.inputs[:, np.newaxis])  # N of [1, F]
    return [one.history, *rows] if len(one.history) else rows
