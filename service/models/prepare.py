"""Find out how a model file is to be run: try its readings, the likeliest first, until one is proved by running it.

The child of the examiner does so; the service loads what comes of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import ModelUnusable
from service.models import probe, rewrite
from service.models.adapter import AdaptedModel
from service.models.declared import Declared
from service.models.fitness import Fitness, compared, examine, prove, threaded
from service.models.model import OnnxModel, graph_of, opened
from service.models.providers import CPU, on_cpu
from service.models.readings import readings

if TYPE_CHECKING:
    from service.models.providers import Provider, Threads
    from service.models.signature import Graph, Signature
    from service.models.speed import Policy

_LONG = 0.002  # seconds of a step of a full batch: below, threads cost more than they gain
_WHOLE = "a step by itself does not give what it gives in its sequence, and the file has no states to carry"


@dataclass(frozen=True)
class Prepared:
    """A file that can be served: its content as it is to be loaded, how it is fed, and what was found."""

    content: bytes
    signature: Signature | None  # None: it follows the model contract
    fitness: Fitness


@dataclass(frozen=True)
class _Reading:
    content: bytes
    signature: Signature | None
    reason: str | None = None  # why it is not made stateful


def load(
    source: bytes | Path, digest: str, signature: Signature | None, providers: Sequence[Provider] = CPU
) -> OnnxModel:
    """A model from content that was prepared."""
    if signature is None:
        return OnnxModel(source, digest, providers)
    return AdaptedModel(source, digest, signature, providers)


def prepared(content: bytes, digest: str, declared: Declared, policy: Callable[[OnnxModel], Policy]) -> Prepared:
    """Prepare a file.

    Raises:
        ModelUnusable: it cannot be served; why not, and what to do.

    """
    faults: list[str] = []
    content = rewrite.inlined(content)
    in_thread = rewrite.by_values(content)
    for found in _readings(content, declared, faults):
        try:
            model = load(found.content, digest, found.signature)
            fitness = examine(model, policy(model), model.draw, stated=_stated(found.signature))
            if isinstance(model, AdaptedModel):
                prove(model, fitness)
        except ModelUnusable as error:
            faults.append(f"{error}{_guessed(found)}")
        except Exception as error:  # whatever a file does to NumPy and ONNX Runtime
            faults.append(f"{type(error).__name__}: {error}{_guessed(found)}")
        else:
            reason = None if fitness.streamable else found.reason or _WHOLE
            return Prepared(found.content, found.signature, replace(fitness, reason=reason, in_thread=in_thread))
    raise ModelUnusable("; ".join(dict.fromkeys(faults)))


def elsewhere(
    found: Prepared, digest: str, policy: Callable[[OnnxModel], Policy], providers: Sequence[Provider]
) -> Fitness:
    """Examine a file that was prepared by other providers than the CPU's, and compare it with the CPU.

    Raises:
        ModelUnusable: a provider does not start, or it gives other numbers.

    """
    model = load(found.content, digest, found.signature, providers)
    if model.provider == "cpu":
        return found.fitness
    fitness = examine(model, policy(model), model.draw, clock=time.perf_counter, stated=_stated(found.signature))
    if isinstance(model, AdaptedModel):
        prove(model, fitness)
    fitness = compared(fitness, model, load(found.content, digest, found.signature), model.draw)
    return replace(fitness, reason=found.fitness.reason, in_thread=found.fitness.in_thread)


def with_threads(found: Prepared, digest: str, threads: Threads) -> Fitness:
    """Examine a file that was prepared with more threads in each run, where that may be worth it."""
    fitness, policy = found.fitness, found.fitness.policy
    if threads.most == 1 or not (threads.asked or fitness.seconds(policy.batch, 1) > _LONG):
        return fitness
    one, many = (load(found.content, digest, found.signature, on_cpu(count)) for count in (1, threads.most))
    return threaded(fitness, one, many, threads, one.draw)


def _readings(content: bytes, declared: Declared, faults: list[str]) -> Iterator[_Reading]:
    """Contents and signatures to try, the likeliest first; what rules others out is added to the faults."""
    graph = graph_of(opened(content))
    nodes = rewrite.recurrent(content)
    stated = any(name.startswith("state.") for name in graph.inputs)
    if replace(declared, providers=()) == Declared() and _is_contract(graph) and (stated or not nodes):
        yield _Reading(content, None)
        return
    tried: list[str] = []
    given = list(_measured(content, readings(graph, declared), tried))
    reason = None
    if given and nodes and not any(one.signature and one.signature.states for one in given):
        try:
            yield from _exposed(content, declared, given, faults)
        except ModelUnusable as error:
            faults.append(str(error))
        reason = faults[0] if faults else None
        faults.clear()
    faults.extend(() if given else tried[:1])  # of the likeliest
    for one in given:
        yield replace(one, reason=reason)
    states = given[0].signature.states if given and given[0].signature else ()
    if states and (backward := rewrite.backward(content)) is not None:
        fixed = {one.port.name: one.initial for one in states}
        whole = replace(declared, state={}, initial={}, constants={**declared.constants, **fixed})
        for one in _measured(content, readings(graph, whole), faults):
            yield replace(one, reason=backward)


def _guessed(found: _Reading) -> str:
    """What to do if the states were guessed wrongly, or are not all there."""
    states = found.signature.states if found.signature else ()
    guessed = [one for one in states if one.told in ("name", "shape", "declared")]
    pairs = ", ".join(f"{one.port.name} → {one.output}" for one in guessed)
    told = f"; if its states are other than {pairs}, tell them under [state] in model.toml" if pairs else ""
    bare = " and ".join(rewrite.stateless(found.content)) if states or found.signature is None else ""
    return f"; {bare} takes no state, or not all: export each as input and output, or none of them" if bare else told


def _stated(signature: Signature | None) -> bool:
    """Whether a model has states that its steps move, if it has any."""
    return signature is None or bool(signature.states)


def _exposed(content: bytes, declared: Declared, given: list[_Reading], faults: list[str]) -> Iterator[_Reading]:
    """Readings of a graph whose recurrent nodes are given their states: with time, for each call begins anew."""
    change = rewrite.exposed(content)
    tensors = rewrite.told_outputs(content, list(change.begins.values()))
    signature = given[0].signature
    assert signature is not None, "it does not follow the contract"
    begins = probe.first_states(tensors, signature, change.begins)
    pairs = [pair._replace(initial=begins.get(pair.input, 0.0)) for pair in change.pairs]
    found = _measured(change.content, readings(graph_of(opened(change.content)), declared, pairs), faults)
    yield from (one for one in found if one.signature and one.signature.timed)


def _measured(content: bytes, signatures: Iterator[Signature], faults: list[str]) -> Iterator[_Reading]:
    """The readings that the graph runs in."""
    try:
        for signature in signatures:
            try:
                changed = rewrite.freed(content, signature) if signature.freed else content
                alone = rewrite.quantised_by_run(content)
                twins = signature.batched and not alone and rewrite.lone_rows_differ(content)
                found = replace(signature, alone=alone, twins=twins)
                yield _Reading(changed, probe.with_outputs(changed, found))
            except ModelUnusable as error:
                faults.append(str(error))
    except ModelUnusable as error:
        faults.append(str(error))


def _is_contract(graph: Graph) -> bool:
    """Whether a graph has the names and axes of the model contract, `lengths` included."""
    inputs, outputs = graph.inputs, graph.outputs
    if not {"input", "lengths"} <= inputs.keys() or "output" not in outputs:
        return False
    for name, one in inputs.items():
        if name.startswith("state."):
            sizes = one.shape or ()
            if "next_" + name not in outputs or not sizes or isinstance(sizes[0], int):
                return False
        elif name not in ("input", "lengths"):
            return False
    return inputs["lengths"].kind == "int32" and all(
        one.kind == "float32" for name, one in inputs.items() if name != "lengths"
    )
