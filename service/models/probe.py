"""Run a graph a few times to see what its names do not tell: where batch and time lie in its outputs, first states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import ModelUnusable
from service.models.model import opened
from service.models.signature import MOST_WIDTH, Port, Signature
from service.models.turning import Turn, filled

_ROWS, _STEPS, _LONGER = 2, 3, 6  # twice as long: a graph that skips every other step is seen


def with_outputs(content: bytes, signature: Signature) -> Signature:
    """Measure where batch and time lie in the outputs, by runs of other sizes.

    Raises:
        ModelUnusable: the file does not run when it is read so, or an output does not follow rows where it has time.

    """
    names = [port.name for port in signature.outputs]
    rows = signature.rows or (_ROWS if signature.batched else 1)
    shapes = _shapes(content, signature, names, (rows, _STEPS))
    free = signature.batched and signature.rows is None
    by_rows = _shapes(content, signature, names, (rows + 1, _STEPS)) if free else shapes
    by_steps = _shapes(content, signature, names, (rows, _LONGER)) if signature.timed else shapes
    outputs = []
    for port, base, wider, longer in zip(signature.outputs, shapes, by_rows, by_steps, strict=True):
        time = _axis(port.name, base, longer, (_STEPS, _LONGER), "steps")
        batch = _axis(port.name, base, wider, (rows, rows + 1), "rows")
        if signature.rows:
            batch = next((axis for axis, size in enumerate(base) if size == rows and axis != time), None)
        outputs.append(
            replace(
                port, shape=tuple(np.delete(base, [a for a in (batch, time) if a is not None])), batch=batch, time=time
            )
        )
    follow = [port for port in outputs if not signature.batched or port.batch is not None]
    strays = [port for port in outputs if port not in follow and (port.time is not None or not follow)]
    for port, base in zip(outputs, shapes, strict=True):
        if port in strays:
            raise ModelUnusable(f"the output {port.name!r} is {list(base)} whatever the number of rows")
    outputs = [port for port in follow if port.time is not None] or follow
    left_out = tuple(name for name in names if name not in {port.name for port in outputs})
    if empty := [port.name for port in outputs if port.width == 0]:
        raise ModelUnusable(
            f'the output {empty[0]!r} has no numbers: tell the others by outputs = ["NAME"] in model.toml'
        )
    if sum(port.width for port in outputs) > MOST_WIDTH:
        raise ModelUnusable(
            f"the outputs of a step have width {sum(port.width for port in outputs)}, more than {MOST_WIDTH}"
        )
    clean = [replace(port, shape=tuple(map(int, port.shape))) for port in outputs]
    return replace(signature, outputs=tuple(clean), left_out=left_out)


def first_states(content: bytes, signature: Signature, tensors: Mapping[str, str]) -> dict[str, Any]:
    """The values that recurrent nodes begin with, by state: tensors of the graph before it was changed.

    Raises:
        ModelUnusable: they follow from the inputs, as those of a decoder do.

    """
    names = list(dict.fromkeys(tensors.values()))
    if not names:
        return {}
    runs = [_run(content, signature, names, (signature.rows or _ROWS, _STEPS), value) for value in (0, 1)]
    found = {}
    for state, name in tensors.items():
        first, other = (run[names.index(name)] for run in runs)
        if not np.array_equal(first, other) or not (first == first[:, :1]).all():
            raise ModelUnusable(f"its first state ({name!r}) is computed of its inputs")
        found[state] = first[:, 0][:, None].reshape(1, -1).tolist() if first.any() else 0.0
    return found


def _axis(name: str, base: tuple[int, ...], other: tuple[int, ...], sizes: tuple[int, int], what: str) -> int | None:
    """The axis that has changed with a size."""
    changed = [axis for axis, (a, b) in enumerate(zip(base, other, strict=True)) if a != b]
    if not changed:
        return None
    if len(changed) > 1 or (base[changed[0]], other[changed[0]]) != sizes:
        raise ModelUnusable(
            f"the output {name!r} is {list(base)} for {sizes[0]} {what} and {list(other)} for {sizes[1]};"
            f" it has to have as many {what}, or not to follow them; without it, tell the others by"
            ' outputs = ["NAME"] in model.toml'
        )
    return changed[0]


def _shapes(content: bytes, signature: Signature, names: Sequence[str], size: tuple[int, int]) -> list[tuple[int, ...]]:
    return [array.shape for array in _run(content, signature, names, size, 1)]


def _run(
    content: bytes, signature: Signature, names: Sequence[str], size: tuple[int, int], value: float
) -> list[NDArray[Any]]:
    """Outputs of so many rows and steps, all inputs being one value."""
    rows, steps = size
    if not signature.timed:
        steps = 1

    def full(port: Port) -> NDArray[Any]:
        return Turn(port).inward(np.full((rows, steps, port.width), value, np.float32), rows, steps)

    feeds = {port.name: full(port) for port in signature.inputs}
    begins = [(one.port, one.initial) for one in signature.states]
    for port, initial in [*begins, *((one.port, one.value) for one in signature.constants)]:
        array = np.broadcast_to(filled(initial, port), (rows, *port.shape))
        feeds[port.name] = Turn(port).inward(array, rows, 1)
    if signature.lengths is not None:
        feeds[signature.lengths.name] = np.full(
            () if signature.lengths.batch is None else rows, steps, signature.lengths.kind
        )
    try:
        return list(opened(content).run(list(names), feeds))
    except ModelUnusable:
        raise
    except Exception as error:  # errors of ONNX Runtime have no common base
        told = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
        reason = str(error).rpartition("Status Message: ")[2].rpartition(" was false. ")[2].strip()[:200]
        first = signature.inputs[0].name
        raise ModelUnusable(
            f"it does not run on {told}: {reason}; where these sizes are wrong, tell the right ones by"
            f' {first} = ["batch", 512], say, under [shapes] in model.toml'
        ) from error
