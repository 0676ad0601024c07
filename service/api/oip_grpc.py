"""The Open Inference Protocol over gRPC: its messages become what `oip` and `oip_infer` take, and answers messages.

The messages are those that `tritonclient` was generated with, so both sides have one definition. Imported where the
service is told a port for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import orjson
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from tritonclient.grpc import service_pb2 as pb

from service.api import oip_messages, oip_tensors
from service.api.http.request import INFER, Asked
from service.api.oip import MOST_ASKED
from service.api.oip_infer import Infer
from service.engine.call import Deadline
from service.errors import CarouselError

if TYPE_CHECKING:
    from starlette.responses import Response

    from service.api.oip import Oip
    from service.api.oip_codec import Header
    from service.api.oip_messages import Message
    from service.api.oip_tensors import Rows
    from service.engine.engine import Engine
    from service.models.model import Array
    from service.settings import Settings

_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_LAST_SECONDS = 1.0  # for what was answered to be sent
_MOST = 1024  # connections, and calls at once, streams among them
_IDLE_MS = 300_000  # milliseconds after which a connection without a call is closed
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    410: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

_log = logging.getLogger("carousel.grpc")


class Called(Asked):
    """One inference by gRPC; its answer is a message."""

    __slots__ = ("told",)

    def __init__(self, message: Message) -> None:
        super().__init__(INFER, message.model, {}, len(message.raw))
        self.version = message.version or None
        self.told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answer(self, response: Response) -> None:
        """See Asked. What HTTP has an answer for, without a call: the client has left."""
        self.told.cancel()

    def refuse(self, error: CarouselError) -> None:
        """See Asked."""
        if not self.told.done():
            self.told.set_exception(error)


class InferByGrpc(Infer):
    """As `Infer`, by messages."""

    async def read(self, content: bytes) -> Message:
        """Read a message. Raises InvalidRequest: it is none; Overloaded: too many bytes wait to be read."""
        short = oip_messages.beside_raw(content) <= oip_messages.SHORT
        return oip_messages.read(content) if short else await self._pool.parse_by(content, oip_messages.read)

    def begin(self, message: Message, deadline: Deadline | None) -> Called:
        """Begin an inference. `told` of what is returned is its answer."""
        asked = Called(message)

        def begin() -> None:
            if isinstance(message.header, CarouselError):
                raise message.header
            self.spare(asked, asked.length)
            self._infer(asked, memoryview(message.raw), deadline, message.header)

        self._try(asked, begin)
        return asked

    def _tell(self, asked: Asked, told: Header, engine: Engine, given: Rows, outputs: Array) -> None:
        answer = pb.ModelInferResponse(model_name=engine.name, model_version=engine.version, id=told.id or "")
        for (one, _, _), array in zip(given.outputs, oip_tensors.answers(given, outputs), strict=True):
            answer.outputs.add(name=one.name, datatype=one.datatypes[0], shape=array.shape)
            answer.raw_output_contents.append(array.tobytes())
        if isinstance(asked, Called) and not asked.told.done():
            asked.told.set_result(answer)


class GrpcDoor:
    """Serves the protocol on a port of its own."""

    def __init__(self, oip: Oip, infer: InferByGrpc, settings: Settings) -> None:
        self._oip, self._infer, self._settings = oip, infer, settings
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            RuntimeError: the port cannot be had.

        """
        size = ("grpc.max_receive_message_length", self._settings.max_body_bytes)
        options = [size, ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
        head_ms = round(1000 * self._settings.head_seconds)
        options += [("grpc.max_allowed_incoming_connections", _MOST), ("grpc.server_handshake_timeout_ms", head_ms)]
        options += [("grpc.max_connection_idle_ms", _IDLE_MS)]
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=_MOST)
        told: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "ServerLive": lambda asked: _holds(self._oip.live(), "live"),
            "ServerReady": lambda asked: _holds(self._oip.ready(), "ready"),
            "ModelReady": lambda asked: _holds(self._oip.model_ready(asked.name, asked.version or None), "ready"),
            "ServerMetadata": lambda asked: self._oip.server(),
            "ModelMetadata": lambda asked: self._oip.metadata(asked.name, asked.version or None),
            "ModelConfig": lambda asked: _within(self._oip.config(asked.name, asked.version or None), "config"),
            "ModelStatistics": self._statistics,
            "RepositoryIndex": lambda asked: _within(self._oip.index_of(only_ready=asked.ready), "models"),
            "RepositoryModelLoad": lambda asked: self._oip.load_model(asked.model_name, asked.parameters),
            "RepositoryModelUnload": lambda asked: self._oip.unload_model(asked.model_name),
        }
        handlers = {name: _unary(name, _answering(name, tell)) for name, tell in told.items()}
        one = grpc.unary_unary_rpc_method_handler(self._one, None, pb.ModelInferResponse.SerializeToString)
        handlers["ModelInfer"] = one
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._stream, None, pb.ModelStreamInferResponse.SerializeToString
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE.full_name, handlers),))
        host = self._settings.host
        bound = self._server.add_insecure_port(f"{f'[{host}]' if ':' in host else host}:{self._settings.grpc_port}")
        await self._server.start()
        _log.info("serving grpc://%s:%d", self._settings.host, bound)

    async def stop(self) -> None:
        """Serve no more; what was accepted has ended."""
        if self._server is not None:
            await self._server.stop(_LAST_SECONDS)

    async def _statistics(self, asked: Any) -> Response:
        return await (self._oip.stats(asked.name, asked.version or None) if asked.name else self._oip.all_stats())

    async def _one(self, content: bytes, context: Any) -> Any:
        """ModelInfer."""
        left = context.time_remaining()
        deadline = None if left is None else Deadline(time.monotonic() + left)
        called: Called | None = None
        try:
            called = self._infer.begin(await self._infer.read(content), deadline)
            return await called.told
        except asyncio.CancelledError:  # the client has left
            if called is not None:
                called.leave()
            raise
        except CarouselError as error:
            refusal = error.with_traceback(None)
        content, called = b"", None  # what `abort` raises refers to this frame, and is referred to by the context
        return await context.abort(_code(refusal), refusal.detail)

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        """ModelStreamInfer: requests of a stream are answered one after the other, errors among them."""
        async for content in requests:
            try:
                message = await self._infer.read(content)
            except CarouselError as error:
                del content  # see above
                await context.abort(_code(error), error.with_traceback(None).detail)
            called = self._infer.begin(message, None)
            try:
                answer = await called.told
            except asyncio.CancelledError:
                called.leave()
                raise
            except CarouselError as error:
                error.__traceback__ = None  # it refers to this frame
                failed = pb.ModelInferResponse(model_name=message.model, id=message.id)
                yield pb.ModelStreamInferResponse(error_message=error.detail, infer_response=failed)
            else:
                answer.parameters["triton_final_response"].bool_param = True
                yield pb.ModelStreamInferResponse(infer_response=answer)


