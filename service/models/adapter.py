"""Run a graph of any signature as a Model: turn axes, cast, group rows of equal length, step what takes one step.

Every state is carried in float32: as it is, or in three numbers where its type has more digits. A vector or number that
is fixed for a session is carried likewise, and never changes; so records, forks and exports hold it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from service.errors import InvalidInput
from service.models.description import Description, described
from service.models.model import Array, Given, Lengths, OnnxModel, State, finite
from service.models.providers import CPU
from service.models.turning import AnyArray, Turn, carried, filled, held, uncarried

if TYPE_CHECKING:
    from service.models.providers import Provider
    from service.models.signature import Port, Signature

BEGUN = "begun"  # a state that is 0 in a new row: its other states are the initial ones


class AdaptedModel(OnnxModel):
    """A graph that does not follow the model contract, behind the Model protocol."""

    signature: Signature

    def __init__(
        self, source: bytes | Path, digest: str, signature: Signature, providers: Sequence[Provider] = CPU
    ) -> None:
        self.signature = self.tensors = signature
        self._open(source, providers)
        self.features = sum(port.width for port in signature.inputs)
        self.outputs = sum(port.width for port in signature.outputs)
        self._ports = {one.port.name: one.port for one in signature.states}
        self._ports |= {one.port.name: one.port for one in signature.constants}
        initial = {one.port.name: one.initial for one in signature.states}
        initial |= {one.port.name: one.value for one in signature.constants}
        self._initial = {name: filled(initial[name], port)[None] for name, port in self._ports.items()}
        shapes = {name: carried(array)[0].shape for name, array in self._initial.items()}
        self._shared = [one.port.name for one in signature.constants if one.port.batch is None]
        self._begins = any(array.any() for array in self._initial.values())
        self.state_shapes = shapes | ({BEGUN: (1,)} if self._begins else {})
        self._inputs = list(_spans(signature.inputs))
        self._outputs = list(_spans(signature.outputs))
        self._turns = {name: Turn(port) for name, port in self._ports.items()}
        self._after = [(one.output, one.port.name, Turn(one.port)) for one in signature.states]
        self._names = list(
            dict.fromkeys([*(port.name for port in signature.outputs), *(one[0] for one in self._after)])
        )
        self._stepped = not signature.timed or (bool(signature.states) and (signature.last or signature.alone))
        self._least, self._most = signature.rows or 1 + signature.twins, signature.rows or sys.maxsize
        if signature.alone or not signature.batched:
            self._most = 1
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.description: Description = described(metadata, _columns(signature), digest, last=signature.last)

    def __repr__(self) -> str:
        return f"<AdaptedModel {self.features} → {self.outputs}, state {dict(self.state_shapes)}>"

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        """See Model.run. Raises ValueError if an input cannot hold a value."""
        if self._together(lengths):
            return self._advance(inputs, state)
        outputs = np.zeros((*inputs.shape[:2], self.outputs), np.float32)
        after = {name: np.empty_like(array) for name, array in state.items()}
        for rows in self._groups(lengths, state):
            length = int(lengths[rows][0])
            answers, mine = self._advance(inputs[rows, :length], {name: array[rows] for name, array in state.items()})
            outputs[rows, :length] = answers
            for name, array in mine.items():
                after[name][rows] = array
        return outputs, after

    def whole(self, inputs: Array, state: State) -> Array:
        """One call of the graph for sequences [B, T, F] of one length → its answers [B, T, K], also if `run` steps."""
        return self._call(inputs, self._given(state, len(inputs)))[0]

    def draw(self, values: Array) -> Array:
        """The nearest values that the inputs can hold, for tests."""
        drawn = values.copy()
        for turn, span in self._inputs:
            if turn.port.kind == "bool":
                drawn[..., span] = values[..., span] > 1
            elif np.dtype(turn.port.kind).kind in "iu":
                drawn[..., span] = values[..., span].round() % 2  # an embedding may have two rows
        return drawn

    def opening(self, constants: Given, initial: Given) -> State | None:
        """See OnnxModel.opening."""
        if not constants and not initial:
            return None
        fixed = {one.port.name for one in self.signature.constants}
        given = {}
        for place, values, known in (
            ("constants", constants, fixed),
            ("initial", initial, self._ports.keys() - fixed),
        ):
            for name, value in values.items():
                if name not in known:
                    raise InvalidInput(f"{place}.{name}: the model has {', '.join(sorted(known)) or 'none'}")
                array = finite(value, f"{place}.{name}")
                try:
                    given[name] = filled(array, self._ports[name])[None]
                except ValueError as error:
                    raise InvalidInput(f"{place}.{name}: {error}") from None
        return self.begun(given, 1)

    def begun(self, constants: Mapping[str, AnyArray], rows: int) -> State:
        """See OnnxModel.begun; first states likewise."""
        given = self._initial | {name: _held(array, self._ports[name]) for name, array in constants.items()}
        begun = {BEGUN: np.ones((rows, 1), np.float32)} if self._begins else {}
        return {
            name: carried(np.broadcast_to(array, (rows, *array.shape[1:]))) for name, array in given.items()
        } | begun

    def keeps(self, constants: Mapping[str, AnyArray], state: State) -> None:
        """See OnnxModel.keeps."""
        kept = self._given(state, 1)
        for name, array in constants.items():
            if not np.array_equal(kept[name], _held(array, self._ports[name])):
                raise InvalidInput(f"{name}: another value than the one with which the sequence was started")

    def constants(self, state: State) -> dict[Port, AnyArray]:
        """See OnnxModel.constants."""
        kept = {} if self._begins and not state[BEGUN].item() else self._given(state, 1)
        return {one.port: kept[one.port.name] for one in self.signature.constants if kept}

    def _together(self, lengths: Lengths) -> bool:
        """Whether all rows run in one call."""
        if len(lengths) == 1:
            return True
        return len(lengths) <= self._most and not self._shared and bool((lengths == lengths[0]).all())

    def _groups(self, lengths: Lengths, state: State) -> Iterator[Any]:
        """Rows that may run in one call: of equal length, and of equal constants where the graph takes one for all."""
        names = [*self._shared, BEGUN] if self._begins and self._shared else self._shared
        columns = [state[name].reshape(len(lengths), -1) for name in names]
        _, group = np.unique(np.column_stack([lengths, *columns]), axis=0, return_inverse=True)
        for index in range(int(group.max()) + 1):
            rows = np.flatnonzero(group.ravel() == index)
            yield from (rows[first : first + self._most] for first in range(0, len(rows), self._most))

    def _advance(self, inputs: Array, state: State) -> tuple[Array, State]:
        """Advance rows of one length: in one call, or step by step."""
        given = self._given(state, len(inputs))
        if self._stepped:
            answers = []
            for step in range(inputs.shape[1]):
                answer, given = self._call(inputs[:, step : step + 1], given)
                answers.append(answer)
            outputs = answers[0] if len(answers) == 1 else np.concatenate(answers, axis=1)
        else:
            outputs, given = self._call(inputs, given)
        after = {name: carried(array) for name, array in given.items()}
        if self._begins:
            after[BEGUN] = np.ones_like(state[BEGUN])
        return outputs, after

    def _given(self, state: State, rows: int) -> dict[str, AnyArray]:
        """States and constants of rows [B, …] in their own types, the initial ones where a row has not begun."""
        given: dict[str, AnyArray] = {}
        for name, port in self._ports.items():
            array = uncarried(state[name], port)
            if self._begins:
                begun = state[BEGUN].reshape(rows, *[1] * len(port.shape)) > 0
                array = np.where(begun, array, self._initial[name])
            given[name] = array
        return given

    def _call(self, inputs: Array, given: Mapping[str, AnyArray]) -> tuple[Array, dict[str, AnyArray]]:
        """Call the graph with rows [B, T, F] of one length → outputs [B, T, K], states and constants after it."""
        rows, steps = inputs.shape[:2]
        if rows < self._least:
            copies = np.arange(self._least) % rows
            outputs, after = self._call(inputs[copies], {name: array[copies] for name, array in given.items()})
            return outputs[:rows], {name: array[:rows] for name, array in after.items()}
        feeds = {turn.port.name: turn.inward(inputs[..., span], rows, steps) for turn, span in self._inputs}
        for name, array in given.items():
            feeds[name] = self._turns[name].inward(array, rows, 1)
        if (lengths := self.signature.lengths) is not None:
            feeds[lengths.name] = np.full(() if lengths.batch is None else rows, steps, lengths.kind)
        answers = dict(zip(self._names, self._ask(self._names, feeds), strict=True))
        if len(self._outputs) == 1:
            turn, _ = self._outputs[0]
            outputs = turn.outward(answers[turn.port.name], rows, steps).astype(np.float32, copy=False)
        else:
            outputs = np.empty((rows, steps, self.outputs), np.float32)
            for turn, span in self._outputs:
                outputs[..., span] = turn.outward(answers[turn.port.name], rows, steps)
        after = dict(given)
        for output, name, turn in self._after:
            after[name] = turn.outward(answers[output], rows, 1).reshape(given[name].shape)
        return outputs, after


def _held(array: AnyArray, port: Port) -> AnyArray:
    try:
        return held(array, port)
    except ValueError as error:
        raise InvalidInput(str(error)) from None


def _spans(ports: Sequence[Port]) -> Iterator[tuple[Turn, slice]]:
    """Each port, and its place in a row of numbers."""
    first = 0
    for port in ports:
        yield Turn(port), slice(first, first + port.width)
        first += port.width


def _columns(signature: Signature) -> tuple[list[str], list[str]]:
    """Names of features and outputs: x0, x1, … of one input, INPUT.0, … of several."""

    def names(ports: tuple[Port, ...], alone: str) -> list[str]:
        if len(ports) == 1:
            return [f"{alone}{index}" for index in range(ports[0].width)]
        return [f"{port.name}.{index}" for port in ports for index in range(port.width)]

    return names(signature.inputs, "x"), names(signature.outputs, "y")
