"""Sessions of one file brought up to the end of the journal: their calls are run again, or kept until it is there.

All steps of each session are run as one sequence, many sessions at once. The bits are those of the first time, since a
row does not depend on its company, nor a sequence on how it was cut.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from service.sessions.digests import Digester
from service.store.embedded import entries
from service.store.kind import flat, shaped

if TYPE_CHECKING:
    from service.models.fitness import Fitness
    from service.models.model import Array, Index, Model
    from service.sessions.digests import Digests
    from service.store.embedded.entries import Written
    from service.store.embedded.record import Record
    from service.store.embedded.recovery import Recovery

_NONE: Index = np.empty(0, np.int64)


class Call(NamedTuple):
    """Steps in the journal, and where and when they were written."""

    position: int
    seconds: float
    steps: Written


class Answers(NamedTuple):
    """Answers of different sessions, to be kept."""

    places: Index  # [n] of the sessions
    starts: Index  # [n]
    digests: Digests  # [n, 2]
    outputs: list[Array]  # [n] of [T, K]


class Calls:
    """The calls behind records of N sessions: M of them, each session's one behind the other in their order."""

    def __init__(self, calls: Sequence[Call], records: Sequence[Record]) -> None:
        calls = calls if records else []
        numbers = np.array([record.number for record in records], np.uint64)  # sorted
        positions = np.array([record.position for record in records], np.int64)
        all_numbers = np.concatenate([np.empty(0, np.uint64), *(one.steps.numbers for one in calls)])
        counts = [len(one.steps.numbers) for one in calls]
        places = np.searchsorted(numbers, all_numbers).clip(max=len(numbers) - 1)
        behind = np.repeat(np.array([one.position for one in calls], np.int64), counts) > positions[places]
        there = np.flatnonzero((numbers[places] == all_numbers) & behind)
        self._order = there[np.argsort(places[there], kind="stable")]  # [M] rows of all calls
        self.places = places[self._order]  # [M] of the sessions
        self.starts = np.concatenate([_NONE, *(one.steps.starts for one in calls)])[self._order]
        lengths = np.concatenate([_NONE, *(one.steps.lengths for one in calls)])
        self.lengths = lengths[self._order]
        seconds = np.repeat(np.array([one.seconds for one in calls]), counts)
        self._seconds = seconds[self._order]
        self.counts = np.bincount(self.places, minlength=len(records))  # [N] calls
        self.steps = np.bincount(self.places, self.lengths, minlength=len(records)).astype(np.int64)  # [N] time steps
        self._calls = calls
        begins = (np.cumsum(lengths) - lengths)[self._order]
        self._ends = np.cumsum(self.lengths)  # [M] behind a call's steps, in the order of the sessions
        self._at = np.repeat(begins - (self._ends - self.lengths), self.lengths) + np.arange(self.lengths.sum())
        self.stated = bool(calls) and all(one.steps.outputs.shape[1] for one in calls)  # no need to run them

    def gaps(self, steps: Index) -> Index:
        """Sessions [n] whose calls do not follow one another from the steps [N] on."""
        if not len(self.starts):
            return self.places
        expected = np.concatenate([[0], self.starts[:-1] + self.lengths[:-1]])
        first = np.concatenate([[True], self.places[1:] != self.places[:-1]])
        expected[first] = steps[self.places[first]]
        return np.unique(self.places[self.starts != expected])

    def last_seconds(self) -> dict[int, float]:
        """When the last call of a session was written, by its place."""
        return dict(zip(self.places.tolist(), self._seconds.tolist(), strict=True))

    def answered(self, state: Array) -> Array:
        """Move the states [N, W] as the journal has them → outputs [ΣT, K]."""
        ends = np.cumsum([len(one.steps.numbers) for one in self._calls])
        last = np.cumsum(self.counts)[self.counts > 0] - 1
        for row, place in zip(self._order[last].tolist(), self.places[last].tolist(), strict=True):
            index = int(np.searchsorted(ends, row, side="right"))
            one = self._calls[index].steps
            assert one.state is not None, "the last call of a commit has the state"
            state[place] = one.state[row - ends[index]]
        return self._steps("outputs")

    def run(self, model: Model, fitness: Fitness, state: Array) -> Array:
        """Run all steps, and move the states [N, W] → outputs [ΣT, K]."""
        inputs, policy = self._steps("inputs"), fitness.policy
        outputs = np.empty((len(inputs), model.outputs), np.float32)
        begins = np.cumsum(self.steps) - self.steps
        places = np.argsort(self.steps, kind="stable")
        places = places[self.steps[places] > 0]
        size = max(1, min(policy.batch, policy.steps // policy.chunk))
        for first in range(0, len(places), size):
            batch = places[first : first + size]
            for done in range(0, int(self.steps[batch].max()), policy.chunk):
                active = batch[self.steps[batch] > done]
                lengths = np.minimum(self.steps[active] - done, policy.chunk)
                times = np.arange(int(lengths.max()))
                inside = times < lengths[:, None]  # [B, T]
                at = np.where(inside, begins[active][:, None] + done + times, 0)
                fed = np.where(inside[:, :, None], inputs[at], np.float32(0))
                answered, state[active] = _run(model, fitness, fed, lengths, state[active])
                outputs[at[inside]] = answered[inside]
        return outputs

    def kept(self, outputs: Array, each: int, digester: Digester) -> list[Answers]:
        """The newest answers of each session, oldest first."""
        ends, inputs, found = np.cumsum(self.counts), self._steps("inputs"), []
        for back in range(min(each, max(self.counts, default=0)), 0, -1):
            places = np.flatnonzero(self.counts >= back)
            calls = ends[places] - back
            for single in (True, False):
                mine = calls[(self.lengths[calls] == 1) == single]
                if not len(mine):
                    continue
                ends_of = zip(self._ends[mine].tolist(), self.lengths[mine].tolist(), strict=True)
                spans = [slice(end - length, end) for end, length in ends_of]
                joined = np.concatenate([inputs[span] for span in spans])
                digests = digester.of(joined, self.lengths[mine])
                found.append(Answers(self.places[mine], self.starts[mine], digests, [outputs[span] for span in spans]))
        return found

    def _steps(self, name: str) -> Array:
        parts = [getattr(one.steps, name) for one in self._calls]
        return np.concatenate(parts)[self._at] if parts else np.empty((0, 1), np.float32)


class Replayed(NamedTuple):
    """Sessions as they stood: N of one file."""

    records: list[Record]  # [N] up to the last call, but for the answers that it and others before it left
    written: list[int]  # [N] positions of the records in the store; 0: there is none
    answers: list[Answers]  # in the order of the calls
    steps: int  # that were run


def replay(
    found: Recovery, records: list[Record], model: bytes, network: Model, fitness: Fitness, *, each: int
) -> Replayed:
    """Run the calls behind records of one file; `each` is how many answers are kept. Blocks."""
    calls = Calls(found.calls.get(model, []), records)
    gaps = calls.gaps(np.array([record.step for record in records], np.int64))
    if len(gaps):
        for place in gaps.tolist():
            found.refuse(records[place].number, "entries of it are missing in the journal")
        whole = [record for record in records if record.number in found.records]
        return replay(found, whole, model, network, fitness, each=each)
    width = 4 * sum(map(math.prod, network.state_shapes.values()))
    state = np.frombuffer(bytearray().join(record.numbers[:width] for record in records), np.float32)
    state = state.reshape(len(records), width // 4)
    outputs = calls.answered(state) if calls.stated else calls.run(network, fitness, state)
    last, steps = calls.last_seconds(), calls.steps.tolist()
    stand = [
        record._replace(
            position=found.first if place in last or found.behind(record) else record.position,
            step=record.step + steps[place],
            deadline=max(found.deadline(record), last.get(place, -math.inf) + record.ttl),
            numbers=state[place].tobytes() + record.numbers[width:],
            snapshots=found.snapshots_of(record),
        )
        for place, record in enumerate(records)
    ]
    written = [found.stored.get(record.number, 0) for record in records]
    return Replayed(stand, written, calls.kept(outputs, each, Digester(network.features)), sum(steps))


def tails(
    found: Recovery, records: Iterable[Record], model: bytes, base: int = 0
) -> Iterator[tuple[Record, bytes, int]]:
    """Records, the entries behind them and their time steps, of sessions whose model is not there.

    With `base` their positions begin there: they go to another store.
    """
    wanted = {record.number: record for record in records}
    tails: dict[int, bytes] = defaultdict(bytes)
    steps: Counter[int] = Counter()
    for place_of_call, (position, seconds, one) in enumerate(found.calls.get(model, ()), base + 1):
        for place, number in enumerate(one.numbers.tolist()):
            if number in wanted and position > wanted[number].position:
                steps[number] += one.lengths.item(place)
                stamp = entries.Stamp(place_of_call if base else position, seconds, 0.0, model)
                tails[number] += entries.entry(
                    entries.part(one, place), one.numbers[[place]].tobytes(), stamp, found.key
                )
    for number, record in wanted.items():
        if tails[number] or number not in found.stored or record.position != found.stored[number]:
            kept = found.snapshots_of(record)
            yield record._replace(deadline=found.deadline(record), snapshots=kept), tails[number], steps[number]


def _run(model: Model, fitness: Fitness, inputs: Array, lengths: Index, state: Array) -> tuple[Array, Array]:
    """Run rows [B, T, F] from states [B, W] → outputs and states. Rows are repeated where the model needs more."""
    count = len(lengths)
    rows = np.resize(np.arange(count), max(count, fitness.min_batch))
    given = shaped(state[rows], model.state_shapes)
    outputs, after = model.run(inputs[rows], lengths[rows].astype(np.int32), given)
    return outputs[:count], flat(after, len(rows))[:count]
