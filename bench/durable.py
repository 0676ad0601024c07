"""What durable stores cost: the same loads with it and without."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.crowd import CROWD
from bench.generator import Load, Tally
from bench.report import Bound, Line, spread
from bench.rows import ROWS, figures
from bench.workshop import Workshop
from tests.redis_server import RedisServer

_ROOM = {"max_sessions": 5_000_000, "max_session_bytes": 2**33}  # each repeat opens its own
_STORES: dict[str, dict[str, object]] = {
    "embedded": {},
    "embedded, CAROUSEL_STORE_WRITE=behind": {"store_write": "behind"},
    "embedded, CAROUSEL_STORE_SYNC=1": {"store_sync": 1},
    "redis": {"store": "redis"},
}


@dataclass(frozen=True)
class _Row:
    """A load, what it must reach of the rate with `memory`, and how often its p99 may be that of `memory`."""

    says: str
    load: Load
    rates: dict[str, float]
    p99: float | None


_LOADS = (
    _Row(
        ROWS["many-S"].says,
        ROWS["many-S"].load,
        {"embedded": 0.9, "embedded, CAROUSEL_STORE_WRITE=behind": 0.95, "redis": 0.4},
        1.5,
    ),
    _Row(ROWS["frames-1"].says, ROWS["frames-1"].load, {"embedded": 0.9}, 1.5),
)
_CROWD = _Row("100 000 sessions stepped in turn, S", replace(CROWD, count=0, warm=1.0), {"embedded": 0.6}, None)


def durable(shop: Workshop) -> list[Line]:
    """In each repeat all servers are measured in turn, over stores of their own; records are written meanwhile."""
    return [line for row in _LOADS for line in _measure(row, shop)]


def durable_crowd(shop: Workshop) -> list[Line]:
    """A repeat takes a minute, most of it until all are open: three are enough."""
    return _measure(_CROWD, replace(shop, repeats=min(shop.repeats, 3)))


def _measure(row: _Row, shop: Workshop) -> list[Line]:
    # a crowd is opened one by one: with sync that takes over a minute, and says nothing of steps
    stores = _STORES if row.p99 is not None else {"embedded": _STORES["embedded"]}
    runs: dict[str, list[Tally | float]] = {name: [] for name in ("memory", *stores)}
    costs: dict[str, list[float]] = {name: [] for name in runs}  # µs of CPU a step
    with ExitStack() as running:
        servers = {"memory": running.enter_context(shop.carousel("S", store="memory", **_ROOM))}
        for name, settings in stores.items():
            more = _settings(shop, row.says + name) | settings
            if name == "redis":
                redis = RedisServer(shop.folder / "redis" / str(_LOADS.index(row)))
                running.callback(redis.kill)
                more["store_url"] = redis.url
            servers[name] = running.enter_context(shop.carousel("S", **more, **_ROOM))
        for repeat in range(shop.repeats):
            for name, server in servers.items():
                shop.say(f"{row.says}, repeat {repeat + 1} of {shop.repeats}, {name}")
                begin, tally = server.cpu(), shop.checked(row.load, "S", server)
                runs[name].append(tally)
                costs[name].append(1e6 * (server.cpu() - begin) / tally.all_steps)
    lines = [Line(row.says, "memory", f"{figures(runs['memory'])}; {spread(costs['memory'])} µs of CPU a step")]
    for name in stores:
        pairs = zip(runs[name], runs["memory"], strict=True)
        seen = [(one, other) for one, other in pairs if isinstance(one, Tally) and isinstance(other, Tally)]
        must = name == "embedded"
        rates = tuple(one.rate / other.rate for one, other in seen)
        late = tuple(one.answers_p99 / other.answers_p99 for one, other in seen)
        lines.append(
            Line(row.says, name, figures(runs[name]), rates, Bound(row.rates[name]) if name in row.rates else None)
        )
        shares = tuple(other / one for one, other in zip(costs[name], costs["memory"], strict=True))
        lines.append(Line(row.says, f"{name}: CPU a step of memory ÷ its own", f"{spread(costs[name])} µs", shares))
        if row.p99 is not None:
            bound = Bound(row.p99, at_most=True) if must else None
            lines.append(Line(row.says, f"{name}: p99 ÷ that of memory", "", late, bound))
    return lines


def _settings(shop: Workshop, name: str) -> dict[str, object]:
    path: Path = shop.folder / "stores" / "".join(c for c in name if c.isalnum())
    return {"store": "embedded", "store_path": path}
