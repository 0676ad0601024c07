"""For operators: liveness, readiness, metrics. Decides nothing; shows what the parts say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.api.http import body
from service.api.openapi import described
from service.api.together import Figures, Together, figures

if TYPE_CHECKING:
    from service.api.guard import Guard
    from service.api.http.edge import Edge
    from service.api.together import Others
    from service.engine.statistics import Distribution, EngineStatistics
    from service.models.repository import Repository
    from service.sessions.sessions import Sessions

_LABELS = ["model", "version"]


class Ops:
    """`/health/live`, `/health/ready` and `/metrics`. `unready` says why traffic should not come, or None."""

    def __init__(self, unready: Callable[[], str | None], metrics: Metrics, others: Others | None = None) -> None:
        self._unready, self._metrics, self._others = unready, metrics, others
        if others is not None:
            others.answers["metrics"] = self._figures

    def router(self) -> APIRouter:
        """The three routes."""
        router = APIRouter()
        for path, route in (
            ("/health/live", self.live),
            ("/health/ready", self.ready),
            ("/metrics", self.metrics),
        ):
            router.add_api_route(path, route, methods=["GET"], **described(route.__name__))
        return router

    async def live(self) -> Response:
        """The process answers."""
        return body.answer({"live": True})

    async def ready(self) -> Response:
        """Whether traffic should come here."""
        reason = self._unready()
        return body.answer({"ready": False, "reason": reason}, 503) if reason else body.answer({"ready": True})

    async def metrics(self) -> Response:
        """All statistics, as Prometheus text; of all workers together, whichever is asked."""
        told: Collector = self._metrics
        if self._others is not None:
            told = Together([await self._figures(), *await self._others.ask_others("metrics")])
        registry = CollectorRegistry(auto_describe=False)
        registry.register(told)
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _figures(self) -> Figures:
        return figures(self._metrics.collect())


class Metrics(Collector):
    """Pulls the frozen statistics of all parts when they are asked for."""

    def __init__(self, repository: Repository, sessions: Sessions, edge: Edge, guard: Guard) -> None:
        self._repository, self._sessions, self._edge, self._guard = repository, sessions, edge, guard

    def collect(self) -> Iterable[Metric]:
        """Families, anew for each scrape."""
        yield from self._of_sessions()
        yield from self._of_engines()
        answers = CounterMetricFamily("carousel_http_answers", "HTTP answers", labels=["method", "route", "status"])
        for (method, route, status), count in self._edge.answers.items():
            answers.add_metric([method, route, str(status)], count)
        yield answers
        yield from self._of_connections()

    def _of_shadows(self) -> Iterable[Metric]:
        labels = [*_LABELS, "shadow"]
        apart = HistogramMetricFamily(
            "carousel_shadow_apart", "How far a shadow's outputs of a step are", labels=labels
        )
        skipped = CounterMetricFamily("carousel_shadow_skipped", "Rows that a shadow did not compare", labels=labels)
        for one in self._repository.engines():
            if (shadow := one.shadow) is not None:
                names = [one.name, one.version, shadow.engine.version]
                apart.add_metric(names, *_buckets(shadow.apart))
                skipped.add_metric(names, shadow.skipped)
        yield from (apart, skipped)

    def _of_connections(self) -> Iterable[Metric]:
        now = self._guard.statistics()
        yield GaugeMetricFamily("carousel_connections", "Open connections", now.connections)
        yield GaugeMetricFamily("carousel_connections_most", "Connections that may be open", now.most_connections)
        yield GaugeMetricFamily("carousel_unfinished_bytes", "Bytes of messages on their way", now.unfinished_bytes)
        yield GaugeMetricFamily("carousel_unread_bytes", "Bytes of answers that clients do not read", now.unread_bytes)
        yield CounterMetricFamily("carousel_connections_refused", "Connections refused: too many", now.refused)
        yield CounterMetricFamily("carousel_connections_cut", "Connections cut: answers not read", now.cut)

    def _of_sessions(self) -> Iterable[Metric]:
        now = self._sessions.statistics()
        live = GaugeMetricFamily("carousel_sessions", "Live sessions", labels=["state"])
        for state, count in now.by_state.items():
            live.add_metric([state], count)
        yield live
        yield GaugeMetricFamily("carousel_session_state_bytes", "State held for sessions", now.state_bytes)
        yield GaugeMetricFamily("carousel_kept_answer_bytes", "Answers kept for retries", now.kept_bytes)
        yield CounterMetricFamily("carousel_sessions_opened", "Sessions opened", now.opened)
        yield CounterMetricFamily("carousel_sessions_deleted", "Sessions deleted", now.deleted)
        yield CounterMetricFamily("carousel_sessions_expired", "Sessions expired", now.expired)

    def _of_engines(self) -> Iterable[Metric]:
        engines = [([one.name, one.version], one.statistics()) for one in self._repository.engines()]
        gauges: tuple[tuple[str, str, Callable[[EngineStatistics], float]], ...] = (
            ("carousel_engine_alive", "1 while the engine runs", lambda now: now.alive),
            ("carousel_waiting_rows", "Rows accepted and not answered", lambda now: now.waiting_rows),
            ("carousel_waiting_bytes", "Bytes of inputs and outputs of waiting rows", lambda now: now.waiting_bytes),
        )
        counters: tuple[tuple[str, str, Callable[[EngineStatistics], float]], ...] = (
            ("carousel_steps", "Time steps run", lambda now: now.steps),
            ("carousel_padded_steps", "Time steps run in vain, as padding", lambda now: now.padded_steps),
        )
        for kind, families in ((GaugeMetricFamily, gauges), (CounterMetricFamily, counters)):
            for name, text, value in families:
                family = kind(name, text, labels=_LABELS)
                for labels, now in engines:
                    family.add_metric(labels, value(now))
                yield family
        distributions: tuple[tuple[str, str, Callable[[EngineStatistics], Distribution]], ...] = (
            ("carousel_tick_rows", "Rows in a tick", lambda now: now.rows),
            ("carousel_queued_seconds", "From the arrival of a work to each of its ticks", lambda now: now.queued),
            ("carousel_model_seconds", "Of a tick in the model", lambda now: now.running),
            ("carousel_answer_seconds", "Of a tick to keep, tell and encode its answers", lambda now: now.answering),
        )
        for name, text, seen in distributions:
            histogram = HistogramMetricFamily(name, text, labels=_LABELS)
            for labels, now in engines:
                histogram.add_metric(labels, *_buckets(seen(now)))
            yield histogram
        yield from self._of_shadows()
        refused = CounterMetricFamily("carousel_refused", "Refused, or ended unapplied", labels=[*_LABELS, "code"])
        for labels, now in engines:
            for code, count in now.refused.items():
                refused.add_metric([*labels, code], count)
        yield refused


def _buckets(seen: Distribution) -> tuple[list[tuple[str, float]], float]:
    """As Prometheus counts: each bucket with those below it."""
    return list(zip([*map(str, seen.bounds), "+Inf"], accumulate(seen.counts), strict=True)), seen.total
