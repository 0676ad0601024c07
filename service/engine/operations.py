"""Operations of one engine: done to a session in its turn, and once more if another process had the session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from service.engine.call import Operation
from service.errors import CarouselError

if TYPE_CHECKING:
    from service.engine.call import Again
    from service.sessions.session import Session
    from service.sessions.sessions import Sessions
    from service.store.store import Change

_T = TypeVar("_T")


class Operations:
    """Makes operations, and has them accepted."""

    def __init__(self, sessions: Sessions, accept: Callable[[Operation], None]) -> None:
        self._sessions, self._accept = sessions, accept

    def operate(
        self,
        session: Session,
        act: Callable[[Session], _T],
        changes: Callable[[Session], Sequence[Change]] | None = None,
        *,
        step_after: int | None = None,
    ) -> asyncio.Future[_T]:
        """Do something to a session in its turn; if another process had it, once more to the session as it is then."""
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

        def acts(one: Session) -> _T:
            if changes is None:
                self._sessions.owned()  # it looks at what is here, and the store does not
            return act(one)

        def begin(one: Session, again: Again | None = None) -> None:
            changed = None if changes is None else partial(changes, one)
            asked = None if again is None else (one, again)
            self._accept(Operation(np.array([one.row]), partial(acts, one), answer, changed, step_after, asked))

        def again(found: Session | CarouselError) -> None:
            if isinstance(found, CarouselError):
                settle(answer, found)
            else:
                begin(found)

        begin(session, again)
        return answer


def shielded(answer: asyncio.Future[_T]) -> asyncio.Future[_T]:
    """For a client, which may leave: the operation goes on."""
    return answer if answer.done() else asyncio.shield(answer)


def settle(answer: asyncio.Future[Any], result: Any) -> None:
    """Set a result or an error, unless the client that waits for it has left."""
    if answer.done():
        return
    if isinstance(result, BaseException):
        answer.set_exception(result)
        answer.exception()  # the client may have left
    else:
        answer.set_result(result)
