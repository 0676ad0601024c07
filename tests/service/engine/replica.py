"""Sessions of RunningSum rebuilt from the changes that a store was given: what a restart would find."""

from collections.abc import Sequence
from typing import NamedTuple

from service.models.model import State
from service.store.store import Advanced, Change, Conflicts, Deleted, Opened, Replaced
from tests.fakes import FakeStore, rows_of, sums


class Stands(NamedTuple):
    """How a session stands."""

    id: str
    step: int
    sum: float


def replica(store: FakeStore) -> dict[int, Stands]:
    """How each session stands by its table row, after all that was written. A change that does not fit is an error."""
    sessions: dict[int, Stands] = {}
    for changes, conflicts in store.written:
        _replay(sessions, changes, conflicts)
    return sessions


def _replay(sessions: dict[int, Stands], changes: Sequence[Change], conflicts: Conflicts) -> None:
    later: set[int] = set()  # rows whose state a later change of this commit has
    for change in changes:
        if isinstance(change, Advanced):
            later = _advance(sessions, change, conflicts, later)
        elif change.row not in conflicts:
            _operate(sessions, change)
    assert not later


def _advance(sessions: dict[int, Stands], change: Advanced, conflicts: Conflicts, later: set[int]) -> set[int]:
    """Apply the steps of a call → the rows whose state is still to come."""
    end = 0
    for index, row in enumerate(rows_of(change)):
        begin, end = end, end + change.lengths.item(index)
        if row in conflicts:
            continue
        before = sessions[row]
        answers = sums(*change.inputs[begin:end, 0].tolist(), before=before.sum)
        assert change.starts.item(index) == before.step
        assert change.outputs[begin:end, 0].tolist() == answers
        sessions[row] = Stands(before.id, before.step + end - begin, answers[-1])
        if change.state is None:
            later = later | {row}
        else:
            assert _sum(change.state, index) == answers[-1]
            later = later - {row}
    assert end == len(change.inputs) == len(change.outputs)
    return later


def _operate(sessions: dict[int, Stands], change: Opened | Replaced | Deleted) -> None:
    match change:
        case Opened(row, id, _, step, state):
            assert row not in sessions
            sessions[row] = Stands(id, step, 0.0 if state is None else _sum(state))
        case Replaced(row, step, state):
            sessions[row] = Stands(sessions[row].id, step, _sum(state))
        case Deleted(row):
            del sessions[row]


def _sum(state: State, index: int = 0) -> float:
    return float(state["sum"][index, 0])
