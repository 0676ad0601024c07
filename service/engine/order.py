"""The order of calls and operations: a graph in which each waits for the unfinished ones before it on its sessions.

The entries of one session are a path in the graph. Nothing is ever unlinked: an entry that ends early keeps its place,
and gives it up when it is its turn. It knows rows and steps; not models, clients or time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from service.engine.call import UNCHECKED, Call, Entry, Operation
from service.errors import StepConflict

if TYPE_CHECKING:
    from service.sessions.table import Table


class Misfit(NamedTuple):
    """A row of a waiting call that cannot run any more, or whose retries cannot, as something before it failed."""

    call: Call
    place: int  # of the row
    error: StepConflict
    retries: bool  # only the retries that wait for it


class Order:
    """Invariant: `table.last` of a row is the serial of its last open entry, or 0; `open` is in serial order."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._serial = 0
        self.open: dict[int, Entry] = {}

    def __repr__(self) -> str:
        return f"<Order of {len(self.open)} entries>"

    def add(self, entry: Entry) -> bool:
        """Put an entry behind the open ones on its sessions → whether it is its turn already."""
        last, where = self._table.last, entry.where
        self._serial += 1
        entry.serial = self._serial
        for serial in set(last[where].tolist()):
            if serial:
                before = self.open[serial]
                before.behind.append(entry)
                entry.before.add(before)
        last[where] = entry.serial
        self.open[entry.serial] = entry
        return not entry.before

    def release(self, entry: Entry) -> list[Entry]:
        """Give up the place of an entry whose turn it is → entries whose turn has come."""
        if self.open.pop(entry.serial, None) is None:
            return []
        last, rows = self._table.last, entry.rows
        if not entry.behind:
            last[entry.where] = 0
            return []
        mine = rows[last[rows] == entry.serial]
        last[mine] = 0
        ready = []
        for later in entry.behind:
            later.before.discard(entry)
            if not later.before:
                ready.append(later)
        return ready

    def waiting(self, row: int) -> Iterator[Entry]:
        """The open entries on a session, the newest first."""
        entry: Entry | None = self.open.get(self._table.last.item(row))
        while entry is not None:
            yield entry
            before = entry.before if len(entry.rows) == 1 else [one for one in entry.before if row in one.rows]
            entry = max(before, key=lambda one: one.serial, default=None)

    def unapplied(self, entry: Entry, row: int, ahead: int) -> list[Misfit]:
        """An entry ended unapplied on a session, which stands at step `ahead`: number those behind it anew → misfits.

        A call that named no step moves; one that named another step than the one where it would begin now is a misfit.
        """
        misfits: list[Misfit] = []
        for later in self.behind(entry, row):
            if isinstance(later, Operation):
                if later.step_after is not None:
                    return misfits  # what comes behind stands on a step that is set
            elif isinstance(later, Call) and not later.told:
                place = later.place(row)
                if place in later.errors:
                    continue
                start, asked = later.starts.item(place), later.asked.item(place)
                if asked not in (UNCHECKED, ahead):
                    misfits.append(Misfit(later, place, StepConflict(asked, ahead), retries=False))
                    continue
                if start != ahead and later.repeats:  # they named the step that it had
                    misfits.append(Misfit(later, place, StepConflict(start, ahead), retries=True))
                later.starts[place] = ahead
                ahead += later.lengths.item(place)
        self._table.ahead[row] = ahead
        return misfits

    def clear(self) -> list[Entry]:
        """Forget all entries, none of which is applied, and return them in order."""
        entries = list(self.open.values())
        for entry in entries:
            self._table.last[entry.where] = 0
            self._table.ahead[entry.where] = self._table.step[entry.where]
            entry.before.clear()
            entry.behind.clear()
        self.open.clear()
        return entries

    @staticmethod
    def behind(entry: Entry, row: int) -> Iterator[Entry]:
        """The entries behind one on a session, in order."""
        while True:
            behind = entry.behind if len(entry.rows) == 1 else [one for one in entry.behind if row in one.rows]
            if not behind:
                return
            entry = behind[0]
            yield entry
