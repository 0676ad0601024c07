"""Swap versions of a model under load: no request fails, no session changes its version, memory stays flat.

`python -m tests.chaos.swaps --swaps 200` at length.
"""

import asyncio
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer

from tests import graphs
from tests.wire.server import Server

_CLIENTS = 4
_PATIENCE = 300  # seconds for a call, on cores however busy


@dataclass
class Load:
    """Clients that step sessions of `sum` and check every answer, until they are told to stop."""

    http: httpx.AsyncClient
    faults: list[str] = field(default_factory=list)
    calls: list[tuple[float, float]] = field(default_factory=list)  # when it began, and how long it took
    swapped: tuple[float, float] = 0.0, 0.0  # when the first swap began and the last one ended
    versions: set[str] = field(default_factory=set)  # in which sessions were opened
    stop: bool = False

    async def drive(self, client: int) -> None:
        """Sessions one after another: each keeps its version and its sum, from its first step to its last."""
        rng, number = np.random.default_rng(client), 0
        while not self.stop:
            number += 1
            id, total = f"c{client}-{number}", 0.0
            opened = await self._ask("POST", "/v1/models/sum/sessions", {"id": id})
            self.versions.add(str(opened.get("version")))
            for step in range(int(rng.integers(1, 60))):
                value = float(rng.integers(-99, 99))
                total += value
                told = await self._ask("POST", f"/v1/sessions/{id}/steps", {"inputs": [[value]], "step": step})
                if told.get("outputs") != [[total]]:
                    self.faults.append(f"{id}, step {step}: {told}, not {total}")
            ended = await self._ask("GET", f"/v1/sessions/{id}")
            if ended.get("version") != opened.get("version"):
                self.faults.append(f"{id} went from {opened} to {ended}")
            await self._ask("POST", "/v1/models/sum/predict", {"sequences": [[[1], [2]]]})
            await self._ask("DELETE", f"/v1/sessions/{id}")

    async def _ask(self, verb: str, path: str, body: object = None) -> dict[str, object]:
        begin = time.perf_counter()
        answer = await self.http.request(verb, path, json=body)
        self.calls.append((begin, time.perf_counter() - begin))
        if answer.status_code not in (200, 201, 204):
            self.faults.append(f"{verb} {path}: {answer.status_code} {answer.text}")
            return {}
        return dict(answer.json()) if answer.content else {}

    def p99(self, *, swapping: bool) -> float:
        """Of the calls that began while versions were swapped, or of the others, in ms."""
        first, last = self.swapped
        took = [took for begin, took in self.calls if (first <= begin <= last) is swapping]
        return 1000 * float(np.percentile(took, 99))


async def swap(server: Server, folder: Path, swaps: int, *, quiet: float = 0.0, pause: float = 0.0) -> Load:
    """Write a version after the other beside the last one and let the server load it, while clients are at work.

    The next one is not written before a session was opened in the last one.
    `quiet` are seconds of load alone, half of them before the first swap and half behind the last; `pause` are those
    between two swaps.
    """
    async with httpx.AsyncClient(base_url=server.url, timeout=_PATIENCE) as http:
        load = Load(http)
        clients = [asyncio.create_task(load.drive(client)) for client in range(_CLIENTS)]
        try:
            await asyncio.sleep(quiet / 2)
            begin = time.perf_counter()
            for version in range(2, swaps + 2):
                shutil.copytree(folder / "sum/1", folder / f"sum/{version}")
                answer = await http.post("/v2/repository/models/sum/load")
                assert (answer.status_code, answer.content) == (200, b""), answer.text
                assert (await http.get("/v1/models/sum")).json()["version"] == str(version)
                async with asyncio.timeout(_PATIENCE):
                    while str(version) not in load.versions:  # noqa: ASYNC110  # the clients are at work
                        await asyncio.sleep(0.001)
                await asyncio.sleep(pause)
            load.swapped = begin, time.perf_counter()
            await asyncio.sleep(quiet / 2)
        finally:
            load.stop = True
            await asyncio.gather(*clients)
    return load


def reload(server: Server, cycles: int) -> list[int]:
    """Unload and load a model again and again → resident bytes after each cycle."""
    seen = []
    for _ in range(cycles):
        for verb in ("unload", "load"):
            answer = httpx.post(f"{server.url}/v2/repository/models/sum/{verb}", timeout=_PATIENCE)
            assert answer.status_code == 200, answer.text
        assert httpx.post(f"{server.url}/v1/models/sum/predict", json={"sequences": [[[1]]]}).status_code == 200
        seen.append(server.memory())
    return seen


def main(
    swaps: Annotated[int, typer.Option(help="Versions that follow the first.")] = 200,
    cycles: Annotated[int, typer.Option(help="Of unload and load.")] = 50,
    quiet: Annotated[float, typer.Option(help="Seconds without swaps, to compare with.")] = 20,
    pause: Annotated[float, typer.Option(help="Seconds between two swaps.")] = 0.2,
) -> None:
    """Swap and reload at length, and print what was seen."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graphs.running_sum(folder / "sum/1/model.onnx")
        server = Server(folder, folder / "log", versions="latest:1").wait_until_ready()
        before = server.memory()
        load = asyncio.run(swap(server, folder, swaps, quiet=quiet, pause=pause))
        print(f"{swaps} swaps, {len(load.calls)} calls, {len(load.faults)} failed, {len(load.versions)} versions seen")
        print(f"{(load.swapped[1] - load.swapped[0]) / swaps:.3f} s a swap")
        print(f"p99 {load.p99(swapping=False):.2f} ms without swaps, {load.p99(swapping=True):.2f} ms with them")
        print(f"memory {before / 2**20:.1f} MiB, {server.memory() / 2**20:.1f} MiB after it")
        seen = reload(server, cycles)
        print(f"{cycles} cycles of unload and load: {seen[0] / 2**20:.1f} to {seen[-1] / 2**20:.1f} MiB")
        print(*load.faults[:5], sep="\n")
        server.stop()


if __name__ == "__main__":
    typer.run(main)
