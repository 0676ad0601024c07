"""Load on a running service, over its stream, and how long each answer took. Knows the wire; prints nothing."""

import asyncio
import itertools
import random
import struct
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import orjson
import uvloop
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

_CALL = struct.Struct("<IIIIQ")  # id, one item, its channel, its length, its step
_UNCHECKED = 2**64 - 1  # the step of a call that is not compared
_POOL = 256  # steps of random inputs, sent over and over
_PATIENCE = 60.0  # seconds after the end of the load


class NotServedError(Exception):
    """There is no service to load, or it does not answer as the wire says."""


class Arrival(StrEnum):
    """When the next call comes: as soon as a session is answered, at a constant rate, or at random at a mean rate."""

    closed = "closed"
    constant = "constant"
    poisson = "poisson"


@dataclass(frozen=True)
class Plan:
    """What is asked for. `rate`: calls/s of all sessions together, unused in a closed loop."""

    url: str
    model: str
    sessions: int = 64
    sockets: int = 16
    lengths: tuple[int, int] = (1, 1)  # steps of a call, each number as likely
    arrival: Arrival = Arrival.closed
    rate: float = 1000.0
    seconds: float = 10.0
    seed: int = 0


@dataclass
class Outcome:
    """What came of it; it grows while the load runs."""

    latencies: list[float] = field(default_factory=list)  # seconds, of answered calls
    steps: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # calls by error code
    seconds: float = 0.0  # to the last answer
    busy: float = 0.0  # the share of a core that this process used: near 1, it is what limits


def models(url: str) -> list[str]:
    """The models that a service has. Raises NotServedError."""
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=10) as answer:
            return [str(model["name"]) for model in orjson.loads(answer.read())["models"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotServedError(f"no Carousel at {url}: {error}") from error


def run(plan: Plan, outcome: Outcome) -> None:
    """Open sessions, load them, delete them. Raises NotServedError."""
    try:
        uvloop.run(_run(plan, outcome))
    except (OSError, WebSocketException) as error:  # of which a timeout is one
        raise NotServedError(f"{plan.url}: {error or type(error).__name__}") from error


async def _run(plan: Plan, outcome: Outcome) -> None:
    where = plan.url.replace("http", "ws", 1) + "/v1/stream"
    async with AsyncExitStack() as held, asyncio.timeout(plan.seconds + _PATIENCE):
        sockets = []
        for _ in range(min(plan.sockets, plan.sessions)):
            connection = connect(where, max_size=None, compression=None, ping_timeout=None, max_queue=None)
            sockets.append(_Socket(await held.enter_async_context(connection)))
        each = list(itertools.islice(itertools.cycle(sockets), plan.sessions))
        opened = await asyncio.gather(*(socket.ask({"open": {"model": plan.model}}) for socket in each))
        channels = [told["opened"]["channel"] for told in opened]
        pool = np.random.default_rng(plan.seed).normal(size=(_POOL, opened[0]["opened"]["feature_count"]))
        await _load(plan, outcome, list(zip(each, channels, strict=True)), pool.astype("<f4"))
        ends = ((socket, {"channel": channel, "end": True}) for socket, channel in zip(each, channels, strict=True))
        await asyncio.gather(*(socket.ask({"close": end}) for socket, end in ends))


async def _load(plan: Plan, outcome: Outcome, sessions: "list[tuple[_Socket, int]]", pool: NDArray[np.float32]) -> None:
    """One task a session. They share one schedule: the one that is free takes the next call."""
    begun, cpu = time.perf_counter(), time.process_time()
    schedule, chance = _due(plan, begun), random.Random(plan.seed)

    async def session(socket: _Socket, channel: int) -> None:
        for due in schedule:
            early = due - time.perf_counter()
            if early > 0:
                await asyncio.sleep(early)
            sent = time.perf_counter() if early > 0 else due  # late, as no task was free: that counts
            length = chance.randint(*plan.lengths)
            inputs = pool.take(range(first := chance.randrange(_POOL), first + length), axis=0, mode="wrap")
            refused = await socket.step(channel, length, inputs.tobytes())
            outcome.seconds = (now := time.perf_counter()) - begun
            if refused is None:
                outcome.latencies.append(now - sent)
                outcome.steps += length
            else:
                outcome.refused[refused] += 1

    await asyncio.gather(*(session(socket, channel) for socket, channel in sessions))
    outcome.busy = (time.process_time() - cpu) / (time.perf_counter() - begun)


def _due(plan: Plan, begun: float) -> Iterator[float]:
    """When calls are due, until the time is over; in a closed loop whenever a task asks."""
    due, chance = begun, random.Random(plan.seed)
    while due < begun + plan.seconds:
        yield due
        if plan.arrival is Arrival.closed:
            due = time.perf_counter()
        else:
            due += 1 / plan.rate if plan.arrival is Arrival.constant else chance.expovariate(plan.rate)


class _Socket:
    """One socket to the stream; answers find their callers by id."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._waiting: dict[int, asyncio.Future[str | bytes]] = {}
        self._ids = itertools.cycle(range(2**32))
        self._reader = asyncio.create_task(self._read())

    async def ask(self, frame: dict[str, Any]) -> dict[str, Any]:
        """The answer to a text frame. Raises NotServedError with what it is refused for."""
        id = next(self._ids)
        told: dict[str, Any] = orjson.loads(await self._answer(id, orjson.dumps({"id": id, **frame}).decode()))
        if "error" in told:
            raise NotServedError(f"{told['error']['code']}: {told['error']['detail']}")
        return told

    async def step(self, channel: int, length: int, inputs: bytes) -> str | None:
        """The code of the error that a call is refused with, or None when it is answered."""
        id = next(self._ids)
        answer = await self._answer(id, _CALL.pack(id, 1, channel, length, _UNCHECKED) + inputs)
        return None if isinstance(answer, bytes) else str(orjson.loads(answer)["error"]["code"])

    async def _answer(self, id: int, frame: str | bytes) -> str | bytes:
        answer: asyncio.Future[str | bytes] = asyncio.get_running_loop().create_future()
        self._waiting[id] = answer
        await self._connection.send(frame)
        return await answer

    async def _read(self) -> None:
        """Until the socket is lost: then the calls that wait are told."""
        try:
            while True:
                content = await self._connection.recv()
                id = orjson.loads(content)["id"] if isinstance(content, str) else int.from_bytes(content[:4], "little")
                if (answer := self._waiting.pop(id, None)) is None:
                    raise NotServedError(f"an answer to nothing that was asked: {content[:300]!r}")
                answer.set_result(content)
        except (WebSocketException, NotServedError) as error:
            for answer in self._waiting.values():
                answer.set_exception(NotServedError(f"the stream ended: {error}"))
