"""Replicas over one Redis: restarted in turn, and while Redis stands still. Every answer is compared with its sum.

`python -m tests.chaos.rolling --restarts 20 --clients 64 --pause 10`
"""

import asyncio
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer

from carousel_client import AsyncClient
from tests import graphs
from tests.chaos.balancer import Balancer
from tests.redis_server import RedisServer
from tests.wire.server import Server

_REPLICAS = 3
_LAME_DUCK = 1.0  # seconds: the balancer looks five times in it


@dataclass
class Seen:
    """What clients saw."""

    answers: int = 0
    faults: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)  # by session: when it was answered last
    stop: bool = False

    def check(self, id: str, answered: float, total: float, begin: float) -> None:
        """Count an answer, and name it if it is wrong."""
        self.answers += 1
        self.last[id] = time.perf_counter()
        self.latencies.append(self.last[id] - begin)
        if answered != total:
            self.faults.append(f"{id}: {answered}, not {total}")


class Replicas:
    """Three of them over one Redis, behind a balancer."""

    def __init__(self, folder: Path, lame_duck: float = _LAME_DUCK) -> None:
        self._folder, self._lame_duck, self._count = folder, lame_duck, 0
        graphs.running_sum(folder / "models/sum/1/model.onnx")
        self.redis = RedisServer(folder / "redis")
        self.all = [self._start() for _ in range(_REPLICAS)]
        for one in self.all:
            one.wait_until_ready(120)

    def _start(self) -> Server:
        self._count += 1
        how = {"store": "redis", "store_url": self.redis.url, "lame_duck_seconds": self._lame_duck}
        return Server(self._folder / "models", self._folder / f"log-{self._count}", **how)

    def restart(self, index: int) -> None:
        """Stop one with SIGTERM, and start its successor."""
        code = self.all[index].stop()
        assert code == 0, self.all[index].log
        self.all[index] = self._start()
        self.all[index].wait_until_ready(120)

    def end(self) -> None:
        """End all of them, and Redis."""
        for one in self.all:
            one.kill()
        self.redis.kill()


async def roll(replicas: Replicas, restarts: int, clients: int, seed: int) -> Seen:
    """Restart one after the other under clients of REST and of streams; none of them may see an error."""
    seen, balancer = Seen(), Balancer(replicas.all)
    await balancer.start()
    url = f"http://127.0.0.1:{balancer.port}"
    drive = (_by_rest, _by_stream)
    tasks = [asyncio.create_task(drive[index % 2](url, f"c{index}", seed + index, seen)) for index in range(clients)]
    for turn in range(restarts):
        await asyncio.to_thread(replicas.restart, turn % _REPLICAS)
    seen.stop = True
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    seen.faults += [repr(one) for one in ended if isinstance(one, BaseException)]
    await balancer.close()
    return seen


async def _by_rest(url: str, id: str, seed: int, seen: Seen) -> None:
    rng, total = random.Random(seed), 0.0
    async with AsyncClient(url) as client:
        session = client.session("sum", id)
        while not seen.stop:
            value, begin = float(rng.randrange(9)), time.perf_counter()
            total += value
            [answered] = await session.step([value])
            seen.check(id, answered, total, begin)
            await asyncio.sleep(rng.uniform(0, 0.1))


async def _by_stream(url: str, id: str, seed: int, seen: Seen) -> None:
    rng, totals = np.random.default_rng(seed), np.zeros((4, 1), np.float32)
    async with AsyncClient(url) as client, client.stream() as stream:
        channels = await stream.open_many("sum", [f"{id}-{index}" for index in range(4)])
        while not seen.stop:
            values, begin = rng.integers(0, 9, (4, 1)).astype(np.float32), time.perf_counter()
            totals += values
            answered = await stream.step(channels, values)
            for index in range(4):
                seen.check(f"{id}-{index}", float(answered[index][0]), float(totals[index, 0]), begin)
            await asyncio.sleep(float(rng.uniform(0, 0.1)))


