"""What a worker is told before anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from service.settings import Settings


class Order(NamedTuple):
    """What the supervisor tells a worker."""

    settings: Settings
    number: int  # from 1
    late: bool  # it takes connections once it is ready: others have them until then
    lock: int | None  # the descriptor of the lock of their store, if there is one
