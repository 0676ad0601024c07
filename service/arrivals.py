"""What arrived between two ticks: which calls may be accepted together. Pure."""

from collections.abc import Iterable, Iterator

import numpy as np

from service.rows import Index
from service.work import UNCHECKED, Call

_ALONE = 64 * 2**10  # bytes; a larger call is not copied to lie beside others, nor are they held while it runs


def alike(calls: Iterable[Call]) -> Iterator[list[Call]]:
    """The calls in their order, in groups of calls on different sessions, or of stateless ones."""
    group: list[Call] = []
    seen: set[int] = set()
    for call in calls:
        sessions = set() if call.stateless else set(call.rows.tolist())
        fits = group and call.stateless == group[0].stateless and seen.isdisjoint(sessions)
        if group and not (fits and _shares(call) and _shares(group[0])):
            yield group
            group, seen = [], set()
        group.append(call)
        seen |= sessions
    if group:
        yield group


def _shares(call: Call) -> bool:
    return call.size <= _ALONE and call.kept


def misfits(calls: list[Call], ahead: Index) -> list[Call]:
    """The calls that name a step which is not the next one of its session."""
    if len(calls) == 1:
        return calls if _misfit(calls[0].asked, ahead[calls[0].rows]) else []
    asked = np.concatenate([call.asked for call in calls])
    if not _misfit(asked, ahead[np.concatenate([call.rows for call in calls])]):
        return []
    return [call for call in calls if _misfit(call.asked, ahead[call.rows])]


def _misfit(asked: Index, ahead: Index) -> bool:
    return bool(((asked != ahead) & (asked != UNCHECKED)).any())
