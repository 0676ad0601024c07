"""What arrived between two ticks: which calls may be accepted together. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from service.work import Call, One

_ALONE = 64 * 2**10  # bytes; a larger call is not copied to lie beside others, nor are they held while it runs


def alike(calls: Iterable[Call]) -> list[list[Call]]:
    """The calls in groups of one kind, none of which has a session twice. Those on one session keep their order."""
    groups: list[list[Call]] = []
    for kind, run in groupby(calls, _kind):
        same = list(run)
        if kind is None:
            groups += [[call] for call in same]
        elif len(same) == 1 or same[0].stateless:
            groups.append(same)
        else:
            groups += _ones(same) if kind[0] is One else _many(same)
    return groups


def _kind(call: Call) -> tuple[type, bool] | None:
    """None: alone."""
    return (type(call), call.stateless) if call.size <= _ALONE and call.kept else None


def _ones(calls: Sequence[Call]) -> list[list[Call]]:
    return _in_rounds(calls, [call.row for call in calls if isinstance(call, One)])


def _many(calls: Sequence[Call]) -> list[list[Call]]:
    lists = {id(call.rows): call.rows for call in calls}  # most calls are on the same rows as one before
    rows = np.sort(np.concatenate(list(lists.values())))
    if (rows[1:] == rows[:-1]).any():
        return _while_different(calls)
    return _in_rounds(calls, [id(call.rows) for call in calls])


def _in_rounds(calls: Sequence[Call], keys: list[int]) -> list[list[Call]]:
    """The first call of every key, the second of every key that has one …"""
    if len(set(keys)) == len(keys):
        return [list(calls)]
    seen, rounds = Counter[int](), list[list[Call]]()
    for call, key in zip(calls, keys, strict=True):
        if seen[key] == len(rounds):
            rounds.append([])
        rounds[seen[key]].append(call)
        seen[key] += 1
    return rounds


def _while_different(calls: Sequence[Call]) -> list[list[Call]]:
    """Together as long as no session comes twice."""
    groups: list[list[Call]] = []
    seen: set[int] = set()
    for call in calls:
        rows = set(call.rows.tolist())
        if not groups or not seen.isdisjoint(rows):
            groups.append([])
            seen = set()
        groups[-1].append(call)
        seen |= rows
    return groups
