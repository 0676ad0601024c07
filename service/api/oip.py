"""The Open Inference Protocol v2 over HTTP, `/v2`: what an unmodified `tritonclient` asks, but for infer itself.

What the protocol leaves open is decided in docs/wire.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from service import __version__
from service.api import oip_tensors
from service.api.http import body
from service.api.http.request import INFER
from service.api.json.codec import parse_any
from service.errors import InvalidRequest, Overloaded

if TYPE_CHECKING:
    from service.api.oip_infer import Infer
    from service.api.oip_tensors import Laid
    from service.engine.engine import Engine
    from service.models.repository import Repository
    from service.settings import Settings

MOST_ASKED = 2**16  # bytes of a body that asks about models
_EXTENSIONS = [
    "binary_tensor_data",
    "sequence",
    "sequence(string_id)",
    "model_repository",
    "statistics",
    "model_configuration",
]


class Oip:
    """The routes, over what they call. `unready` says why traffic should not come, or None.

    `reload` follows changes of a model's folder, and says what went wrong.
    """

    def __init__(
        self,
        repository: Repository,
        settings: Settings,
        infer: Infer,
        unready: Callable[[], str | None],
        reload: Callable[[str], Awaitable[list[str]]],
    ) -> None:
        self._repository, self._settings, self._infer = repository, settings, infer
        self._unready, self._reload = unready, reload

    def router(self) -> APIRouter:
        """All routes of `/v2`. The protocol documents itself: they are not in our OpenAPI document."""
        router = APIRouter(include_in_schema=False)
        of_model: tuple[tuple[str, Callable[..., Any]], ...] = (
            ("", self.metadata),
            ("/ready", self.model_ready),
            ("/config", self.config),
            ("/stats", self.stats),
        )
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", "/v2", self.server),
            ("GET", "/v2/health/live", self.live),
            ("GET", "/v2/health/ready", self.ready),
            ("GET", "/v2/models/stats", self.all_stats),
            ("POST", INFER, self.infer),
            ("POST", "/v2/models/{model}/versions/{version}/infer", self.infer),
            ("POST", "/v2/repository/index", self.index),
            ("POST", "/v2/repository/models/{model}/load", self.load),
            ("POST", "/v2/repository/models/{model}/unload", self.unload),
        ]
        for path, route in of_model:
            routes += [("GET", f"/v2/models/{{model}}{at}{path}", route) for at in ("", "/versions/{version}")]
        for verb, path, route in routes:
            router.add_api_route(path, route, methods=[verb])
        return router

    async def server(self) -> Response:
        """What the service is, and the extensions that work."""
        return body.answer({"name": "carousel", "version": __version__, "extensions": _EXTENSIONS})

    async def live(self) -> Response:
        """The process answers."""
        return Response()

    async def ready(self) -> Response:
        """Whether traffic should come here."""
        if (reason := self._unready()) is not None:
            raise Overloaded(reason)
        return Response()

    async def model_ready(self, model: str, version: str | None = None) -> Response:
        """Whether a version is served."""
        self._repository.ready(model, version)
        return Response()

    async def metadata(self, model: str, version: str | None = None) -> Response:
        """The tensors of a model: what a request must have and what it gets."""
        _, served = self._repository.ready(model, version)
        inputs, outputs = oip_tensors.listed(served)
        versions = [one.version for one in self._repository.versions() if one.model == model and one.engine]
        return body.answer(
            {
                "name": model,
                "versions": versions,
                "platform": "onnxruntime_onnx",
                "inputs": [_tensor(one) for one in inputs],
                "outputs": [_tensor(one) for one in outputs],
            }
        )

    async def config(self, model: str, version: str | None = None) -> Response:
        """A model's configuration, as load tools read it: `sequence_batching` is there if it takes sequences."""
        engine, served = self._repository.ready(model, version)
        inputs, outputs = oip_tensors.listed(served)
        batched = all(port.batch == 0 for port in (*served.tensors.inputs, *served.tensors.outputs))
        told: dict[str, Any] = {
            "name": model,
            "platform": "onnxruntime_onnx",
            "backend": "onnxruntime",
            "max_batch_size": self._settings.max_queue_rows if batched else 0,
            "input": [_configured(one, batched=batched) for one in inputs],
            "output": [_configured(one, batched=batched) for one in outputs],
        }
        if engine.fitness.streamable:
            idle = round(self._settings.default_ttl_seconds * 1e6)
            told["sequence_batching"] = {"max_sequence_idle_microseconds": idle}
        return body.answer(told)

    async def infer(self, request: Request, model: str, version: str | None = None) -> Response:
        """Run sequences, or steps of one that is kept."""
        return await self._infer.respond(request, INFER, model, version)

    async def stats(self, model: str, version: str | None = None) -> Response:
        """Counts and durations of a model's versions."""
        self._repository.ready(model, version)
        return self._stats(lambda engine: engine.name == model and version in (None, engine.version))

    async def all_stats(self) -> Response:
        """Counts and durations of all ready versions."""
        return self._stats(lambda engine: True)

    def _stats(self, which: Callable[[Engine], bool]) -> Response:
        return body.answer({"model_stats": [_statistics(one) for one in self._repository.engines() if which(one)]})

    async def index(self, request: Request) -> Response:
        """All versions and their states."""
        return await self.index_of(only_ready=(await self._object(request)).get("ready") is True)

    async def index_of(self, *, only_ready: bool) -> Response:
        """See index."""
        return body.answer(
            [
                {"name": one.model, "version": one.version, "state": one.state.upper(), "reason": one.reason or ""}
                for one in self._repository.versions()
                if one.state == "ready" or not only_ready
            ]
        )

    async def load(self, request: Request, model: str) -> Response:
        """Look at a model's folder, and serve what is there now."""
        return await self.load_model(model, (await self._object(request)).get("parameters"))

    async def load_model(self, model: str, parameters: object) -> Response:
        """See load."""
        if parameters:
            raise InvalidRequest("parameters: a model is loaded from its folder, as it is there")
        if faults := await self._reload(model):
            raise InvalidRequest(f"model {model!r}: {'; '.join(faults)}")
        return Response()

    async def unload(self, request: Request, model: str) -> Response:
        """Serve a model no more."""
        await self._object(request)
        return await self.unload_model(model)

    async def unload_model(self, model: str) -> Response:
        """See unload."""
        await self._repository.unload(model)
        return Response()

    async def _object(self, request: Request) -> dict[str, Any]:
        """The body, which may be empty."""
        text = await body.read(request, MOST_ASKED)
        return parse_any(text) if text else {}


