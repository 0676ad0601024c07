"""What a caller waits for while his call is on its way."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from service.work import Call

_T = TypeVar("_T")


class Reply(asyncio.Future[_T]):
    """A future. Who drives a coroutine himself may be told `at_once`, in the tick that answers his call, and may
    `hurry` a call that came alone; nothing that he does when he is told may raise.
    """

    at_once: Callable[[], None] | None = None
    hurry: Callable[[], object] | None = None

    def cancel(self, msg: Any = None) -> bool:
        """As asyncio has it."""
        cancelled = super().cancel(msg)
        if cancelled:
            self.tell()
        return cancelled

    def tell(self) -> None:
        """It is done: tell who wants to know at once, and let go of him, who may hold this."""
        told, self.at_once = self.at_once, None
        if told is not None:
            told()


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
        reply.tell()

    return ended
