"""Tensors of the Open Inference Protocol, named, typed and laid out as a model's file has them, and rows of a call.

A file of our contract takes `input` FP32 [B, T, F] and `lengths` INT32 or INT64 [B]; its `output` is FP32 [B, T, K].
Where a tensor has time, it may be left out for one step each. States are hidden. Pure: it knows no sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from service.errors import InvalidInput, InvalidRequest, PayloadTooLarge
from service.models.turning import Turn
from service.sessions.table import every

if TYPE_CHECKING:
    from service.api.oip_codec import Header
    from service.models.model import Array, OnnxModel
    from service.models.signature import Port, Signature
    from service.models.turning import AnyArray


def datatype(kind: str) -> str:
    """The protocol's name of a type of NumPy: FP32, INT64, UINT8, BOOL."""
    return kind.replace("float", "fp").upper()


_NONE: Array = np.empty((0, 0), np.float32)
KINDS: dict[str, np.dtype[Any]] = {
    datatype(kind): np.dtype(kind).newbyteorder("<")
    for kind in ("float16", "float32", "float64", "bool", *(f"{u}int{8 << n}" for u in ("", "u") for n in range(4)))
}


class Laid:
    """An input or output: its datatype, and how rows and steps lie in it."""

    def __init__(self, port: Port, *others: str) -> None:
        self.name, self.batch, self.time = port.name, port.batch, port.time
        self.datatypes = (datatype(port.kind), *others)
        self.port, self.turn, self.kind = port, Turn(port), KINDS[self.datatypes[0]]
        self.plain = self.turn.straight and port.kind == "float32"
        self._sizes: list[Any] = list(port.shape)
        for axis in sorted(axis for axis in (port.batch, port.time) if axis is not None):
            self._sizes.insert(axis, -1)

    def shape(self, batch: Any = -1, time: Any = -1) -> tuple[Any, ...]:
        """The sizes of the tensor, with these of batch and time."""
        sizes = self._sizes.copy()
        if self.batch is not None:
            sizes[self.batch] = batch
        if self.time is not None:
            sizes[self.time] = time
        return tuple(sizes)

    def steps(self, values: AnyArray, shape: tuple[int, ...]) -> tuple[Array, bool]:
        """The numbers as [B, T, width] float32, and whether they have time where the file has it."""
        rank, whole = len(self._sizes), shape
        timed = self.time is None or len(shape) != rank - 1
        if not timed:
            whole = (*shape[: self.time], 1, *shape[self.time :])
        if len(whole) == rank and values.size:
            B = 1 if self.batch is None else whole[self.batch]
            T = 1 if self.time is None else whole[self.time]
            if whole == self.shape(B, T):
                return self.turn.outward(_numbers(self.name, values).reshape(whole), B, T), timed
        told = f"[{', '.join(map(str, self.shape('batch', 'time')))}]"
        if self.time is not None:
            told += f" or [{', '.join(str(size) for size in self.shape('batch', None) if size is not None)}]"
        raise InvalidInput(f"{self.name}: shape {[*shape]}; the model takes {told}")

    def constant(self, values: AnyArray, shape: tuple[int, ...], rows: int) -> AnyArray:
        """The value of a constant for each row or for all: [B or 1, …]."""
        count = 1 if self.batch is None else rows
        if shape != self.shape(rows):
            raise InvalidInput(f"{self.name}: shape {[*shape]}; the model takes {[*self.shape(rows)]}")
        if values.dtype.kind == "f" and not every(np.isfinite(values)):
            raise InvalidInput(f"{self.name}: a number is not finite")
        return self.turn.outward(values.reshape(shape), count, 1).reshape(count, *self.port.shape)


class Rows(NamedTuple):
    """B sequences that lie one behind the other, and what their answer is to hold."""

    inputs: Array  # [ΣT, F]
    lengths: list[int]  # [B]
    steps: int  # T of the tensors
    timed: bool  # they have time where the file has it
    constants: dict[str, AnyArray]  # [B or 1, …], of those that the request gives
    outputs: list[tuple[Laid, slice, bool]]  # with their places in a row of K numbers, and whether as raw bytes


