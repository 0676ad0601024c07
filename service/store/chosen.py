"""The store that the settings choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.store.embedded.lock import Share
from service.store.embedded.settling import folder_of
from service.store.embedded.shared import SharedStore
from service.store.embedded.store import EmbeddedStore
from service.store.memory import MemoryStore
from service.store.redis.store import RedisStore

if TYPE_CHECKING:
    from service.sessions.sessions import Sessions
    from service.settings import Settings
    from service.store.store import Keeper
    from service.workers.worker import Worker

_SPARE_SECONDS = 2.0  # that a service that drains needs beside `drain_seconds`


def chosen(settings: Settings, sessions: Sessions, worker: Worker | None) -> Keeper:
    """The store of a service, or of one worker of several."""
    if settings.store == "memory":
        return MemoryStore()
    if settings.store == "redis":
        bounds: dict[str, Any] = {"lease": settings.store_lease_seconds, "resident": settings.resident_bytes}
        return RedisStore(settings.store_url.get_secret_value(), sessions, **bounds)
    how: dict[str, Any] = {
        "sync": settings.store_sync,
        "behind": settings.store_behind_ms / 1000 if settings.store_write == "behind" else 0.0,
        "resident": settings.resident_bytes,
        "replay_seconds": settings.store_replay_seconds,
    }
    if worker is None:
        patience = settings.drain_seconds + _SPARE_SECONDS
        return EmbeddedStore(settings.store_folder, sessions, patience=patience, **how)
    number, lock = worker.order.number, worker.order.lock
    assert lock is not None
    how |= {"path": folder_of(settings.store_folder, number), "share": Share(number - 1, lock)}
    return SharedStore(sessions, worker, settings.store_lease_seconds, **how)
