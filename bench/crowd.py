"""100 000 open sessions: how long they take to open, what they weigh, and whether the active ones feel them."""

from bench.generator import Load
from bench.report import Bound, Line, spread
from bench.workshop import Workshop

SESSIONS = 100_000
_SAYS = "100 000 open sessions of S"
_ACTIVE = Load("stream")
CROWD = Load("stream", connections=4, sessions=SESSIONS // 4, items=250, count=SESSIONS // 4 // 250, warm=0)
_LEAD = 1.0  # seconds: a server that has just started is slower
_BYTES = 1024 + 64 + 300  # its state, its answer, and what is written down about it


def crowd(shop: Workshop) -> list[Line]:
    """A fresh server each time: memory before the first session, and after each has taken a step."""
    opening, weight, slower = [], [], []
    for repeat in range(shop.repeats):
        shop.say(f"repeat {repeat + 1} of {shop.repeats}")
        with shop.carousel("S") as server:
            before = server.memory()
            alone = shop.checked(_ACTIVE, "S", server, lead=_LEAD)
            tally = shop.checked(CROWD, "S", server)
            weight.append((server.memory() - before) / SESSIONS)
            opening.append(tally.opening)
            slower.append(shop.checked(_ACTIVE, "S", server, lead=_LEAD).answers_p99 / alone.answers_p99)
    return [
        Line(_SAYS, "bytes a session", f"{spread(weight)} B", tuple(weight), Bound(_BYTES, at_most=True)),
        Line(_SAYS, "seconds to open all", f"{spread(opening)} s", tuple(opening), Bound(20, at_most=True)),
        Line(_SAYS, "p99 of 64 active ones, ÷ that before", "", tuple(slower), Bound(1.3, at_most=True)),
    ]
