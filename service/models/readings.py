"""Find out which inputs of a graph are sequences, states, lengths, constants, and where batch and time may lie. Pure.

State pairs are found by what is declared, then by metadata, names, and shapes that only one pair has; never by order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from service.errors import ModelUnusable
from service.models.fixed_rows import BATCH, TIME, fixed_rows
from service.models.pairs import Pair, paired
from service.models.signature import (
    KINDS,
    MOST_STATE,
    MOST_WIDTH,
    Carried,
    Constant,
    Dim,
    Graph,
    Port,
    Signature,
    Tensor,
)

if TYPE_CHECKING:
    from service.models.declared import Declared

_OF = r"x|in|input|seq|sequence|src|source|target|audio|wav|speech|feat|feature|text|token|enc|encoder|valid|actual"
_LENGTHS = re.compile(  # x_lens, seqlen, lengths; not hop_length, wavelength, calendar
    rf"^(.*[._](?=len(s|gths)([^a-z]|$)))?((.*[._])?({_OF})s?[._]?)?len(s|gths?)?([._]?(in|input|\d+))?(:0)?$"
    r"|^num_?(steps|frames)$",
    re.I,
)

_NO_TIME = (
    "without time where others have it: tell its value by {name} = … under [constants], or its output under [state]"
)


@dataclass(frozen=True)
class _About:
    """What is known when the sequences are read."""

    declared: Declared
    rows: bool  # several rows may run at once
    stated: bool  # the graph has states
    rewritten: bool  # they are those of recurrent nodes, which were given them


def readings(graph: Graph, declared: Declared, pairs: Sequence[Pair] = ()) -> Iterator[Signature]:
    """The ways in which a graph may be meant, the likeliest first. Their outputs are not measured yet.

    Raises:
        ModelUnusable: it cannot be read; all that is missing, and how to tell it.

    """
    for rows, freed in () if declared.shapes else fixed_rows(graph):
        with suppress(ModelUnusable):
            yield from (replace(one, rows=rows) for one in _readings(freed, declared, pairs))
    yield from _readings(graph, declared, pairs)


def _readings(graph: Graph, declared: Declared, pairs: Sequence[Pair]) -> Iterator[Signature]:
    faults = [*_unknown(graph, declared), *_types(graph, declared)]
    inputs = {name: _as_declared(one, declared) for name, one in graph.inputs.items()}
    known = [pair for pair in declared.state.items() if pair[0] in graph.inputs and pair[1] in graph.outputs]
    declared = replace(declared, state=dict(known))
    lengthy = {name for name, one in inputs.items() if name == declared.lengths or _is_lengths(one, declared)}
    others = {name: one for name, one in inputs.items() if name not in lengthy}
    found = paired({**graph.__dict__, "inputs": others}, declared, faults, pairs)
    states, lengths = _states(inputs, found, declared, faults), None
    constants: list[Constant] = []
    sequences: list[Tensor] = []
    taken = {pair.input for pair in found}
    for name, one in inputs.items():
        if name in taken:
            continue
        if name in lengthy:
            lengths = Port(name, one.kind, (), 0 if one.shape else None)
        elif name in declared.constants or (declared.inputs and name not in declared.inputs) or _is_fixed(one, inputs):
            constants.extend(_constant(one, declared, faults))
        else:
            sequences.append(one)
    if not sequences and not faults:
        faults.append('no input is a sequence: tell which by inputs = ["NAME"] in model.toml')
    rows = any(state.port.batch is not None for state in states) or lengths is not None or not states
    ports = [*(one.port for one in states), *(one.port for one in constants)]
    if (numbers := sum(port.width for port in ports)) > MOST_STATE:
        faults.append(f"states and constants of one row have {numbers} numbers, more than {MOST_STATE}")
    layouts = _layouts(sequences, _About(declared, rows, bool(states), bool(pairs)), faults)
    after = {pair.output for pair in found}
    answers = declared.outputs or [name for name in graph.outputs if name not in after]
    if not answers:
        faults.append('every output is a state: tell which one is the answer by outputs = ["NAME"] in model.toml')
    if faults:
        raise ModelUnusable("; ".join(dict.fromkeys(faults)))
    outputs = tuple(Port(name, graph.outputs[name].kind, ()) for name in answers)
    freed = any(
        isinstance(size, int) and isinstance(told, str)
        for name, one in graph.inputs.items()
        for size, told in zip(one.shape or (), inputs[name].shape or (), strict=False)
    )
    for layout, loosened in layouts:
        yield Signature(layout, outputs, tuple(states), tuple(constants), lengths, freed or loosened)


def _unknown(graph: Graph, declared: Declared) -> Iterator[str]:
    for name in declared.names_of_inputs:
        if name not in graph.inputs:
            yield f"model.toml names an input {name!r}; the file has {', '.join(graph.inputs)}"
    for name in declared.names_of_outputs:
        if name not in graph.outputs:
            yield f"model.toml names an output {name!r}; the file has {', '.join(graph.outputs)}"


def _types(graph: Graph, declared: Declared) -> Iterator[str]:
    wanted = declared.names_of_outputs if declared.outputs else graph.outputs.keys()
    for side, hint in ((graph.inputs, ""), (graph.outputs, '; tell the others by outputs = ["NAME"] in model.toml')):
        for one in side.values():
            if one.kind not in KINDS and (one.name in wanted or one.name in graph.inputs):
                yield f"{one.name!r} is {one.kind}, which is not served: numbers and truth values are{hint}"


def _as_declared(one: Tensor, declared: Declared) -> Tensor:
    shape = declared.shapes.get(one.name)
    return one if shape is None else replace(one, shape=shape)


def _is_lengths(one: Tensor, declared: Declared) -> bool:
    whole = one.kind.startswith(("int", "uint"))
    if declared.lengths is not None or one.name in {*declared.state, *declared.inputs, *declared.constants}:
        return False
    return whole and one.shape is not None and len(one.shape) <= 1 and bool(_LENGTHS.search(one.name))


def _is_fixed(one: Tensor, inputs: Mapping[str, Tensor]) -> bool:
    """Whether an input has no free size where another one has: it is the same at every step."""
    if one.shape is None or any(not isinstance(size, int) for size in one.shape):
        return False
    return len(one.shape) == 0 or any(
        not isinstance(size, int) for other in inputs.values() for size in other.shape or ()
    )


def _constant(one: Tensor, declared: Declared, faults: list[str]) -> Iterator[Constant]:
    if one.name not in declared.constants:
        others = f', or lengths = "{one.name}"' if "int" in one.kind else ""
        if not one.shape:
            others += f', or its next one by {one.name} = "OUTPUT" under [state]'
            others += f', or its sizes by {one.name} = ["batch", "time", 3], say, under [shapes]'
        faults.append(
            f"{one.name!r} is no sequence and no state: tell its value by {one.name} = … under [constants]{others}"
        )
        return
    shape = list(one.shape or ())
    free = [axis for axis, size in enumerate(shape) if not isinstance(size, int)]
    if len(free) > 1:
        faults.append(f"the constant {one.name!r} has {len(free)} free sizes: tell them under [shapes]")
        return
    port = Port(one.name, one.kind, tuple(size for size in shape if isinstance(size, int)), free[0] if free else None)
    faults.extend(declared.unfit(one.name, declared.constants[one.name], port.shape))
    yield Constant(port, declared.constants[one.name])


def _states(
    inputs: Mapping[str, Tensor], pairs: Sequence[Pair], declared: Declared, faults: list[str]
) -> list[Carried]:
    states = []
    for pair in pairs:
        shape = inputs[pair.input].shape
        free = [axis for axis, size in enumerate(shape or ()) if not isinstance(size, int)]
        if shape is None or len(free) > 1:
            faults.append(
                f"the state {pair.input!r} is {_sizes(shape)}: at most its batch may be free; if the others are fixed,"
                f' tell them by {pair.input} = [2, "batch", 128], say, under [shapes]'
            )
            continue
        sizes = tuple(size for size in shape if isinstance(size, int))
        if not all(size >= 1 for size in sizes):
            faults.append(f"the state {pair.input!r} is {_sizes(shape)}: sizes are at least 1")
            continue
        initial = declared.initial.get(pair.input, pair.initial)
        faults.extend(declared.unfit(pair.input, initial, sizes))
        port = Port(pair.input, inputs[pair.input].kind, sizes, free[0] if free else None)
        states.append(Carried(port, pair.output, pair.told, initial))
    return states


def _layouts(sequences: Sequence[Tensor], about: _About, faults: list[str]) -> list[tuple[tuple[Port, ...], bool]]:
    """The ways in which batch and time may lie in the sequences: ports, and whether a fixed size is to be freed."""
    ways: list[tuple[tuple[Port, ...], bool]] = []
    timed = any(sum(not isinstance(size, int) for size in one.shape or ()) == 2 for one in sequences)
    for turned, loosen in product((False, True), (False,) if timed else (True, False)):
        try:
            read = [_sequence(one, about, turned=turned, loosen=loosen) for one in sequences]
        except ModelUnusable as error:
            faults.append(str(error))
            return []
        way = tuple(port for port, _ in read), any(loosened for _, loosened in read)
        if way not in ways:
            ways.append(way)
    whole = {one.name: f', or lengths = "{one.name}"' for one in sequences if "int" in one.kind}
    timeless = [port.name for port in ways[0][0] if port.time is None]
    if len(timeless) < len(ways[0][0]):
        faults.extend(f"{name!r} is {_NO_TIME.format(name=name)}{whole.get(name, '')}" for name in timeless)
    width = sum(port.width for port in ways[0][0])
    if width > MOST_WIDTH:
        faults.append(f"a step has width {width}, more than {MOST_WIDTH}")
    return ways


def _sequence(one: Tensor, about: _About, *, turned: bool, loosen: bool) -> tuple[Port, bool]:
    """One way to read a sequence, and whether a size that the file fixes is taken as free time in it."""
    shape, told = one.shape, one.name in about.declared.shapes
    if shape is None or any(isinstance(size, int) and size < 1 for size in shape):
        raise ModelUnusable(f"{one.name!r} is {_sizes(shape)}: tell its sizes under [shapes] in model.toml")
    free = [axis for axis, size in enumerate(shape) if not isinstance(size, int)]
    if len(free) > 2:
        raise ModelUnusable(
            f"{one.name!r} is {_sizes(shape)}: only batch and time may be free; tell the others by"
            f' {one.name} = ["batch", "time", 3], say, under [shapes] in model.toml'
        )
    if not free and not about.stated and not told:
        raise ModelUnusable(
            f"{one.name!r} is {_sizes(shape)}: batch and time are fixed; export it with dynamic_axes"
            f' {{{one.name!r}: {{0: "batch", 1: "time"}}}} (dynamic_shapes with dynamo=True);'
            f" or, if all of it is one step, write {one.name} = {_sizes(shape)} under [shapes] in model.toml"
        )
    names = [str(shape[axis]) for axis in free]
    batch: int | None = None
    time: int | None = None
    if len(free) == 2:
        time_first = TIME.search(names[0]) and not TIME.search(names[1]) and not BATCH.search(names[0])
        batch, time = free[::-1] if bool(time_first or BATCH.search(names[1])) != turned else free
    elif len(free) == 1 and not BATCH.search(names[0]) and (TIME.search(names[0]) or not about.rows):
        time = free[0]
    elif len(free) == 1:
        batch = free[0]
    vector = len(shape) < 3 and not about.rewritten  # a whole step
    loosened = loosen and about.stated and not told and batch in (0, 1) and time is None and not vector
    if loosened and batch is not None:
        time = 1 - batch
    sizes = tuple(size for axis, size in enumerate(shape) if axis not in (batch, time) and isinstance(size, int))
    return Port(one.name, one.kind, sizes, batch, time), loosened


def _sizes(shape: Sequence[Dim] | None) -> str:
    return (
        "of unknown rank" if shape is None else f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
    )