async def pause(replicas: Replicas, seconds: float, clients: int, seed: int) -> tuple[Seen, float, float]:
    """Let Redis stand still under load → what was seen, and seconds until the first and the last client go on."""
    seen = Seen()
    urls = [one.url for one in replicas.all]
    tasks = [asyncio.create_task(_plain(urls[one % _REPLICAS], f"p{one}", seed + one, seen)) for one in range(clients)]
    async with asyncio.timeout(60):
        while len(seen.last) < clients:  # noqa: ASYNC110  # they are at work
            await asyncio.sleep(0.1)
    replicas.redis.pause()
    await asyncio.sleep(seconds)
    replicas.redis.go_on()
    back, first = time.perf_counter(), 0.0
    async with asyncio.timeout(60):
        while sum(last > back for last in seen.last.values()) < clients:
            first = first or (max(seen.last.values()) > back and time.perf_counter() - back) or 0.0
            await asyncio.sleep(0.005)
    last = time.perf_counter() - back
    await asyncio.sleep(1)
    seen.stop = True
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    seen.faults += [repr(one) for one in ended if isinstance(one, BaseException)]
    return seen, first or last, last


async def _plain(url: str, id: str, seed: int, seen: Seen) -> None:
    """Steps by name, sent again every 20 ms while they are refused: it is seen when the service is back."""
    rng, total, step = random.Random(seed), 0.0, 0
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        (await http.post("/v1/models/sum/sessions", json={"id": id})).raise_for_status()
        while not seen.stop:
            value, begin = float(rng.randrange(9)), time.perf_counter()
            total += value
            while True:
                asked = {"inputs": [[value]], "step": step}
                answer = await http.post(f"/v1/sessions/{id}/steps", json=asked)
                if answer.status_code == 200:
                    break
                code = answer.json()["code"]
                seen.refused[code] += 1
                if answer.status_code not in (503, 504):
                    raise AssertionError(f"{id}: {answer.text}")
                await asyncio.sleep(0.02)
            step += 1
            seen.check(id, answer.json()["outputs"][0][0], total, begin)
            await asyncio.sleep(rng.uniform(0, 0.1))


def main(
    restarts: Annotated[int, typer.Option(help="Rolling, one replica after the other.")] = 20,
    clients: Annotated[int, typer.Option(help="Half of them by REST, half by streams.")] = 64,
    stands: Annotated[float, typer.Option("--pause", help="Seconds that Redis stands still.")] = 10.0,
    seed: Annotated[int | None, typer.Option(help="[default: a random one]")] = None,
) -> None:
    """Restart replicas in turn, then let Redis stand still, and print what clients saw."""
    seed = random.randrange(2**16) if seed is None else seed
    print(f"seed {seed}", flush=True)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        replicas = Replicas(Path(folder))
        try:
            if restarts:
                begin = time.perf_counter()
                seen = asyncio.run(roll(replicas, restarts, clients, seed))
                faults += seen.faults
                print(
                    f"{restarts} rolling restarts of {_REPLICAS} replicas in {time.perf_counter() - begin:.0f} s,"
                    f" {clients} clients: {seen.answers} answers, {len(seen.faults)} wrong or failed,"
                    f" the slowest after {max(seen.latencies):.2f} s, p99 {np.percentile(seen.latencies, 99):.3f} s",
                    flush=True,
                )
            if stands:
                seen, first, last = asyncio.run(pause(replicas, stands, clients, seed))
                faults += seen.faults
                print(
                    f"Redis stood still for {stands:g} s: {seen.answers} answers, {len(seen.faults)} wrong or failed,"
                    f" {dict(seen.refused)}; first answer {first:.2f} s after its return, all clients {last:.2f} s"
                )
        finally:
            replicas.end()
    print(*faults[:10], sep="\n")
    raise typer.Exit(int(bool(faults)))


if __name__ == "__main__":
    typer.run(main)
