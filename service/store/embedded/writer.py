"""Entries on their way to the journal: where and when they are written. Knows neither sessions nor records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson

from service.errors import CarouselError
from service.store.embedded import entries

if TYPE_CHECKING:
    from asyncio import Future

    from service.store.clock import Clock
    from service.store.embedded.journal import Journal
    from service.store.store import Conflicts


class EntryWriter:
    """Stamps and seals entries; `key` is that of the store's checksums."""

    def __init__(self, journal: Journal, clock: Clock, key: int) -> None:
        self._journal, self._clock, self._key = journal, clock, key

    def append(
        self, body: bytes, numbers: bytes, position: int, model: bytes, *, behind: bool = False
    ) -> Future[Conflicts] | None:
        """Write an entry: see `Journal.append`."""
        stamp = entries.Stamp(position, self._clock.seconds(), self._clock.wall(), model)
        return self._journal.append(entries.entry(body, numbers, stamp, self._key), behind=behind)

    def note(self, body: bytes, numbers: bytes, model: bytes) -> None:
        """Write an entry that no call waits for. If it is lost, the deadline of the session still tells."""
        try:
            pending = self.append(body, numbers, self._journal.next(), model)
        except CarouselError:
            return
        if pending is not None:
            pending.add_done_callback(lambda done: done.exception())

    def note_expired(self, number: int, until: float, model: bytes) -> None:
        """Note that a session was idle beyond its TTL, and until when its id is told as expired."""
        body = entries.change(entries.EXPIRED, 1, rest=orjson.dumps(until))
        self.note(body, np.array([number]).tobytes(), model)
