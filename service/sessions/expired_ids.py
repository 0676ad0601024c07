"""Ids of sessions that have expired: they are told as such for a while."""

from collections import OrderedDict

_REMEMBERED = 100_000


class ExpiredIds:
    """The newest ids, each until a time on the clock of sessions."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()
        self.count = 0  # sessions that expired since the start

    def until(self, id: str) -> float:
        """Until when an id is told as expired; 0: it is not."""
        return self._until.get(id, 0.0)

    def remember(self, id: str, until: float) -> None:
        """Tell an id as expired until then."""
        self._until[id] = until
        while len(self._until) > _REMEMBERED:
            self._until.popitem(last=False)

    def lapse(self, id: str, until: float) -> None:
        """Count a session that has expired, and remember its id."""
        self.count += 1
        self.remember(id, until)

    def forget(self, id: str) -> None:
        """The id is a session's again."""
        self._until.pop(id, None)
