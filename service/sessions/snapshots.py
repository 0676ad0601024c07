"""Snapshots of sessions, to which they may be rewound: which rows keep how many, and those that they have."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.models.model import State


class Rule(NamedTuple):
    """When snapshots are taken: at the end of each call that reaches or passes a multiple of `every` steps."""

    every: int
    keep: int  # the newest so many


@dataclass(slots=True)
class Snapshot:
    """A session as it stood at a step."""

    step: int
    state: State  # [1, …]
    stored: bool = False  # a store has it beside the session's record


class Rewinds:
    """Snapshots by table row, oldest first. Invariant: only rows with a rule are in `rows`; their steps ascend."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Rule, deque[Snapshot]]] = {}

    def __repr__(self) -> str:
        return f"<Rewinds of {len(self.rows)} rows>"

    def follow(self, row: int, rule: Rule | None, snapshots: Iterable[Snapshot] = ()) -> None:
        """Let a session have a rule, and the snapshots that a store has of it."""
        if rule is not None:
            self.rows[row] = rule, deque(snapshots, rule.keep)

    def rule(self, row: int) -> Rule | None:
        """The rule of a row, if it has one."""
        return self.rows[row][0] if row in self.rows else None

    def of(self, row: int) -> Iterable[Snapshot]:
        """The snapshots of a row."""
        return self.rows[row][1] if row in self.rows else ()

    def due(self, row: int, start: int, end: int) -> bool:
        """Whether a call from one step to another has to leave a snapshot."""
        rule = self.rule(row)
        return rule is not None and start // rule.every < end // rule.every

    def take(self, row: int, step: int, state: State) -> None:
        """Keep a snapshot, which is newer than all others; the oldest one may go."""
        self.rows[row][1].append(Snapshot(step, state))

    def find(self, row: int, step: int) -> State | None:
        """The state at a step, if it is kept."""
        return next((one.state for one in self.of(row) if one.step == step), None)

    def forget_later(self, row: int, step: int) -> None:
        """The session stands at a step: what lies behind it is no past of its."""
        if row in self.rows:
            kept = self.rows[row][1]
            while kept and kept[-1].step > step:
                kept.pop()
