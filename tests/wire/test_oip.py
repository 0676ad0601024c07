"""The Open Inference Protocol by `tritonclient`: health, metadata, infer in every form, statistics."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.http import aio

from service import __version__
from tests.wire.expect import Array, bits
from tests.wire.oracle import Oracle
from tests.wire.server import Server
from tests.wire.triton import infer, refused, tensor


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as one:
        yield one


def sequences(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal((*shape, 3)).astype(np.float32)


def wanted(*, binary: bool | None) -> list[Any] | None:
    return None if binary is None else [triton.InferRequestedOutput("output", binary_data=binary)]


def test_health_is_told_of_the_server_of_models_and_of_versions(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("lstm")
    assert client.is_model_ready("lstm", "2")
    assert not client.is_model_ready("lstm", "11")
    assert not client.is_model_ready("none")


def test_metadata_list_what_works_and_hide_states(client: Any) -> None:
    server = client.get_server_metadata()
    assert (server["name"], server["version"]) == ("carousel", __version__)
    assert {"binary_tensor_data", "sequence", "sequence(string_id)", "statistics"} <= {*server["extensions"]}
    assert client.get_model_metadata("lstm", "1") == {
        "name": "lstm",
        "versions": ["1", "2", "10"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, -1, 3]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, -1, 2]}],
    }


def test_a_configuration_tells_whether_a_model_takes_sequences(client: Any) -> None:
    assert client.get_model_config("lstm")["sequence_batching"]
    assert client.get_model_config("lstm", "1")["name"] == "lstm"
    assert "sequence_batching" not in client.get_model_config("bidirectional")


def test_the_index_tells_all_versions_and_why_one_is_unavailable(client: Any, server: Server) -> None:
    index = {(one["name"], one["version"]): one for one in client.get_model_repository_index()}
    assert index["lstm", "10"]["state"] == "READY"
    assert index["lstm", "11"]["state"] == "UNAVAILABLE"
    assert index["lstm", "11"]["reason"]
    ready = httpx.post(f"{server.url}/v2/repository/index", json={"ready": True}).json()
    assert ("lstm", "11") not in {(one["name"], one["version"]) for one in ready}


@pytest.mark.parametrize(
    ("sent", "asked", "packed"), [*product((True, False), (None, True, False), (None, "gzip", "deflate"))]
)
def test_every_form_of_infer_gives_the_same_bits(
    client: Any, oracle: Oracle, rng: np.random.Generator, *, sent: bool, asked: bool | None, packed: str | None
) -> None:
    given = sequences(rng, 2, 5)
    how = {"request_compression_algorithm": packed, "response_compression_algorithm": packed}
    answer = client.infer("lstm", [tensor(given, binary=sent)], outputs=wanted(binary=asked), request_id="7", **how)
    told = answer.get_response()
    assert (told["model_name"], told["model_version"], told["id"]) == ("lstm", "10", "7")
    assert ("data" in told["outputs"][0]) is (asked is False)
    assert bits(answer.as_numpy("output")) == bits([oracle.whole(one) for one in given])


async def test_the_async_client_does_the_same(server: Server, oracle: Oracle, rng: np.random.Generator) -> None:
    given = sequences(rng, 1, 4)
    async with aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert await client.is_server_ready()
        assert (await client.get_model_metadata("lstm"))["name"] == "lstm"
        for sent, packed in product((True, False), (None, "gzip")):
            how = {"request_compression_algorithm": packed, "response_compression_algorithm": packed}
            answer = await client.infer("lstm", [tensor(given, binary=sent)], **how)
            assert bits(answer.as_numpy("output")[0]) == bits(oracle.whole(given[0]))


def test_a_version_is_served_by_name(client: Any, rng: np.random.Generator) -> None:
    given = sequences(rng, 1, 3)
    assert client.infer("lstm", [tensor(given)], model_version="1").get_response()["model_version"] == "1"
    assert not np.array_equal(infer(client, "lstm", given, model_version="1"), infer(client, "lstm", given))


def test_single_steps_may_leave_the_time_out(client: Any, rng: np.random.Generator) -> None:
    given = sequences(rng, 4)
    whole = infer(client, "lstm", given[:, None])
    assert bits(infer(client, "lstm", given)) == bits(whole[:, 0])


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("binary", [True, False])
def test_rows_may_differ_in_length(
    client: Any, oracle: Oracle, rng: np.random.Generator, kind: Any, binary: bool
) -> None:
    given = sequences(rng, 3, 6)
    lengths = tensor([6, 1, 4], "lengths", kind, binary=binary)
    output = client.infer("lstm", [tensor(given, binary=binary), lengths]).as_numpy("output")
    assert output.shape == (3, 6, 2)
    for row, length in enumerate([6, 1, 4]):
        assert bits(output[row, :length]) == bits(oracle.whole(given[row, :length]))
        assert not output[row, length:].any()


def test_large_json_is_read_and_written_beside_the_loop(client: Any, rng: np.random.Generator) -> None:
    given = sequences(rng, 20, 2000)
    whole = infer(client, "lstm", given)
    assert np.array_equal(infer(client, "lstm", given, binary=False, outputs=wanted(binary=False)), whole)


def test_statistics_count_what_was_run(client: Any) -> None:
    def seen() -> dict[str, Any]:
        (one,) = client.get_inference_statistics("sum", "1")["model_stats"]
        return dict(one)

    before = seen()
    infer(client, "sum", [[[1]], [[2]], [[3]]])
    refused(lambda: infer(client, "sum", [[[1]]], sequence_id="nobody"))
    after = seen()
    assert after["inference_count"] - before["inference_count"] == 3
    assert after["execution_count"] - before["execution_count"] == 1
    for name in ("success", "queue", "compute_infer", "compute_output"):
        assert after["inference_stats"][name]["ns"] > before["inference_stats"][name]["ns"]
    assert after["last_inference"] > before["last_inference"] or not before["last_inference"]
    assert {"batch_size", "compute_infer"} <= after["batch_stats"][0].keys()
    everything = client.get_inference_statistics()["model_stats"]
    assert {("lstm", "1"), ("lstm", "10"), ("sum", "1")} <= {(one["name"], one["version"]) for one in everything}


def test_a_timeout_in_microseconds_is_a_deadline(client: Any, rng: np.random.Generator) -> None:
    given = sequences(rng, 64, 200)
    assert len(infer(client, "lstm", given, timeout=60_000_000)) == 64
    message, status = refused(lambda: [infer(client, "lstm", given, timeout=1) for _ in range(20)])
    assert (status, "deadline" in message.lower()) == (504, True)
    assert len(infer(client, "lstm", given, timeout=0)) == 64  # Triton takes 0 for none


def test_errors_are_told_by_the_client_in_our_words(client: Any) -> None:
    assert refused(lambda: client.get_model_metadata("none")) == ("no model 'none'", 404)
    assert refused(lambda: infer(client, "lstm", [[[1, 2]]]))[1] == 422
    assert refused(lambda: client.infer("lstm", [tensor([[[1, 2, 3]]], kind=np.int32)]))[1] == 400
    assert "server: name a sequence_id" in refused(lambda: client.infer("lstm", [tensor([[1]], "state.h")]))[0]
    assert refused(lambda: infer(client, "lstm", [[[1, 2, np.nan]]]))[1] == 422
    assert refused(client.get_log_settings)[1] == 404
    assert refused(lambda: client.infer("lstm", [tensor([[[1, 2, 3]]])], outputs=[triton.InferRequestedOutput("h")]))
