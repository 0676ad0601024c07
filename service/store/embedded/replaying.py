"""Sessions of one file brought up to the end of the journal: their calls are run again, or kept until it is there."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from service.sessions.digests import Digester
from service.store.embedded import entries
from service.store.embedded.rerun import Calls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from service.models.fitness import Fitness
    from service.models.model import Array, Index, Model
    from service.store.embedded.record import Kept as Snapshot
    from service.store.embedded.record import Record
    from service.store.embedded.recovery import Recovery
    from service.store.embedded.rerun import Kept


class Replayed(NamedTuple):
    """Sessions as they stood: N of one file."""

    records: list[Record]  # their state and step are what the journal begins with
    steps: Index  # [N]
    state: Array  # [N, numbers of a state]
    deadlines: list[float]  # [N]
    behind: NDArray[np.bool_]  # [N] the record in the store is not what is here
    stored: NDArray[np.bool_]  # [N] there is a record
    replayed: int  # time steps that were run
    kept: list[Kept]  # in the order of the calls
    snapshots: list[list[Snapshot]]  # [N]
    position: int  # behind all entries that were read


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


def replay(
    found: Recovery, records: list[Record], model: bytes, network: Model, fitness: Fitness, *, each: int
) -> Replayed:
    """Run the calls behind records of one file; `each` is how many answers are kept. Blocks."""
    calls = Calls(found.calls.get(model, []), records)
    steps = np.array([record.step for record in records], np.int64)
    gaps = calls.gaps(steps)
    if len(gaps):
        for place in gaps.tolist():
            found.refuse(records[place].number, "entries of it are missing in the journal")
        whole = [record for record in records if record.number in found.records]
        return replay(found, whole, model, network, fitness, each=each)
    width = sum(map(math.prod, network.state_shapes.values()))
    states = bytearray().join(memoryview(record.numbers)[: 4 * width] for record in records)
    state = np.frombuffer(states, np.float32).reshape(len(records), width)
    deadlines = [found.deadline(record) for record in records]
    for place, seconds in calls.last_seconds().items():
        deadlines[place] = max(deadlines[place], seconds + records[place].ttl)
    outputs = calls.answered(state) if calls.stated else calls.run(network, fitness, state)
    behind = np.array([_behind(found, record) for record in records], bool) | (calls.counts > 0)
    stored = np.array([record.number in found.stored for record in records], bool)
    kept = calls.kept(outputs, each, Digester(network.features))
    snapshots = [found.snapshots_of(record) for record in records]
    steps += calls.steps
    return Replayed(
        records, steps, state, deadlines, behind, stored, int(calls.steps.sum()), kept, snapshots, found.first
    )


def _behind(found: Recovery, record: Record) -> bool:
    touched = record.number in found.touched
    return touched or record.number in found.tailed or found.stored.get(record.number) != record.position
