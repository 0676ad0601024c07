"""What workers over one embedded store reach: twice the cores, and how long a session takes to another worker."""

import socket
import time
from contextlib import AbstractContextManager
from itertools import cycle, islice

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types

from bench.generator import CLIENT_CORE, SERVER_CORE, Load, NotRunError, Running
from bench.models import SIZES
from bench.report import Bound, Line, spread
from bench.servers import Server
from bench.workshop import Workshop

_LOAD = Load("stream", connections=16, sessions=64, items=64, window=2)
_SAYS = "16 sockets of 64 sessions, 64 in each frame, S, each worker on a core with a generator"
_CORES = (SERVER_CORE, CLIENT_CORE)
_MOVES = 500  # of one session
_REST = 0.005  # seconds between two of them: a session stays for 2 to 4 ms
_ANSWER = 2**16  # bytes, more than there are
_PATIENCE = 10.0  # seconds until a worker has taken a connection
_TRIES = 64  # connections until both workers have one
_STEP = "a step every 5 ms of a session that "


def workers(shop: Workshop) -> list[Line]:
    """One worker and its generator on one core, two of each on two; then a session that moves beside that load."""
    one, two, busy = list[float](), list[float](), list[list[float]]()
    with _served(shop, 1) as alone, _served(shop, 2) as both:
        for repeat in range(shop.repeats):
            shop.say(f"{_SAYS}, repeat {repeat + 1} of {shop.repeats}")
            one.append(_rate(shop, alone, 1))
            two.append(_rate(shop, both, 2))
            running = _begin(shop, both, 2)
            busy.append(_steps(both, 2))
            for load in running:
                load.wait()
    ratios = tuple(more / less for more, less in zip(two, one, strict=True))
    return [
        Line(_SAYS, "one worker", f"{spread(one)} steps/s"),
        Line(_SAYS, "two workers ÷ one", f"{spread(two)} steps/s", ratios, Bound(1.6)),
        Line(f"{_STEP}the other worker has, beside that load", "REST", _told(busy)),
    ]


def moves(shop: Workshop) -> list[Line]:
    """A session that is stepped by the worker that has it, and by two in turn, while nothing else is served."""
    stays, moves = list[list[float]](), list[list[float]]()
    with _served(shop, 2) as both:
        _spread(both, 2)
        psutil.Process(both.process.pid).cpu_affinity(list(_CORES))
        for repeat in range(shop.repeats):
            shop.say(f"a session that moves, repeat {repeat + 1} of {shop.repeats}")
            stays.append(_steps(both, 1))
            moves.append(_steps(both, 2))
    adds = tuple(_quantile(late, 0.99) - _quantile(soon, 0.99) for late, soon in zip(moves, stays, strict=True))
    return [
        Line(f"{_STEP}the worker has", "REST", _told(stays)),
        Line(f"{_STEP}the other worker has", "REST; p99 − p99 above, ms", _told(moves), adds, Bound(2, at_most=True)),
    ]


def _served(shop: Workshop, count: int) -> AbstractContextManager[Server]:
    path = shop.folder / "stores" / f"workers-{count}"
    return shop.carousel("S", store="embedded", store_path=path, workers=count, max_sessions=10**6)


def _rate(shop: Workshop, server: Server, count: int) -> float:
    """Steps/s of so many workers."""
    return sum(one.wait().rate for one in _begin(shop, server, count))


def _begin(shop: Workshop, server: Server, count: int) -> list[Running]:
    """Load so many workers, each pinned to a core with a generator."""
    _spread(server, count)
    return [shop.generator.start(_LOAD, "S", server.port, shop.seconds, core=core) for core in _CORES[:count]]


def _spread(server: Server, count: int) -> None:
    """Pin each worker to a core of its own."""
    found = server.workers() if count > 1 else [psutil.Process(server.process.pid)]
    for process, core in zip(found, _CORES, strict=False):
        process.cpu_affinity([core])


def _ways(server: Server) -> list[socket.socket]:
    """Connections with both workers, and a session."""
    ways: dict[int, socket.socket] = {}
    for _ in range(_TRIES):
        way = socket.create_connection(("127.0.0.1", server.port))
        if ways.setdefault(_worker_of(server, way), way) is not way:
            way.close()
        if len(ways) == 2:
            httpx.post(f"{server.url}/v1/models/S/sessions", json={"id": "to-and-fro"})
            return [*ways.values()]
    raise NotRunError("all connections are with one worker")


def _worker_of(server: Server, way: socket.socket) -> int:
    """The process that has a connection."""
    ends = time.monotonic() + _PATIENCE
    while time.monotonic() < ends:
        for worker in server.workers():
            if any(one.raddr and one.raddr.port == way.getsockname()[1] for one in worker.net_connections()):
                return int(worker.pid)
    raise NotRunError("no worker has the connection")


def _steps(server: Server, count: int) -> list[float]:
    """Milliseconds of steps that are asked of so many workers in turn."""
    body = b'{"inputs":[[%b]]}' % b",".join([b"0.5"] * SIZES["S"].inputs)
    head = b"POST /v1/sessions/to-and-fro/steps HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    took = []
    for way in islice(cycle(_ways(server)[:count]), _MOVES):
        time.sleep(_REST)
        begin = time.perf_counter()
        way.sendall(head + body)
        answer = way.recv(_ANSWER)
        took.append(1000 * (time.perf_counter() - begin))
        if b" 200 " not in answer[:16]:
            raise NotRunError(answer.decode(errors="replace"))
    return took


def _quantile(took: list[float], part: float) -> float:
    return sorted(took)[int(part * len(took))]


def _told(repeats: list[list[float]]) -> str:
    """The median and the 99th percentile of each repeat."""
    half, late = ([_quantile(took, part) for took in repeats] for part in (0.5, 0.99))
    return f"p50 {spread(half)}, p99 {spread(late)} ms"