class Plan(NamedTuple):
    """What a request of one raw tensor comes to whatever its numbers are; that of a header that comes again is kept."""

    size: int  # bytes
    rows: Rows  # without inputs

    def filled(self, name: str, raw: memoryview) -> Rows:
        """The rows of these bytes."""
        _, lengths, steps, timed, constants, outputs = self.rows
        values = np.frombuffer(raw, KINDS["FP32"])
        numbers = _numbers(name, values).reshape(len(lengths) * steps, -1)
        return Rows(numbers, lengths, steps, timed, constants, outputs)


class Tensors:
    """Those of one model."""

    def __init__(self, signature: Signature) -> None:
        self.inputs = [Laid(port) for port in signature.inputs]
        self.constants = [Laid(one.port) for one in signature.constants]
        self.lengths = None if signature.lengths is None else Laid(signature.lengths, "INT32", "INT64")
        self._taken = {one.name: one for one in (*self.inputs, *self.constants)}
        if self.lengths is not None:
            self._taken[self.lengths.name] = self.lengths
        self._states = {one.port.name for one in signature.states}
        first_input = self.inputs[0]
        self._plain = len(self.inputs) == 1 and first_input.plain
        self.outputs: dict[str, tuple[Laid, slice]] = {}
        first = 0
        for port in signature.outputs:
            self.outputs[port.name] = Laid(port), slice(first, first + port.width)
            first += port.width

    def rows(self, told: Header, raw: memoryview, most: int = 2**16) -> Rows:
        """The sequences of a request.

        Raises:
            PayloadTooLarge: they are more than `most`.
            InvalidRequest: the raw bytes do not add up, or a tensor that the model does not have.
            InvalidInput: a shape or a value that the model cannot take.

        """
        plan = told.plan.get(self)
        if plan is not None and plan.size == len(raw):
            return plan.filled(self.inputs[0].name, raw)
        tensors = self._given(told, raw)
        parts, sizes = [], set()
        for one in self.inputs:
            if one.name not in tensors:
                raise InvalidRequest(f"inputs: {one.name!r} is missing")
            part, timed = one.steps(*tensors[one.name])
            parts.append(part)
            sizes.add((*part.shape[:2], timed))
        if len(sizes) > 1:
            raise InvalidInput(f"inputs: their rows and steps differ: {sorted(sizes)}")
        ((B, T, timed),) = sizes
        if most < B:
            raise PayloadTooLarge(f"{B} sequences; a call has at most {most}")
        steps = (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)).reshape(B * T, -1)
        given = {one.name: one.constant(*tensors[one.name], B) for one in self.constants if one.name in tensors}
        outputs = self._asked(told)
        if self.lengths is None or self.lengths.name not in tensors:
            rows = Rows(steps, [T] * B, T, timed, given, outputs)
            if raw and len(tensors) == 1 and self._plain:
                told.plan.clear()
                told.plan[self] = Plan(len(raw), rows._replace(inputs=_NONE))
            return rows
        lengths = tensors[self.lengths.name][0]
        if self.lengths.batch is None and lengths.size == 1:
            lengths = lengths.repeat(B)  # the file takes one for all rows
        if lengths.size != B or lengths.min() < 1 or lengths.max() > T:
            raise InvalidInput(f"{self.lengths.name}: not {B} numbers from 1 to {T}")
        inside = np.arange(T) < lengths.reshape(B, 1)  # [B, T]
        return Rows(steps[inside.ravel()], [int(length) for length in lengths.flat], T, timed, given, outputs)

    def _given(self, told: Header, raw: memoryview) -> dict[str, tuple[AnyArray, tuple[int, ...]]]:
        """The inputs of a request by name: flat arrays and shapes."""
        tensors: dict[str, tuple[AnyArray, tuple[int, ...]]] = {}
        at = 0
        for place, one in enumerate(told.inputs):
            name, kind, values = one["name"], one["datatype"], one.get("data")
            if name not in self._taken:
                hidden = name in self._states or name.startswith("state.")
                why = "; states are kept by the server: name a sequence_id" if hidden else ""
                names = ", ".join(map(repr, self._taken))
                raise InvalidRequest(f"inputs[{place}]: no input {name[:100]!r}; the model takes {names}{why}")
            if kind not in (taken := self._taken[name].datatypes):
                raise InvalidRequest(
                    f"inputs[{place}]: datatype {kind}; {name!r} is {' or '.join(dict.fromkeys(taken))}"
                )
            if values is None:
                end = at + one["parameters"]["binary_data_size"]
                if end > len(raw):
                    break
                values, at = np.frombuffer(raw[at:end], KINDS[kind]), end
            tensors[name] = values, tuple(one["shape"])
        if at != len(raw) or len(tensors) < len(told.inputs):
            raise InvalidRequest(f"{len(raw)} raw bytes stand behind the JSON; the inputs name another size")
        return tensors

    def _asked(self, told: Header) -> list[tuple[Laid, slice, bool]]:
        """The outputs that a request asks for; without a word, all."""
        for name in told.outputs:
            if name not in self.outputs:
                names = ", ".join(map(repr, self.outputs))
                raise InvalidRequest(f"outputs: no output {name[:100]!r}; the model has {names}")
        return [(*self.outputs[name], told.outputs.get(name, told.binary)) for name in told.outputs or self.outputs]


