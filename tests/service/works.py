"""Works without an engine: for the parts that know no asyncio."""

from typing import Any, cast

import numpy as np

from service.sessions import Session
from service.work import Call, Turn, Work
from tests.fakes import column

_NOBODY: Any = cast(Any, None)  # no one awaits these


def work(*values: float, session: Session | None = None, **how: Any) -> Work:
    """A call of these values that nobody awaits; on the row of its session, as a started one is."""
    row = session.row if session is not None else 0
    return Work(column(*values), np.empty((len(values), 1), np.float32), Call(), _NOBODY, session, row, **how)


def turn(step_after: int | None = None) -> Turn:
    """A turn that does nothing."""
    return Turn(lambda: None, _NOBODY, step_after)