def _tensor(one: Laid) -> dict[str, Any]:
    return {"name": one.name, "datatype": one.datatypes[0], "shape": one.shape()}


def _configured(one: Laid, *, batched: bool) -> dict[str, Any]:
    """An input or output in the words of a configuration: without the batch, where the model has one."""
    dims = one.shape()[1 if batched and one.batch == 0 else 0 :]
    return {"name": one.name, "data_type": f"TYPE_{one.datatypes[0]}", "dims": dims}


def _statistics(engine: Engine) -> dict[str, Any]:
    """Tools divide durations by counts, which have to agree: all are of the sequences that were answered."""
    now = engine.statistics()
    running = sum(rows * seconds for rows, (_, seconds) in now.batches.items())  # each waits for all of its tick
    return {
        "name": engine.name,
        "version": engine.version,
        "last_inference": round(1000 * now.last),
        "inference_count": now.done,
        "execution_count": sum(now.running.counts),
        "inference_stats": {
            "success": _duration(now.done, now.done_seconds),
            "fail": _duration(sum(now.refused.values()), 0.0),
            "queue": _duration(now.done, now.queued.total),
            **_compute(now.done, running, now.answering.total),
        },
        "batch_stats": [{"batch_size": rows} | _compute(*told) for rows, told in sorted(now.batches.items())],
    }


def _compute(count: int, seconds: float, after: float = 0.0) -> dict[str, Any]:
    """Durations in the model, and after it; what a door does before it is not measured."""
    return {
        "compute_input": _duration(count, 0.0),
        "compute_infer": _duration(count, seconds),
        "compute_output": _duration(count, after),
    }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(1e9 * seconds)}
