"""Works without an engine: for the parts that know no asyncio."""

from concurrent.futures import Future
from typing import Any

import numpy as np

from service.sessions import Session
from service.work import Call, Turn, Work
from tests.fakes import column


def work(*values: float, session: Session | None = None, **how: Any) -> Work:
    """A call of these values that nobody awaits; on the row of its session, as a started one is."""
    row = session.row if session is not None else 0
    return Work(column(*values), np.empty((len(values), 1), np.float32), Call(), future(), session, row, **how)


def turn(step_after: int | None = None) -> Turn:
    """A turn that does nothing."""
    return Turn(lambda: None, future(), step_after)


def future() -> Any:
    """A future that needs no loop."""
    return Future()
