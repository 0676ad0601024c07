"""What a caller waits for while his call is on its way."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from service.work import Call

_T = TypeVar("_T")


class Reply(asyncio.Future[_T]):
    """A future. Who drives a coroutine himself may be told `at_once`, in the tick that answers his call and not a turn
    of the loop later; nothing that he does then may raise.
    """

    at_once: Callable[[], None] | None = None

    def cancel(self, msg: Any = None) -> bool:
        """As asyncio has it."""
        cancelled = super().cancel(msg)
        if cancelled and self.at_once is not None:
            self.at_once()
        return cancelled


def settles(reply: Reply[Any], result: Callable[[Any], Any]) -> Callable[[Call], None]:
    """What settles a reply when its call is done; the caller may have left."""

    def ended(call: Call) -> None:
        if reply.done():
            return
        if call.errors:
            reply.set_exception(min(call.errors.items())[1])
            reply.exception()  # nobody has to look at it
        else:
            reply.set_result(result(call))
        if reply.at_once is not None:
            reply.at_once()

    return ended
