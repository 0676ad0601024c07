"""The order of the works on each session: a chain through the columns of rows and works. Decides nothing."""

from service.models.model import Index
from service.rows import Rows, every
from service.works import NOBODY, Works


class Chains:
    """Invariant: `rows.head` is the first work of a session that is not done, `works.next` the one behind it, and
    `rows.tail` the last; with no head the tail means nothing.
    """

    def __init__(self, rows: Rows, works: Works) -> None:
        self._rows, self._works = rows, works

    def append(self, ids: Index, sessions: Index) -> Index:
        """Put a work behind the others of its session, which are all different → those that are heads now."""
        rows, works = self._rows, self._works
        works.next[ids] = NOBODY
        first = rows.head[sessions] == NOBODY
        if every(first):
            heads = ids
            rows.head[sessions] = ids
        else:
            works.next[rows.tail[sessions[~first]]] = ids[~first]
            heads = ids[first]
            rows.head[sessions[first]] = heads
        rows.tail[sessions] = ids
        return heads

    def advance(self, ids: Index, sessions: Index) -> None:
        """These heads are done."""
        self._rows.head[sessions] = self._works.next[ids]

    def heads(self, sessions: Index) -> Index:
        """The works that are the heads of these sessions, of those that have one."""
        heads = self._rows.head[sessions]
        some: Index = heads[heads != NOBODY]
        return some

    def of(self, session: int) -> list[int]:
        """All works of a session, in order."""
        chain = []
        work = int(self._rows.head[session])
        while work != NOBODY:
            chain.append(work)
            work = int(self._works.next[work])
        return chain

    def replace(self, session: int, chain: list[int]) -> None:
        """Let a session have these works."""
        for work, behind in zip(chain, [*chain[1:], NOBODY], strict=False):
            self._works.next[work] = behind
        self._rows.head[session] = chain[0] if chain else NOBODY
        self._rows.tail[session] = chain[-1] if chain else NOBODY
