"""The Open Inference Protocol over gRPC by `tritonclient.grpc`: numbers, refusals and sequences are those of HTTP."""

import queue
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from service import __version__
from tests import graphs
from tests.service.models import foreign
from tests.wire.expect import Array, bits
from tests.wire.oracle import Oracle
from tests.wire.poll import until
from tests.wire.server import Server, free_port
from tests.wire.test_oip_foreign import SEVERAL
from tests.wire.triton import START


class Served:
    """A server with a port for gRPC."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.server = Server(folder, log, grpc_port=self.address.rpartition(":")[2]).wait_until_ready()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("models")
    graphs.write(folder / "lstm/1/model.onnx", "lstm", seed=2)
    graphs.running_sum(folder / "sum/1/model.onnx")
    foreign.write(folder / "several/1/model.onnx", SEVERAL)
    one = Served(folder, tmp_path_factory.mktemp("server") / "log")
    yield one
    assert one.server.stop() == 0, one.server.log
    assert not one.server.errors()


@pytest.fixture
def client(served: Served) -> Iterator[Any]:
    with triton.InferenceServerClient(served.address) as one:
        yield one


def tensor(values: Any, name: str = "input", kind: str = "FP32", dtype: Any = np.float32) -> Any:
    array = np.asarray(values, dtype)
    given = triton.InferInput(name, [*array.shape], kind)
    given.set_data_from_numpy(array)
    return given


def infer(client: Any, values: Any, model: str = "sum", **how: Any) -> Array:
    output: Array = client.infer(model, [tensor(values)], **how).as_numpy("output")
    return output


def refused(ask: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        ask()
    return str(caught.value.message()), str(caught.value.status()).removeprefix("StatusCode.")


def fault(ask: Callable[[Any], Any], request: Any) -> tuple[str | None, Any]:
    """What a refusal says, and its code."""
    with pytest.raises(grpc.RpcError) as caught:
        ask(request)
    return caught.value.details(), caught.value.code()


def test_health_metadata_configuration_and_index_are_those_of_http(client: Any, served: Served) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sum")
    assert not client.is_model_ready("none")
    assert client.get_server_metadata().version == __version__
    for ask, path in (
        (client.get_server_metadata, "/v2"),
        (lambda **how: client.get_model_metadata("several", **how), "/v2/models/several"),
        (lambda **how: client.get_model_config("lstm", **how)["config"], "/v2/models/lstm/config"),
    ):
        assert numbered(ask(as_json=True)) == numbered(httpx.get(served.server.url + path).json())
    index = {(one.name, one.version): one.state for one in client.get_model_repository_index().models}
    assert index["sum", "1"] == "READY"


def numbered(told: Any) -> Any:
    """JSON of messages has 64-bit numbers as strings, and leaves out what is 0."""
    if isinstance(told, dict):
        return {name: numbered(one) for name, one in told.items()}
    if isinstance(told, list):
        return [numbered(one) for one in told]
    return int(told) if isinstance(told, str) and told.removeprefix("-").isdigit() else told


def test_outputs_are_those_of_the_file(client: Any, served: Served, rng: np.random.Generator, tmp_path: Path) -> None:
    given = rng.standard_normal((2, 5, 3)).astype(np.float32)
    graphs.write(tmp_path / "model.onnx", "lstm", seed=2)
    oracle = Oracle(tmp_path / "model.onnx")
    assert bits(infer(client, given, "lstm")) == bits([oracle.whole(one) for one in given])
    answer = client.infer("lstm", [tensor(given)], request_id="7", compression_algorithm="gzip").get_response()
    assert (answer.model_name, answer.model_version, answer.id) == ("lstm", "1", "7")


def test_tensors_of_all_types_go_in_and_out(client: Any) -> None:
    inputs = [
        tensor([[[0.5]]], "a", "FP64", np.float64),
        tensor([[[1, -2]]], "b", "INT32", np.int32),
        tensor([[True]], "on", "BOOL", bool),
    ]
    answer = client.infer("several", inputs, outputs=[triton.InferRequestedOutput("twice")])
    assert answer.as_numpy("twice").tolist() == [[[2, -4]]]
    assert answer.as_numpy("sum") is None
    answer = client.infer("several", inputs)
    assert (answer.as_numpy("sum").tolist(), answer.as_numpy("off").tolist()) == ([[[-0.5]]], [[False]])


def test_numbers_may_stand_in_typed_contents(served: Served) -> None:
    request = triton.service_pb2.ModelInferRequest(model_name="several")
    for name, kind, shape, contents in (
        ("a", "FP64", [1, 1, 1], {"fp64_contents": [0.5]}),
        ("b", "INT32", [1, 1, 2], {"int_contents": [3, 4]}),
        ("on", "BOOL", [1, 1], {"bool_contents": [False]}),
    ):
        request.inputs.add(name=name, datatype=kind, shape=shape, contents=contents)
    with grpc.insecure_channel(served.address) as channel:
        ask = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert ask.ModelInfer(request).raw_output_contents[0] == np.float64(7.5).tobytes()
        spoilt = [triton.service_pb2.ModelInferRequest.FromString(request.SerializeToString()) for _ in range(3)]
        spoilt[0].inputs[0].contents.fp64_contents.append(1)
        spoilt[1].inputs[2].parameters["shared_memory_region"].string_param = "r"
        spoilt[2].raw_input_contents.extend([bytes(8), bytes(8), bytes(1)])
        told = [fault(ask.ModelInfer, one) for one in spoilt]
        assert [code for _, code in told] == [grpc.StatusCode.INVALID_ARGUMENT] * 3
        assert told[1][0] == "inputs[2]: shared_memory_region is not supported"
        assert told[2][0] == "inputs[0]: give either contents or raw_input_contents"
        assert fault(ask.TraceSetting, triton.service_pb2.TraceSettingRequest())[1] is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("id", [2**63 - 1, "a sequence/of 'text'"])
def test_nine_steps_add_up(client: Any, id: int | str) -> None:
    totals = []
    for step in range(1, 10):
        how = {"sequence_id": id, "sequence_start": step == 1, "sequence_end": step == 9}
        totals.append(infer(client, [[step]], **how).item())
    assert totals == [1, 3, 6, 10, 15, 21, 28, 36, 45]
    message, code = refused(lambda: infer(client, [[1]], sequence_id=id))
    assert (START in message, code) == (True, "INVALID_ARGUMENT")


def test_refusals_have_the_code_of_their_kind(client: Any) -> None:
    assert refused(lambda: client.get_model_metadata("none")) == ("no model 'none'", "NOT_FOUND")
    assert refused(lambda: infer(client, [[1, 2]]))[1] == "INVALID_ARGUMENT"
    assert refused(lambda: infer(client, [[np.nan]]))[1] == "INVALID_ARGUMENT"
    assert refused(lambda: client.infer("sum", [tensor([[1]], "x")]))[1] == "INVALID_ARGUMENT"
    assert refused(lambda: client.load_model("none"))[1] == "NOT_FOUND"
    slow = lambda: [infer(client, np.ones((64, 4000, 1)), timeout=1) for _ in range(20)]  # noqa: E731
    assert refused(slow)[1] == "DEADLINE_EXCEEDED"
    assert infer(client, [[[1], [2]]]).tolist() == [[[1], [3]]]


def test_what_is_no_message_is_the_fault_of_its_client(served: Served) -> None:
    path = "/inference.GRPCInferenceService/"
    with grpc.insecure_channel(served.address) as channel:
        ways = (channel.unary_unary(path + "ModelInfer"), channel.unary_unary(path + "ModelReady"))
        for ask in (*ways, lambda none: [*channel.stream_stream(path + "ModelStreamInfer")(iter([none]))]):
            assert fault(ask, b"\xff")[1] is grpc.StatusCode.INVALID_ARGUMENT


def test_a_large_message_is_read_and_one_of_a_million_inputs_is_refused(served: Served) -> None:
    count = 10**5
    request = triton.service_pb2.ModelInferRequest(model_name="sum")
    one = request.inputs.add(name="input", datatype="FP32", shape=[1, count, 1])
    one.contents.fp32_contents.extend([1.0] * count)
    with grpc.insecure_channel(served.address) as channel:
        told = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request).raw_output_contents[0]
        assert np.frombuffer(told, np.float32)[-1] == count
        for name, content in (("ModelInfer", b"\x2a\x00"), ("RepositoryModelLoad", b"\x12\x00")):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(f"/inference.GRPCInferenceService/{name}")(content * 10**6)
            assert caught.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_a_message_that_was_refused_is_not_kept(served: Served) -> None:
    size = 20 * 2**20
    request = triton.service_pb2.ModelInferRequest(model_name="sum", raw_input_contents=[bytes(size)])
    request.inputs.add(name="input", datatype="FP32", shape=[size // 4, 1, 1])
    rows, fields = request.SerializeToString(), b"\x2a\x00" * (size // 2)
    with grpc.insecure_channel(served.address) as channel:
        for count in (2, 20):
            before = served.server.memory()
            for name, content in (("ModelInfer", rows), ("ModelInfer", fields), ("RepositoryModelLoad", fields)):
                for _ in range(count):
                    with pytest.raises(grpc.RpcError):
                        channel.unary_unary(f"/inference.GRPCInferenceService/{name}")(content)
    assert served.server.memory() - before < 10 * size


def test_sequences_go_over_a_stream_and_an_error_does_not_end_it(client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for step in range(1, 6):
        for id in (11, "11"):
            how = {"sequence_id": id, "sequence_start": step == 1, "sequence_end": step == 5}
            client.async_stream_infer("sum", [tensor([[step if id == 11 else 10 * step]])], request_id=str(id), **how)
    client.async_stream_infer("sum", [tensor([[1]])], sequence_id=11)
    client.async_stream_infer("sum", [tensor([[7]])])
    told = [answers.get(timeout=20) for _ in range(12)]
    client.stop_stream()
    totals = [result.as_numpy("output").item() for result, error in told if error is None]
    assert totals == [1, 10, 3, 30, 6, 60, 10, 100, 15, 150, 7]
    assert START in told[10][1].message()


async def test_the_async_client_infers_and_streams(served: Served) -> None:
    async with aio.InferenceServerClient(served.address) as client:
        assert await client.is_server_ready()
        answer = await client.infer("sum", [tensor([[[1], [2]]])])
        assert answer.as_numpy("output").tolist() == [[[1], [3]]]

        async def requests() -> AsyncIterator[dict[str, Any]]:
            for step in range(3):
                how = {"sequence_id": 5, "sequence_start": step == 0, "sequence_end": step == 2}
                yield {"model_name": "sum", "inputs": [tensor([[step + 1]])], **how}

        totals = [result.as_numpy("output").item() async for result, error in client.stream_infer(requests())]
        assert totals == [1, 3, 6]


def test_statistics_count_what_was_run(client: Any) -> None:
    def seen() -> Any:
        return client.get_inference_statistics("sum", "1").model_stats[0]

    before = seen()
    infer(client, [[[1]], [[2]], [[3]]])
    after = seen()
    assert after.inference_count - before.inference_count == 3
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert {"lstm", "sum", "several"} == {one.name for one in client.get_inference_statistics().model_stats}


def test_models_are_loaded_and_unloaded_and_a_version_is_served_by_name(tmp_path: Path) -> None:
    graphs.running_sum(tmp_path / "models/sum/1/model.onnx")
    served = Served(tmp_path / "models", tmp_path / "log")
    with triton.InferenceServerClient(served.address) as client:
        client.unload_model("sum")
        assert not client.is_model_ready("sum")
        assert refused(lambda: infer(client, [[1]]))[1] == "NOT_FOUND"
        graphs.running_sum(tmp_path / "models/sum/2/model.onnx")
        client.load_model("sum")
        assert [*client.get_model_metadata("sum").versions] == ["1", "2"]
        assert client.infer("sum", [tensor([[1]])], model_version="1").get_response().model_version == "1"
        assert refused(lambda: client.load_model("sum", config="{}"))[1] == "INVALID_ARGUMENT"
        served.server.terminate()
        until(lambda: not client_is_live(served.address), what="the end")
    assert served.server.process.wait(timeout=20) == 0


def client_is_live(address: str) -> bool:
    try:
        with triton.InferenceServerClient(address) as client:
            return bool(client.is_server_live())
    except InferenceServerException:
        return False


def test_connections_are_bounded(served: Served) -> None:
    """A client that opens one after the other takes no descriptors from the others."""
    host, _, port = served.address.rpartition(":")
    before = served.server.open_files()
    with ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
        until(lambda: served.server.open_files() > before + 1000)
        assert served.server.open_files() <= before + 1024 + 8
        assert httpx.get(f"{served.server.url}/health/live").status_code == 200
    until(lambda: client_is_live(served.address), seconds=30)
