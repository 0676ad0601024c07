"""`carousel`, which says on SIGUSR1 how many asyncio tasks there are: what no door of it tells."""

import asyncio
import signal

from service.cli import app


def _tell(*_: object) -> None:
    print("tasks", len(asyncio.all_tasks()), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _tell)
    app()