def _unary(name: str, serve: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    method = _SERVICE.methods_by_name[name]
    asked, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)

    async def read_and_serve(content: bytes, context: Any) -> Any:
        size, content = len(content), content[:MOST_ASKED]  # what `abort` raises would hold all of it
        if size > MOST_ASKED:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a message of {size} bytes, and no inference")
        return await serve(await _read(asked, content, context), context)

    return grpc.unary_unary_rpc_method_handler(read_and_serve, None, response.SerializeToString)


async def _read(message: Any, content: bytes, context: Any) -> Any:
    """Read a message. Where gRPC itself does, one that is none is logged as a defect of ours."""
    try:
        return message.FromString(content)
    except DecodeError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


def _answering(name: str, tell: Callable[[Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    """Answer a call by what HTTP answers: the fields of the messages have the names of its JSON."""
    message = GetMessageClass(_SERVICE.methods_by_name[name].output_type)

    async def serve(request: Any, context: Any) -> Any:
        try:
            told = await tell(request)
        except CarouselError as error:
            await context.abort(_code(error), error.detail)
        fields = told if isinstance(told, dict) else orjson.loads(told.body or b"{}")
        return ParseDict(fields, message(), ignore_unknown_fields=True)

    return serve


async def _holds(told: Awaitable[Response], name: str) -> dict[str, bool]:
    try:
        await told
    except CarouselError:
        return {name: False}
    return {name: True}


async def _within(told: Awaitable[Response], name: str) -> dict[str, Any]:
    return {name: orjson.loads((await told).body)}


def _code(error: CarouselError) -> grpc.StatusCode:
    return _CODES.get(error.status, grpc.StatusCode.INTERNAL)
