"""When the supervisor takes a worker for one that stands still."""

from service.settings import Settings
from service.workers.slot import Slot


def test_a_worker_that_never_begins_is_killed_too() -> None:
    slot = Slot(1, Settings(store_lease_seconds=5), {}, None)
    assert not slot.silent(1e9)  # there is no process
    slot.seen = 1000.0
    assert (slot.silent(1100.0), slot.silent(1121.0)) == (False, True)
    slot.heard = True
    assert (slot.silent(1004.0), slot.silent(1006.0)) == (False, True)
