"""Which output is the next state of which input. Pure.

Told by model.toml; else by metadata; else by names (`h` → `hn`, `h0` → `hn`, `state_in_1` → `state_out_1`, `x` →
`x_out`); else by a shape and type that no other input and output have. What can be read in two ways is a fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from service.models.declared import Declared
    from service.models.signature import Tensor

_WORDS = (  # what marks an input, and an output
    re.compile(
        r"^(state_in|in_state|in|prev(ious)?|past|init(ial)?|old)[._]|[._](in(put)?|prev(ious)?|old|init(ial)?)$|(?<=[._])in[._]",
        re.I,
    ),
    re.compile(
        r"^(state_out|out_state|out|next|new|final|present|updated|cur(rent)?)[._]|[._](out(put)?|next|new|final)$|(?<=[._])out[._]",
        re.I,
    ),
)
_MARKS = re.compile(r"[._]?0$|[._]?prev$|(?<=^[hc])x$"), re.compile(r"[._]?[nN1]$|[._]?next$|(?<=^[hc])y$")


_CALLED = re.compile(r"state|prev|past|cache|hidden|memory", re.I)  # whatever its sizes
_Affixes = tuple[re.Pattern[str], re.Pattern[str]]


class Pair(NamedTuple):
    """A state: `output` is the next `input`; `told` is how that is known."""

    input: str
    output: str
    told: str
    initial: Any = 0.0


def paired(graph: Mapping[str, Any], declared: Declared, faults: list[str], known: Sequence[Pair] = ()) -> list[Pair]:
    """All pairs of a graph, its `inputs`, `outputs` and `metadata`; some of them may be known."""
    pairs = [*known] + [Pair(*one, "declared") for one in declared.state.items()]
    for one in (*_by_contract(graph), *_by_metadata(graph)):
        if one.input not in {pair.input for pair in pairs}:
            pairs.append(one)
    inputs: dict[str, Tensor] = {
        name: one
        for name, one in graph["inputs"].items()
        if name not in {pair.input for pair in pairs}
        and name not in {*declared.inputs, *declared.constants, declared.lengths}
        and _may_be_state(one)
    }
    outputs: dict[str, Tensor] = {
        name: one
        for name, one in graph["outputs"].items()
        if name not in {pair.output for pair in pairs} and name not in declared.outputs
    }
    named: list[Pair] = []
    for affixes in ((_WORDS,), (_WORDS, _MARKS)):  # with words alone first: the 1 of `next_state_1` is no mark
        for pair in _by_name(inputs, outputs, affixes, faults):
            named.append(pair)
            del inputs[pair.input], outputs[pair.output]
    known_so = {*(pair.input for pair in pairs + named), *declared.constants}
    alone = len(graph["inputs"].keys() - known_so) == 1  # what is left is the sequence
    shaped = [] if declared.state or alone else list(_by_shape(inputs, outputs, faults))
    return pairs + named + shaped


def _by_contract(graph: Mapping[str, Any]) -> Iterator[Pair]:
    for name in graph["inputs"]:
        if name.startswith("state.") and f"next_{name}" in graph["outputs"]:
            yield Pair(name, f"next_{name}", "contract")


def _by_metadata(graph: Mapping[str, Any]) -> Iterator[Pair]:
    """darts tells the names of states in `darts.onnx_spec`, inputs and outputs in the same order."""
    try:
        told = json.loads(graph["metadata"].get("darts.onnx_spec", "{}"))
        pairs = list(zip(told.get("state_input_names", []), told.get("state_output_names", []), strict=True))
        if all(before in graph["inputs"] and after in graph["outputs"] for before, after in pairs):
            yield from (Pair(before, after, "metadata") for before, after in pairs)
    except (ValueError, AttributeError, TypeError):
        return


def _may_be_state(one: Tensor) -> bool:
    """Whether it is called so; or at most the batch is free."""
    if one.shape is None or _CALLED.search(one.name):
        return True
    return sum(not isinstance(size, int) for size in one.shape) <= 1


def _by_name(
    inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], affixes: tuple[_Affixes, ...], faults: list[str]
) -> list[Pair]:
    """Pairs whose names, without such prefixes and suffixes, are those of no other input or output."""
    before = {name: _stem(name, [one[0] for one in affixes]) for name in inputs}
    after = {name: _stem(name, [one[1] for one in affixes]) for name in outputs}
    pairs = []
    for name, stem in before.items():
        theirs = [other for other in outputs if after[other] == stem != other and _alike(inputs[name], outputs[other])]
        theirs = theirs or [other for other in outputs if after[other] == stem and name != other]
        rivals = [other for other in inputs if before[other] == stem]
        if len(theirs) == len(rivals) == 1 and _alike(inputs[name], outputs[theirs[0]]):
            pairs.append(Pair(name, theirs[0], "name"))
    return pairs


def _by_shape(inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], faults: list[str]) -> Iterator[Pair]:
    """Pairs that no other input or output could be part of; one input is left, as the sequence."""
    for before, one in inputs.items():
        after = [name for name, other in outputs.items() if _alike(one, other, known=True)]
        rivals = [name for name, other in inputs.items() if _alike(other, one, known=True)]
        if not after or len(outputs) == 1:
            continue  # what is left is its answer
        if len(after) == len(rivals) == 1:
            yield Pair(before, after[0], "shape")
        else:
            faults.append(
                f"{' and '.join(map(repr, rivals))} may become {' or '.join(map(repr, after))}: tell which by"
                f' {before} = "OUTPUT" under [state] in model.toml'
            )


def _alike(one: Tensor, other: Tensor, *, known: bool = False) -> bool:
    """Whether type, rank and all sizes that are told agree; `known`: a size is needed."""
    if one.kind != other.kind:
        return False
    if one.shape is None or other.shape is None:
        return not known
    sizes = list(zip(one.shape, other.shape, strict=False))
    both = [(a, b) for a, b in sizes if isinstance(a, int) and isinstance(b, int)]
    return len(one.shape) == len(other.shape) and all(a == b for a, b in both) and (bool(both) or not known)


def _stem(name: str, affixes: list[re.Pattern[str]]) -> str:
    """A name without prefixes and suffixes."""
    for affix in affixes:
        name = affix.sub("", name) or name
    return name.lower()
