"""What workers over one embedded store reach: twice the cores, and how long a session takes to another worker."""

import time
from contextlib import AbstractContextManager
from itertools import cycle, islice

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types

from bench.generator import CLIENT_CORE, SERVER_CORE, Load, NotRunError
from bench.report import Bound, Line, spread
from bench.servers import Server
from bench.workshop import Workshop

_LOAD = Load("stream", connections=16, sessions=64, items=64, window=2)
_SAYS = "16 sockets of 64 sessions, 64 in each frame, S, each worker on a core with a generator"
_CORES = (SERVER_CORE, CLIENT_CORE)
_MOVES = 500  # of one session
_REST = 0.005  # seconds between two of them: a session stays for 2 ms at least
_TRIES = 64  # connections until both workers have one


def workers(shop: Workshop) -> list[Line]:
    """One worker and its generator on one core, two of each on two; then a session that goes to and fro."""
    one, two = list[float](), list[float]()
    with _served(shop, 1) as alone, _served(shop, 2) as both:
        for repeat in range(shop.repeats):
            shop.say(f"{_SAYS}, repeat {repeat + 1} of {shop.repeats}")
            one.append(_rate(shop, alone, 1))
            two.append(_rate(shop, both, 2))
        moves = _moves(both)
    ratios = tuple(more / less for more, less in zip(two, one, strict=True))
    late = sorted(moves)[int(0.99 * len(moves))]
    return [
        Line(_SAYS, "one worker", f"{spread(one)} steps/s"),
        Line(_SAYS, "two workers ÷ one", f"{spread(two)} steps/s", ratios, Bound(1.6)),
        Line(
            "a step of a session that another worker has",
            "p99, ms",
            f"{spread(moves)} ms",
            (late,),
            Bound(2, at_most=True),
        ),
    ]


def _served(shop: Workshop, count: int) -> AbstractContextManager[Server]:
    path = shop.folder / "stores" / f"workers-{count}"
    return shop.carousel("S", store="embedded", store_path=path, workers=count, max_sessions=10**6)


def _rate(shop: Workshop, server: Server, count: int) -> float:
    """Steps/s of so many workers, each pinned to a core with a generator."""
    found = server.workers() if count > 1 else [psutil.Process(server.process.pid)]
    for process, core in zip(found, _CORES, strict=False):
        process.cpu_affinity([core])
    running = [shop.generator.start(_LOAD, "S", server.port, shop.seconds, core=core) for core in _CORES[:count]]
    return sum(one.wait().rate for one in running)


def _moves(server: Server) -> list[float]:
    """Milliseconds of steps that are asked of two workers in turn."""
    clients: dict[int, httpx.Client] = {}
    for _ in range(_TRIES):
        client = httpx.Client(base_url=server.url)
        clients.setdefault(_worker_of(server, client), client)
        if len(clients) == 2:
            break
    else:
        raise NotRunError("all connections are with one worker")
    model = client.get("/v1/models/S").json()
    client.post("/v1/models/S/sessions", json={"id": "to-and-fro"})
    asked, took = {"inputs": [[0.5] * len(model["features"])]}, []
    for one in islice(cycle(clients.values()), _MOVES):
        begin = time.perf_counter()
        answer = one.post("/v1/sessions/to-and-fro/steps", json=asked)
        took.append(1000 * (time.perf_counter() - begin))
        if answer.status_code != 200:
            raise NotRunError(answer.text)
        time.sleep(_REST)
    return took


def _worker_of(server: Server, client: httpx.Client) -> int:
    """The process that has the connection of a client."""
    answer = client.get("/health/live")
    port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
    for worker in server.workers():
        if any(one.raddr and one.raddr.port == port for one in worker.net_connections()):
            return int(worker.pid)
    raise NotRunError("no worker has the connection")
