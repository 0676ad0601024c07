"""`carousel check`: say all about model files without a server: what they are, how they are served, and if not, why."""

import math
from collections.abc import Iterator
from pathlib import Path

from service.errors import ModelUnusable
from service.models.examiner import Examiner
from service.models.fitness import Fitness
from service.models.folder import LAYOUT, NAME, NO_NAME, NO_NUMBER, NUMBER
from service.models.model import OnnxModel
from service.models.signature import Signature

_FILE, _DEPTH = "model.onnx", 2  # models/NAME/VERSION/model.onnx
_SHOWN = 8  # names of columns


def check(path: Path) -> tuple[str, bool]:
    """Examine a file, or all under a folder → what was found, and whether all of it can be served."""
    examiner, told, good = Examiner(), [], True
    try:
        for one, fault in _found(path):
            lines, fine = ([fault], False) if fault else _examined(examiner, one)
            good &= fine
            told.append("\n".join([str(one), *(f"  {line}" for line in lines)]))
    finally:
        examiner.close()
    return "\n\n".join(told), good and bool(told)


def _found(path: Path, depth: int = 0) -> Iterator[tuple[Path, str]]:
    """Model files under a path; what is none, and why."""
    if not path.is_dir():
        yield path, ""
    elif (path / _FILE).exists():
        fault = NO_NUMBER if depth == _DEPTH else f"{LAYOUT}, VERSION a decimal number"
        yield path / _FILE, "" if depth == 0 or NUMBER.fullmatch(path.name) else f"not served: {fault}"
    elif depth == 1 and not NAME.fullmatch(path.name):
        yield path, f"not served: {NO_NAME}"
    else:
        inside = [one for one in sorted(path.iterdir()) if not one.name.startswith(".")]
        if not inside or depth == _DEPTH:
            yield path, f"not served: it has no {_FILE}"
        for one in inside if depth < _DEPTH else []:
            if one.is_dir():
                yield from _found(one, depth + 1)
            elif one.suffix == ".onnx":
                yield one, f"not served: {LAYOUT}"


def _examined(examiner: Examiner, path: Path) -> tuple[list[str], bool]:
    try:
        model, fitness = examiner.load(path)
    except (ModelUnusable, TimeoutError) as error:
        first, *more = str(error).split("; ")
        return [f"not served: {first}", *(f"            {one}" for one in more)], False
    return list(_described(model, fitness)), True


def _described(model: OnnxModel, fitness: Fitness) -> Iterator[str]:
    told, signature = model.description, model.signature
    if signature is None:
        states = ", ".join(f"{name} {list(shape)}" for name, shape in model.state_shapes.items()) or "none"
        yield f"contract  {model.features} features, {model.outputs} outputs; states {states}"
    else:
        yield from _ports(signature)
    for label, columns in (("features", told.features), ("outputs", told.outputs)):
        names = [column.name for column in columns]
        yield f"{label:9} {', '.join(names[:_SHOWN])}{f', … ({len(names)})' if len(names) > _SHOWN else ''}"
    if fitness.streamable:
        yield f"serves    sequences whole, and streams: {4 * _numbers(model)} bytes of state a session"
    else:
        yield f"serves    sequences whole; it does not stream: {fitness.reason}"
    if signature is not None and signature.last:
        yield "answers   once a sequence, after its last step; a session's step has the answer so far"
    exact = "bit for bit" if fitness.bit_equal else f"within {fitness.tolerance:.1g}"
    ways = "stepped, in chunks and in a batch" if fitness.streamable else "in a batch"
    yield f"equal     {ways}: {exact}"
    alone, batched = 1e6 * fitness.seconds_alone, 1e6 * fitness.seconds_per_step
    yield f"speed     {alone:.1f} µs a step of a sequence alone, {batched:.1f} in a batch"
    if fitness.in_thread:
        yield "runs      in a thread: values of its inputs may decide how long a run takes"


def _ports(signature: Signature) -> Iterator[str]:
    for port in signature.inputs:
        yield f"input     {port}"
    for port in signature.outputs:
        yield f"output    {port}"
    for state in signature.states:
        initial = "zero" if state.initial == 0 else "what was told"
        yield f"state     {state.port} → {state.output} ({state.told}), begins as {initial}"
    for constant in signature.constants:
        yield f"constant  {constant.port}, {str(constant.value)[:40]} unless a session says otherwise"
    if signature.lengths is not None:
        yield f"lengths   {signature.lengths.name}"
    if signature.left_out:
        yield f"left out  {', '.join(signature.left_out)}: without time, where other outputs have it"
    if signature.freed:
        yield "freed     sizes of batch or time that the file has as fixed"
    if signature.alone:
        yield "alone     it is quantised by what runs together, so rows and steps do not share a call"
    yield f"a call    takes {signature.shown()['calls']}"


def _numbers(model: OnnxModel) -> int:
    return sum(math.prod(shape) for shape in model.state_shapes.values())
