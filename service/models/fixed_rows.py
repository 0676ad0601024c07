"""Find how many rows a file fixes: `x [4, time, 3]` is four rows, not one of 12 features. Pure.

A size of 2 or more that all inputs have where a batch may lie is tried as such; running the file proves or refutes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.models.signature import Graph, Tensor

BATCH = re.compile(r"^(b|n|bs|bsz)$|batch", re.I)  # names of free sizes
TIME = re.compile(r"^(t|s|l)$|time|seq|len|step|frame", re.I)


def fixed_rows(graph: Graph) -> Iterator[tuple[int, Graph]]:
    """Sizes that may be the number of rows, and the graph as if they were free in its inputs.

    None where a batch is free, or everything is fixed and nothing is a state.
    """
    shaped = [one for one in graph.inputs.values() if len(one.shape or ()) > 1]
    free = any(not isinstance(size, int) for one in shaped for size in one.shape or ())
    found = [_sizes(one) for one in shaped if not _has_batch(one)]
    if not found or not (free or len(shaped) > 1):
        return
    for rows in sorted(set.intersection(*found)):
        # Of states of as many layers as rows, [layers, batch, …] is the usual order.
        ways = [{name: _freed(one, rows, axes) for name, one in graph.inputs.items()} for axes in ((1, 0), (0, 1))]
        yield from ((rows, replace(graph, inputs=one)) for one in ways[: 1 if ways[0] == ways[1] else 2])


def _freed(one: Tensor, rows: int, axes: Sequence[int]) -> Tensor:
    """An input with a free batch on the first of these axes that has so many rows."""
    shape = list(one.shape or ())
    axis = next((axis for axis in axes if axis < len(shape) - 1 and shape[axis] == rows), None)
    if axis is None or _has_batch(one):
        return one
    shape[axis] = "batch"
    return replace(one, shape=tuple(shape))


def _sizes(one: Tensor) -> set[int]:
    if len(one.shape or ()) == 2 and "int" not in one.kind and not isinstance((one.shape or ())[1], int):
        return set()  # numbers [80, time] are features of one row, tokens [4, time] rows
    return {size for size in (one.shape or ())[:-1][:2] if isinstance(size, int) and size > 1}


def _has_batch(one: Tensor) -> bool:
    """Whether a batch is free: two sizes are, or one that is called so, or that is first and not called time."""
    names = [(axis, str(size)) for axis, size in enumerate(one.shape or ()) if not isinstance(size, int)]
    if len(names) != 1:
        return len(names) > 1
    ((axis, name),) = names
    return bool(BATCH.search(name)) or (axis == 0 and not TIME.search(name))
