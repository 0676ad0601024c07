"""Real server processes under load, killed and restarted at random moments over one store."""

import asyncio
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types

from service.sessions.state_bytes import Seals, decode
from tests import graphs
from tests.chaos.balancer import is_ready
from tests.chaos.lives import Lives
from tests.chaos.proxy import HARMS, Proxy
from tests.chaos.reference import Network, Reference, Sums, same
from tests.chaos.streams import Client, Figures, Violation
from tests.chaos.unnamed import Unnamed
from tests.redis_server import RedisCluster, RedisServer
from tests.wire.server import Server

_ENDS = 120.0  # seconds for the clients to get what they wait for, and for a server to be ready
_LEASE, _WORKERS_LEASE = 1.0, 3.0  # seconds
_ON_ITS_WAY = 0.02  # seconds for calls to come
_TAKES = 0.5  # seconds for a successor to take sessions before their owner goes on
_LEAVES = 0.02  # of a client's frames after which it hangs up
_LATE = 0.2  # seconds that answers may take to arrive on a busy machine
_FEW = 16  # sessions of a client where the reference is slower than the server


_REDIS = {"redis": RedisServer, "cluster": RedisCluster}


@dataclass
class Plan:
    """What is done to how many. A kill comes within `longest` seconds after the server is ready."""

    seed: int
    kills: int
    clients: int = 2  # of each model
    streams: int = 64  # sessions of a client of the running sum
    longest: float = 1.0
    gentle: float = 0.1  # part of the ends that are SIGTERM
    store: str = "embedded"
    pause: float = 2.0  # seconds that a process or Redis stands still at most
    behind: int = 0  # milliseconds of answers that may be lost
    workers: int = 1  # that share a store, about: their number changes between two services
    replicas: int = 1  # services over one Redis; a client goes to any of them
    settings: dict[str, object] = field(default_factory=dict)


def write_models(folder: Path) -> dict[str, Reference]:
    """A running sum, one that is not bit equal, and an LSTM."""
    graphs.running_sum(folder / "sum/1/model.onnx")
    graphs.running_sum(folder / "drift/1/model.onnx", whole=False)
    lstm = graphs.write(folder / "lstm/1/model.onnx", "lstm")
    return {"sum": Sums(), "drift": Sums(), "lstm": Network(lstm)}


