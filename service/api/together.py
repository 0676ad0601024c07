"""Metrics of several workers as one: the same series are added up, and what tells that something works is the least."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from prometheus_client import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Figures: TypeAlias = "list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]"  # name, text, type, samples
_LEAST = {"carousel_engine_alive"}


class Others(Protocol):
    """The other workers, through their supervisor."""

    answers: dict[str, Callable[..., Coroutine[Any, Any, Any]]]  # what they may ask this one

    async def ask_others(self, what: str, *given: Any) -> list[Any]:
        """What they answer."""


def figures(metrics: Iterable[Metric]) -> Figures:
    """Metrics as plain values."""
    return [
        (one.name, one.documentation, one.type, [(line.name, line.labels, line.value) for line in one.samples])
        for one in metrics
    ]


class Together(Collector):
    """The metrics of all workers of whom there are figures."""

    def __init__(self, workers: list[Figures]) -> None:
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        """One family for each name."""
        families: dict[str, Metric] = {}
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for name, text, kind, samples in (one for worker in self._workers for one in worker):
            families.setdefault(name, Metric(name, text, kind))
            mine = values.setdefault(name, {})
            for line, labels, value in samples:
                key = line, tuple(labels.items())
                if name in _LEAST:
                    mine[key] = min(mine.get(key, value), value)
                else:
                    mine[key] = mine.get(key, 0.0) + value
        for name, family in families.items():
            for (line, pairs), value in values[name].items():
                family.add_sample(line, dict(pairs), value)
            yield family
        count = Metric("carousel_workers", "Workers of whom these figures are", "gauge")
        count.add_sample("carousel_workers", {}, len(self._workers))
        yield count
