"""Streams that are cut with frames in flight, over and over: nothing is lost, doubled, mixed up or left behind."""

import asyncio
import signal
import time
from collections import defaultdict
from pathlib import Path

from bench import servers
from bench.caller import Caller
from bench.check import Kept, compare
from bench.report import Bound, Line
from bench.servers import Server
from bench.workshop import Workshop

_SAYS = "streams cut with frames in flight"
_FEW, _MANY = 400, 10_000
_CALLERS = 8
_SETTLED = 10.0  # seconds that the server has to let go of what was cut
_PATIENCE = 30.0


def cuts(shop: Workshop) -> list[Line]:
    """Eight callers at once."""
    each = (_MANY if shop.long else _FEW) // _CALLERS
    kept: Kept = defaultdict(list)
    log = shop.log("carousel")
    with servers.watched_carousel(shop.models("S"), log) as server:
        before = _held(server, log)
        callers = [Caller(server, number, kept) for number in range(_CALLERS)]
        shop.say(f"{each * _CALLERS:,} cuts")
        asyncio.run(_all(callers, each))
        shop.say("what is left behind")
        after = _settled(server, log, before)
    shop.say("lone runs")
    compare(kept, shop.reference("S"))
    answers, first = sum(one.answers for one in callers), sum(one.frames for one in callers)
    figure = f"{each * _CALLERS:,} cuts, {answers:,} answers, {answers - first:,} of them again"
    more = tuple(float(after[name] - before[name]) for name in before)
    held = ", ".join(f"{name} {before[name]:g} → {after[name]:g}" for name in before)
    return [
        Line(_SAYS, "every answer is the lone run's", figure),
        Line(_SAYS, "left behind", held, (max(more),), Bound(0, at_most=True)),
    ]


async def _all(callers: list[Caller], cuts: int) -> None:
    await asyncio.gather(*(caller.run(cuts) for caller in callers))


def _held(server: Server, log: Path) -> dict[str, float]:
    """What the server holds now."""
    told = _tasks(log)
    server.process.send_signal(signal.SIGUSR1)
    deadline = time.monotonic() + _PATIENCE
    while len(now := _tasks(log)) == len(told) and time.monotonic() < deadline:
        time.sleep(0.01)
    rows = {name: server.metric(f"carousel_{name}") for name in ("sessions", "waiting_rows", "kept_answer_bytes")}
    return {"file descriptors": server.open_files(), "tasks": now[-1], **rows}


def _tasks(log: Path) -> list[int]:
    return [int(line.split()[1]) for line in log.read_text().splitlines() if line.startswith("tasks ")]


def _settled(server: Server, log: Path, before: dict[str, float]) -> dict[str, float]:
    """What it holds once it holds no more than before, or after some seconds."""
    deadline = time.monotonic() + _SETTLED
    while (after := _held(server, log)) and time.monotonic() < deadline:
        if all(after[name] <= before[name] for name in before):
            break
        time.sleep(0.2)
    return after
