"""Rows of calls that end unapplied, and what ends with them.

With a row end the retries that wait for it and the later calls on its session that named a step; those that named none
move. It knows the order of calls; not models, clients or time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from service.engine.reruns import may_rerun

if TYPE_CHECKING:
    from service.engine.call import Call, Entry
    from service.engine.order import Order
    from service.errors import CarouselError

Failure: TypeAlias = "tuple[Call, int, CarouselError]"  # a row of a call, and why it is not applied


class Failures:
    """Ends rows of calls. `done` counts rows that have ended, `tell` ends a predict, `release` gives up places."""

    def __init__(
        self,
        order: Order,
        *,
        done: Callable[[Call, int], object],
        tell: Callable[[Call], None],
        release: Callable[[Iterable[Entry]], None],
    ) -> None:
        self._order, self._done, self._tell, self._release = order, done, tell, release

    def fail(self, failures: Iterable[Failure]) -> None:
        """End rows unapplied, and with each the later calls on its session that named a step; or a predict whole."""
        rows: list[Failure] = []
        first: dict[int, tuple[Call, int]] = {}  # by session: the first of its calls that failed, and the row there
        for call, index, error in failures:
            if call.told or index in call.errors:
                continue
            call.errors[index] = error
            rows.append((call, index, error))
            row = call.rows.item(index)
            if call.commits and (row not in first or call.serial < first[row][0].serial):
                first[row] = call, index
        for row, (call, index) in first.items():
            rows += self.behind(call, row, call.starts.item(index))
        self.end(rows)

    def behind(self, entry: Entry, row: int, ahead: int) -> list[Failure]:
        """Number what waits on a session behind an entry that was not applied anew → rows of calls that do not fit."""
        rows: list[Failure] = []
        for misfit in self._order.unapplied(entry, row, ahead):
            if misfit.retries:
                self._fail_repeats(misfit.call, misfit.place, misfit.error)
            else:
                misfit.call.errors[misfit.place] = misfit.error
                rows.append((misfit.call, misfit.place, misfit.error))
        return rows

    def end(self, rows: list[Failure]) -> None:
        """End rows unapplied. All is numbered anew before: a client that is told may call again."""
        for call, index, error in rows:
            if not may_rerun(call, error):  # else they wait for that
                self._fail_repeats(call, index, error)
            if call.commits:
                self._done(call, 1)
            elif not call.told:
                self._tell(call)
        self._release(call for call, _, _ in rows if call.told and not call.before)

    def _fail_repeats(self, call: Call, index: int, error: CarouselError) -> None:
        """The retries that wait for a row end unapplied."""
        failed = [repeat for repeat in call.repeats if repeat.place == index]
        call.repeats = [repeat for repeat in call.repeats if repeat.place != index]
        for repeat in failed:
            repeat.call.errors[repeat.row] = error
            self._done(repeat.call, 1)
