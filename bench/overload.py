"""Twice what the service can do: what still goes through, how fast the rest is refused, and what is left behind."""

from dataclasses import dataclass, replace

from bench.generator import Load, Tally
from bench.report import Bound, Line
from bench.servers import Server
from bench.workshop import Workshop

_SHORT, _LONG = 6.0, 60.0
_QUEUE = 64  # rows that may wait: an eighth of a second of 64-step requests of M, and less than a tick of single steps
_FLAT, _RECOVERED = Bound(1.05, at_most=True), Bound(1.3, at_most=True)


@dataclass(frozen=True)
class Overload:
    """A load whose closed loop tells the capacity, and how many connections offer twice that."""

    says: str
    model: str
    load: Load
    connections: int
    served: Bound | None = None
    refused: Bound | None = None


CALLS = Overload(
    "offered 2× the capacity, 64 steps a request, JSON, M",
    "M",
    Load(connections=32, length=64),
    512,
    Bound(0.85),
    Bound(50, at_most=True),
)
STEPS = Overload("offered 2× the capacity, one step a request, JSON, S", "S", Load(), 512)
FRAMES = Overload("offered 2× the capacity, one step a frame, S", "S", Load("stream"), 64, Bound(0.85))


def overload(kind: Overload, shop: Workshop) -> list[Line]:
    """Once, on a fresh server with a short queue."""
    seconds = _LONG if shop.long else _SHORT
    lone = replace(kind.load, connections=1, warm=0)
    with shop.carousel(kind.model, max_queue_rows=_QUEUE) as server:
        shop.say("the capacity")
        capacity = shop.checked(kind.load, kind.model, server)
        before = shop.checked(lone, kind.model, server)
        shop.say(f"twice {capacity.rate:,.0f} steps/s for {seconds:g} s")
        rate = 2 * capacity.rate / kind.load.length
        twice = replace(kind.load, connections=kind.connections, rate=rate, refusals=kind.load.door == "http", warm=1.0)
        tally, memory = _watched(twice, kind.model, server, shop, seconds)
        shop.say("how it recovers")
        after = shop.checked(replace(lone, warm=1.0), kind.model, server)
    half = len(memory) // 2
    grown = max(memory[half:]) / max(memory[:half])
    refusals = (
        f"{tally.refusals / tally.seconds:,.0f} a second, p50 {tally.refusals_p50:.3g}, p99 {tally.refusals_p99:.3g} ms"
    )
    return [
        Line(kind.says, "steps/s ÷ capacity", _rates(capacity, tally), (tally.rate / capacity.rate,), kind.served),
        Line(kind.says, "refused: p99, ms", refusals, (tally.refusals_p99,) if tally.refusals else (), kind.refused),
        Line(kind.says, "memory, late ÷ early", f"{max(memory) / 2**20:,.0f} MiB at most", (grown,), _FLAT),
        Line(
            kind.says,
            "p50 of a lone one a second later ÷ before",
            f"{before.answers_p50:.3g} ms, {after.answers_p50:.3g} ms",
            (after.answers_p50 / before.answers_p50,),
            _RECOVERED,
        ),
    ]


def _watched(load: Load, model: str, server: Server, shop: Workshop, seconds: float) -> tuple[Tally, list[int]]:
    """What was counted, and the server's memory while it ran."""
    samples = shop.folder / "samples"
    running = shop.generator.start(load, model, server.port, seconds, samples=samples)
    memory = list(iter(lambda: None if running.done(0.1) else server.memory(), None))
    tally = running.wait()
    shop.verify(samples, load, model, tally)
    return tally, memory


def _rates(capacity: Tally, tally: Tally) -> str:
    latency = f"p50 {tally.answers_p50:.3g}, p99 {tally.answers_p99:.3g} ms"
    return f"{tally.rate:,.0f} of {capacity.rate:,.0f} steps/s; {latency}"
