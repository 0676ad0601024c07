"""What 64 live sessions feel of four clients that send 10 000 steps at once, without pause."""

from dataclasses import dataclass

from bench import servers
from bench.generator import Load, NotRunError
from bench.report import Bound, Line, spread
from bench.servers import Server
from bench.workshop import Workshop

_SAYS = "p99 of 64 sessions' steps beside four clients of 10 000 steps a call"
_LIVE = Load("stream")
_LIVE_JSON = Load()
_FRAMES = Load("stream", connections=4, length=10_000, window=2)
_PREDICTS = Load(connections=4, length=10_000, predict=True)
_LEAD = 1.0  # seconds that the long calls run before anything is measured
_SECONDS = 5.0  # at least: a stall that no call meets is not in a p99


@dataclass(frozen=True)
class Beside:
    """Live sessions, what runs beside them, and how much slower they may become."""

    says: str
    live: Load
    long: Load
    bound: Bound | None = None


_CAROUSEL = (
    Beside("frames beside frames", _LIVE, _FRAMES, Bound(3, at_most=True)),
    Beside("frames beside JSON predicts", _LIVE, _PREDICTS),
    Beside("JSON beside JSON predicts", _LIVE_JSON, _PREDICTS),
)
_SIXTY_LINES = Beside("the sixty-line service, JSON beside JSON predicts", _LIVE_JSON, _PREDICTS)


def fairness(shop: Workshop) -> list[Line]:
    """Frames beside frames are bounded; beside JSON predicts, and the sixty lines, they are told."""
    with shop.carousel("S") as server:
        lines = [_measured(pair, shop, server) for pair in _CAROUSEL]
    with servers.sixty_lines(shop.file("S"), shop.log("sixty-lines")) as server:
        return [*lines, _measured(_SIXTY_LINES, shop, server)]


def _measured(pair: Beside, shop: Workshop, server: Server) -> Line:
    alone, beside, long_rates = [], [], []
    seconds = max(shop.seconds, _SECONDS)
    try:
        for repeat in range(shop.repeats):
            shop.say(f"repeat {repeat + 1} of {shop.repeats}, {pair.says}")
            alone.append(shop.checked(pair.live, "S", server, seconds=seconds).answers_p99)
            samples = shop.folder / "samples-long"
            running = shop.generator.start(pair.long, "S", server.port, seconds + 2 * _LEAD, samples=samples)
            beside.append(shop.checked(pair.live, "S", server, seconds=seconds, lead=_LEAD).answers_p99)
            tally = running.wait()
            shop.verify(samples, pair.long, "S", tally)
            long_rates.append(tally.rate)
    except NotRunError as reason:
        return Line(_SAYS, pair.says, f"**not run**: {reason}")
    figure = f"{spread(alone)} ms alone, {spread(beside)} ms beside {spread(long_rates)} steps/s"
    ratios = tuple(after / before for before, after in zip(alone, beside, strict=True))
    return Line(_SAYS, pair.says, figure, ratios, pair.bound)