_known: WeakKeyDictionary[OnnxModel, Tensors] = WeakKeyDictionary()


def of(served: OnnxModel) -> Tensors:
    """The tensors of a model."""
    found = _known.get(served)
    if found is None:
        found = _known[served] = Tensors(served.tensors)
    return found


def listed(served: OnnxModel) -> tuple[list[Laid], list[Laid]]:
    """Inputs and outputs of a model that are told. `lengths` of our contract are not: tools send all that is told."""
    tensors = of(served)
    lengths = [] if tensors.lengths is None or served.signature is None else [tensors.lengths]
    return [*tensors.inputs, *tensors.constants, *lengths], [one for one, _ in tensors.outputs.values()]


def answers(given: Rows, outputs: Array) -> list[AnyArray]:
    """The tensors that are asked for, of the outputs [ΣT, K] of all rows: zero behind a row's length."""
    B, T, K = len(given.lengths), given.steps, outputs.shape[1]
    whole = outputs
    if len(outputs) < B * T:
        whole = np.zeros((B * T, K), np.float32)
        whole[(np.arange(T) < np.array(given.lengths)[:, None]).ravel()] = outputs
    found = []
    for one, span, _ in given.outputs:
        if one.plain and one.port.width == K and (one.time is not None or T == 1):
            sizes = one.shape(B, T) if given.timed or one.time is None else one.shape(B, T)[: one.time] + one.port.shape
            found.append(np.ascontiguousarray(whole.reshape(sizes), one.kind))
            continue
        if one.time is None and T > 1:  # one answer a sequence: the last
            array, steps = outputs[np.cumsum(given.lengths) - 1, None, span], 1
        else:
            array, steps = whole.reshape(B, T, K)[..., span], T
        array = one.turn.inward(array, B, steps)
        if one.time is not None and not given.timed:
            array = array.squeeze(one.time)
        found.append(np.ascontiguousarray(array, one.kind))
    return found


def _numbers(name: str, values: AnyArray) -> Array:
    """The same numbers in float32: whole ones exactly, others to its 24 bits."""
    if values.dtype == np.float32:  # as most are: `errstate` takes longer than the check
        numbers: Array = values if values.flags.aligned else values.copy()
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = values.astype(np.float32)
            whole = values.dtype.kind in "iu" and values.dtype.itemsize > 2
            if whole and not every(numbers.astype(np.float64).astype(values.dtype) == values):
                raise InvalidInput(f"{name}: a whole number beyond ±{2**24} that float32 does not hold")
    if not every(np.isfinite(numbers)):
        at = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise InvalidInput(f"{name}: the number at {at} is not a finite float32")
    return numbers
