"""Check what a file declares against the model contract (docs/model-contract.md): names, types and shapes."""

import math
from collections.abc import Mapping
from typing import Any

from service.errors import ModelUnusable
from service.models.signature import MOST_STATE, MOST_WIDTH

STATE, NEXT = "state.", "next_state."


def width(nodes: Mapping[str, Any], name: str) -> int:
    """The numbers in a time step of a tensor. Raises ModelUnusable: it is not there, or another one."""
    node = nodes.get(name)
    if node is None:
        raise ModelUnusable(f"the file has no {name!r}; it has {', '.join(nodes)}")
    if node.type != "tensor(float)" or len(node.shape) != 3 or not isinstance(node.shape[2], int):
        raise ModelUnusable(f"{name!r} is {node.type} {node.shape}, not float32 [batch, time, width]")
    if not 1 <= node.shape[2] <= MOST_WIDTH:
        raise ModelUnusable(f"{name!r} has width {node.shape[2]}, not 1 to {MOST_WIDTH}")
    return int(node.shape[2])


def state_shapes(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Pair `state.NAME` with `next_state.NAME`: by name, never by order. Raises ModelUnusable."""
    unknown = [name for name in inputs if name not in ("input", "lengths") and not name.startswith(STATE)]
    if unknown:
        raise ModelUnusable(f"inputs that the contract does not know: {', '.join(unknown)}")
    shapes: dict[str, tuple[int, ...]] = {}
    for name, node in inputs.items():
        if not name.startswith(STATE):
            continue
        after = outputs.get(NEXT + name.removeprefix(STATE))
        if after is None or node.type != "tensor(float)" or after.type != node.type:
            raise ModelUnusable(f"{name!r} has no float32 partner {NEXT}{name.removeprefix(STATE)}")
        if not all(isinstance(size, int) and size >= 1 for size in node.shape[1:]):
            raise ModelUnusable(f"{name!r} is {node.shape}; only its first dimension, the batch, may be free")
        shapes[name.removeprefix(STATE)] = tuple(node.shape[1:])
    if (numbers := sum(math.prod(shape) for shape in shapes.values())) > MOST_STATE:
        raise ModelUnusable(f"the states of one row have {numbers} numbers, more than {MOST_STATE}")
    return shapes