class Campaign:
    """One plan over one folder."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._random = random.Random(plan.seed)
        references = write_models(folder / "models")
        self.figures = Figures()
        wanders = plan.workers > 1 or plan.replicas > 1
        seeds = iter(range(plan.seed * 1000, plan.seed * 1000 + 999))
        self._clients = [
            Client(
                model,
                reference,
                plan.streams if model == "sum" else _FEW,
                *(next(seeds), self.figures),
                behind=plan.behind / 1000 + _LATE if plan.behind else 0.0,
                leaves=_LEAVES if wanders else 0.0,
            )
            for model, reference in references.items()
            for _ in range(plan.clients)
        ]
        how = {"behind": plan.behind > 0, "wanders": wanders, "bulk": plan.store != "cluster"}
        self._lives = Lives(next(seeds), self.figures, **how)
        shared = 0 if plan.behind else 2  # sessions; answered steps that are lost would be counted anew
        self._unnamed = [Unnamed(next(seeds), self.figures) for _ in range(shared)]
        self._redis = None if plan.store == "embedded" else _REDIS[plan.store](folder / "redis")
        self._proxy = Proxy(self._redis.servers[0].port, random.Random(plan.seed)) if plan.store == "redis" else None
        self._servers = [self._start() for _ in range(plan.replicas)]  # the first is harmed next
        self.recoveries: list[float] = []

    def run(self) -> Figures:
        """Carry the plan out; a Violation if an answer was wrong."""
        try:
            asyncio.run(self._run())
            self._look_at_all()
        finally:
            for server in self._servers:
                if server.process.poll() is None:
                    server.kill()
            if self._redis is not None:
                self._redis.kill()
            if self._proxy is not None:
                self._proxy.close()
        return self.figures

    async def _run(self) -> None:
        stop = asyncio.Event()
        for server in self._servers:
            await _ready(server)
        clients = (*self._clients, self._lives, *self._unnamed)
        tasks = [asyncio.create_task(client.run(self._port, stop)) for client in clients]
        killing = asyncio.create_task(self._kill_often(stop))
        try:
            await asyncio.wait([killing, *tasks], return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            await asyncio.wait_for(asyncio.gather(killing, *tasks), _ENDS)
        finally:
            for task in (killing, *tasks):
                task.cancel()

    async def _kill_often(self, stop: asyncio.Event) -> None:
        for _ in range(self._plan.kills):
            frames = self.figures.frames
            await asyncio.sleep(self._random.uniform(0, self._plan.longest))
            while self.figures.frames == frames and not stop.is_set():  # noqa: ASYNC110  # clients are at work
                await asyncio.sleep(0.01)  # on busy cores there is nothing to lose yet
            if stop.is_set():
                return
            self._random.shuffle(self._servers)
            if self._redis is not None and await self._harm(self._random.choice(self._redis.servers)):
                continue
            if self._plan.workers > 1 and await self._harm_worker():
                continue
            if self._random.random() < self._plan.gentle:
                await asyncio.to_thread(self._servers[0].stop)
            else:
                self._servers[0].kill()
            await self._succeed()
        await asyncio.sleep(0.2)
        stop.set()

    async def _succeed(self) -> None:
        """Start another server, and return when it is ready."""
        begin = time.perf_counter()
        self._servers[0] = self._start()
        await _ready(self._servers[0])
        self.recoveries.append(time.perf_counter() - begin)

    async def _harm(self, redis: RedisServer) -> bool:
        """Let Redis stand still, or die and come back; or stop the server past its lease, and go on beside another."""
        between = HARMS if self._proxy is not None else ()
        kind = self._random.choice(["kill", "kill", "redis stops", "redis dies", "stopped", *between])
        seconds = self._random.uniform(0, self._plan.pause)
        if kind == "redis stops":
            redis.pause()
            await asyncio.sleep(seconds)
            redis.go_on()
        elif kind == "redis dies":
            redis.kill()
            await asyncio.sleep(seconds / 4)
            await asyncio.to_thread(redis.start)
        elif kind == "stopped":
            stopped = self._servers[0]
            redis.pause()  # so that it is stopped while commits are on their way
            await asyncio.sleep(_ON_ITS_WAY)
            stopped.process.send_signal(signal.SIGSTOP)
            redis.go_on()
            await asyncio.sleep(_LEASE)
            await self._succeed()
            await asyncio.sleep(self._random.uniform(0, _TAKES))
            stopped.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(seconds)  # its clients go on there, those that come go to the other
            stopped.kill()
        elif self._proxy is not None and kind in between:
            await self._proxy.harm(kind, seconds)
        self.figures.harms[kind] += 1
        return kind != "kill"

    async def _harm_worker(self) -> bool:
        """Kill one of the workers, or let it stand still past its lease and go on, unless it is dead by then."""
        kind = self._random.choice(["service", "worker dies", "worker stops"])
        workers = self._servers[0].workers()
        if kind == "service" or not workers:
            return False
        one = self._random.choice(workers)
        with suppress(psutil.NoSuchProcess):
            if kind == "worker dies":
                one.kill()
            else:
                one.suspend()
                await asyncio.sleep(self._random.uniform(0.5, 1.5) * _WORKERS_LEASE)
                one.resume()
        self.figures.harms[kind] += 1
        return True

    def _port(self) -> int:
        return random.choice(self._servers).port

    def _look_at_all(self) -> None:
        """Every session stands where its client left it, before and after one more kill."""
        for _ in range(2):
            with httpx.Client(base_url=self._servers[0].url, timeout=20) as http:
                for stream in (stream for client in self._clients for stream in client.streams):
                    blob = decode(_asked(http, f"/v1/sessions/{stream.id}/state").content, Seals())
                    if blob.step != stream.step or not same(blob.state, stream.state):
                        raise Violation(f"{stream.id} stands at {blob}, not {stream}")
                for id, stands in self._lives.alive.items():
                    blob = decode(_asked(http, f"/v1/sessions/{id}/state").content, Seals())
                    if (blob.step, float(blob.state["sum"][0, 0])) != stands:
                        raise Violation(f"{id}: {blob}, not {stands}")
                for one in self._unnamed:
                    blob = decode(_asked(http, f"/v1/sessions/{one.id}/state").content, Seals())
                    if float(blob.state["sum"][0, 0]) != blob.step:
                        raise Violation(f"{one.id}: {blob}")
                    one.check(blob.step)
                for id in self._lives.dead:
                    if _asked(http, f"/v1/sessions/{id}").status_code != 404:
                        raise Violation(f"{id} is back")
            self._servers[0].kill()
            self._servers[0] = self._start().wait_until_ready()

    def _start(self) -> Server:
        if self._redis is not None:
            settings: dict[str, object] = {
                "store": "redis",
                "store_url": self._redis.url if self._proxy is None else self._proxy.url,
                "store_lease_seconds": _LEASE,
            }
        else:
            settings = {"store": "embedded", "store_path": self._folder / "store", "store_replay_seconds": 1.0}
            settings["resident_bytes"] = self._random.choice([1, 20_000, 2**30])
            if self._plan.workers > 1:
                settings["workers"] = self._random.choice([self._plan.workers, self._plan.workers, 1, 3])
                settings["store_lease_seconds"] = _WORKERS_LEASE
        if self._plan.behind:
            settings |= {"store_write": "behind", "store_behind_ms": self._plan.behind}
        count = len(list(self._folder.glob("log-*")))
        return Server(self._folder / "models", self._folder / f"log-{count:04d}", **(settings | self._plan.settings))


async def _ready(server: Server) -> None:
    """Return when a server is ready."""
    async with asyncio.timeout(_ENDS):
        while not await is_ready(server):
            assert server.process.poll() is None, server.log
            await asyncio.sleep(0.05)


def _asked(http: httpx.Client, path: str) -> httpx.Response:
    """What is told once no worker is being started."""
    until = time.monotonic() + _ENDS
    while (answer := http.get(path)).status_code == 503:
        if time.monotonic() > until:
            raise Violation(f"{path}: still {answer.text}")
        time.sleep(0.1)
    return answer
