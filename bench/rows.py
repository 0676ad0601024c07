"""The rows that are one load, judged by what was measured in the same repeats."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench.generator import Load, Tally
from bench.models import SIZES
from bench.peers import CEILING, DOOR, ECHO, JSON, OTHER, OWN_ECHO, SIXTY, Peer, floor, in_process
from bench.report import Bound, Line, spread
from bench.workshop import Workshop

_BATCHES = (1, 16, 64, 256)


@dataclass(frozen=True)
class Row:
    """A load, and its peers: each with the bound for the service's rate ÷ its own, or None where it is only told."""

    says: str
    load: Load
    peers: tuple[tuple[Peer, Bound | None], ...]
    model: str = "S"
    by_p50: bool = False  # the ratio is that of the median latencies


def _ceiling() -> tuple[Peer, Bound]:
    return CEILING, Bound(0.5, at_most=True)


def _json(connections: int, sixty: float) -> Row:
    peers = ((DOOR, None), (ECHO, Bound(0.55)), (SIXTY, Bound(sixty)), _ceiling())
    return Row(f"one step a request, JSON, {connections} sessions", Load(connections=connections), peers)


def _frames(length: int, bound: float) -> Row:
    load = Load("stream", length=length)
    says = f"{length} steps a frame, 64 sockets of one session"
    return Row(says, load, ((in_process(64), Bound(bound)), (DOOR, None), _ceiling()))


def _many(model: str, bound: float, sessions: int = 64) -> Row:
    load = Load("stream", connections=4, sessions=sessions, items=64, window=4)
    says = f"4 sockets of {sessions} sessions, 64 in each frame, 4 frames in flight on each, {model}"
    return Row(says, load, ((in_process(64), Bound(bound)), (DOOR, None), _ceiling()), model)


_LONE = ((SIXTY, Bound(0.8, at_most=True)),)

ROWS = {
    "json-64": _json(64, sixty=5),
    "json-256": _json(256, sixty=4),
    "frames-1": Row(
        "one step a frame, 64 sockets of one session",
        Load("stream"),
        ((DOOR, None), (ECHO, Bound(0.65)), (OWN_ECHO, None), _ceiling()),
    ),
    "frames-8": _frames(8, 0.45),
    "frames-32": _frames(32, 0.75),
    "many-S": _many("S", 0.7),
    "many-S-1024": _many("S", 0.7, sessions=256),
    "many-M": _many("M", 0.85),
    "many-L": _many("L", 0.85),
    "predict": Row(
        "predict of one sequence of 32 steps, JSON, 32 connections",
        Load(connections=32, length=32, predict=True),
        ((SIXTY, Bound(6)), (ECHO, None), _ceiling()),
    ),
    "infer": Row(
        "the same by the Open Inference Protocol, raw bytes in and out",
        Load(connections=32, length=32, predict=True, raw=True),
        ((JSON, Bound(1.5)),),
    ),
    "lone": Row("a lone session, JSON, by p50", Load(connections=1), _LONE, by_p50=True),
}


def floors(shop: Workshop) -> list[Line]:
    """ONNX Runtime alone, at all sizes and batches."""
    lines = []
    for model in SIZES:
        for batch in _BATCHES:
            shop.say(f"{model}, B = {batch}")
            rates = [floor(shop.file(model), batch, shop.seconds) for _ in range(shop.repeats)]
            lines.append(Line("ONNX Runtime in process, T = 1", f"{model}, B = {batch}", f"{spread(rates)} steps/s"))
    return lines


def measure(row: Row, shop: Workshop) -> list[Line]:
    """All servers stand ready; in each repeat all are measured in turn, so that a ratio is of one moment."""
    own: list[Tally | float] = []
    peers = row.peers if shop.beside is None else ((OTHER, None), *row.peers)
    theirs: dict[str, list[Tally | float]] = {peer.says: [] for peer, _ in peers}
    with ExitStack() as running:
        server = running.enter_context(shop.carousel(row.model))
        shop.say("whether the service can")
        shop.checked(row.load, row.model, server, seconds=0.2)
        runs = {peer.says: running.enter_context(peer.start(row.load, row.model, server, shop)) for peer, _ in peers}
        for repeat in range(shop.repeats):
            shop.say(f"repeat {repeat + 1} of {shop.repeats}, carousel")
            own.append(shop.checked(row.load, row.model, server))
            for name, run in runs.items():
                shop.say(f"repeat {repeat + 1} of {shop.repeats}, {name}")
                theirs[name].append(run())
    lines = [Line(row.says, f"carousel, {row.model}", figures(own))]
    for peer, bound in peers:
        pairs = zip(own, theirs[peer.says], strict=True)
        lines.append(Line(row.says, peer.says, figures(theirs[peer.says]), _ratios(pairs, row.by_p50), bound))
    return lines


def figures(runs: Sequence[Tally | float]) -> str:
    """Rates, and latencies where they were seen."""
    rate = f"{spread([_rate(one) for one in runs])} steps/s"
    seen = [one for one in runs if isinstance(one, Tally)]
    if not seen:
        return rate
    p50, p95, p99 = (spread([getattr(one, f"answers_p{p}") for one in seen]) for p in (50, 95, 99))
    return f"{rate}; p50 {p50}, p95 {p95}, p99 {p99} ms"


def _rate(run: Tally | float) -> float:
    return run.rate if isinstance(run, Tally) else run


def _ratios(pairs: Iterable[tuple[Tally | float, Tally | float]], by_p50: bool) -> tuple[float, ...]:
    if not by_p50:
        return tuple(_rate(own) / _rate(other) for own, other in pairs)
    return tuple(
        own.answers_p50 / other.answers_p50
        for own, other in pairs
        if isinstance(own, Tally) and isinstance(other, Tally)
    )
