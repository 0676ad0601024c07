"""Several workers over one port, seen from outside: started again, killed if they stand still, told of together."""

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from tests import graphs
from tests.redis_server import RedisServer
from tests.wire.expect import done
from tests.wire.poll import until
from tests.wire.server import CAROUSEL, Server, environment
from tests.wire.ws import dial

Launch = Callable[..., Server]
_LEASE = 3  # a busy machine lets a process wait for a second


@pytest.fixture(params=["embedded", "redis"])
def shared(request: pytest.FixtureRequest, launch: Launch, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a service of workers over the same store again and again."""
    graphs.running_sum(tmp_path / "models/sum/1/model.onnx")
    redis = RedisServer(tmp_path / "redis") if request.param == "redis" else None
    how: dict[str, Any] = {"store": request.param, "store_lease_seconds": _LEASE}
    if redis is not None:
        how["store_url"] = redis.url

    def start(workers: int = 2, **settings: object) -> Server:
        return launch(tmp_path / "models", workers=workers, **how, **settings).wait_until_ready()

    yield start
    if redis is not None:
        redis.kill()


def _step(http: httpx.Client, id: str, step: int, value: float) -> list[list[float]]:
    """Step until there is an answer, as a client does that knows its step."""
    answers: list[httpx.Response] = []

    def answered() -> bool:
        try:
            answers.append(http.post(f"/v1/sessions/{id}/steps", json={"inputs": [[value]], "step": step}))
        except httpx.TransportError:
            return False
        return answers[-1].status_code != 503

    until(answered, seconds=60, what="an answer")
    outputs: list[list[float]] = done(answers[-1])["outputs"]
    return outputs


def test_metrics_are_of_all_workers_and_an_end_is_clean(shared: Callable[..., Server]) -> None:
    server = shared()
    for index in range(20):  # a connection each: the system gives them to one worker or the other
        done(httpx.post(f"{server.url}/v1/models/sum/sessions", json={"id": f"s{index}"}), 201)
        done(httpx.post(f"{server.url}/v1/sessions/s{index}/steps", json={"inputs": [[1], [2]]}))
    assert server.metric("carousel_workers") == 2
    assert server.metric("carousel_steps_total", model="sum", version="1") == 40
    assert server.metric("carousel_sessions_opened_total") == 20
    assert server.metric("carousel_engine_alive", model="sum", version="1") == 1
    workers = server.workers()
    assert len(workers) == 2
    assert server.stop(signal.SIGHUP) == 0, server.log
    assert not any(worker.is_running() for worker in workers)
    assert not server.errors(), "\n".join(server.errors())


def test_a_killed_worker_is_replaced_and_nothing_is_lost(shared: Callable[..., Server]) -> None:
    server = shared()
    with httpx.Client(base_url=server.url, timeout=20) as http:
        done(http.post("/v1/models/sum/sessions", json={"id": "a"}), 201)
        total = 0
        killed: list[psutil.Process] = []
        for step in range(12):
            if step in (4, 8):
                psutil.wait_procs(killed, timeout=30)  # on busy cores the first one lives on for some steps
                killed.append(server.workers()[0])
                killed[-1].kill()
            total += step
            assert _step(http, "a", step, step) == [[total]]
    until(lambda: server.metric("carousel_workers") == 2, seconds=30, what="a new worker")
    assert len({*killed}) == 2
    assert "another is started" in server.log
    assert server.stop() == 0, server.log


def test_a_worker_that_stands_still_is_killed_and_its_sessions_go_on(shared: Callable[..., Server]) -> None:
    server = shared()
    http = [httpx.Client(base_url=server.url, timeout=20) for _ in range(8)]
    for index, client in enumerate(http):
        done(client.post("/v1/models/sum/sessions", json={"id": f"s{index}"}), 201)
        assert _step(client, f"s{index}", 0, 1) == [[1]]
    stopped = server.workers()[0]
    stopped.send_signal(signal.SIGSTOP)
    until(lambda: not stopped.is_running(), seconds=20, what="the end of the stopped worker")
    for index in range(8):
        with httpx.Client(base_url=server.url, timeout=20) as client:
            assert _step(client, f"s{index}", 1, 1) == [[2]]
            assert _step(client, f"s{index}", 0, 1) == [[1]]
    for client in http:
        client.close()
    assert "no sign of life" in server.log
    assert server.stop() == 0, server.log


def _everywhere(server: Server, count: int = 8) -> list[httpx.Client]:
    """Clients whose connections are with both workers, as the system spreads them."""
    return [httpx.Client(base_url=server.url, timeout=20) for _ in range(count)]


def test_workers_get_alternate_steps_of_a_session_over_both_doors(shared: Callable[..., Server]) -> None:
    server = shared()
    http = _everywhere(server)
    done(http[0].post("/v1/models/sum/sessions", json={"id": "a", "snapshots": {"every": 8, "keep": 2}}), 201)
    with ExitStack() as stack:
        sockets = [stack.enter_context(dial(server.stream_url)) for _ in range(4)]
        asked = {"id": 1, "open": {"model": "sum", "session": "a"}}
        channels = [socket.ask(asked)["opened"]["channel"] for socket in sockets]
        for step in range(0, 64, 2):
            assert _step(http[step % 8], "a", step, 1) == [[step + 1]]
            place = step // 2 % 4
            told = sockets[place].ask({"id": 2, "channel": channels[place], "inputs": [[1]], "step": step + 1})
            assert told["outputs"] == [[step + 2]]
            assert _step(http[(step + 1) % 8], "a", step, 1) == [[step + 1]]  # a retry that lands elsewhere
    told = done(http[5].get("/v1/sessions/a"))
    assert (told["step"], told["snapshots"]) == (64, [56, 64])
    done(http[6].post("/v1/sessions/a/rewind", json={"step": 56}))
    assert _step(http[1], "a", 56, 1) == [[57]]
    assert http[2].delete("/v1/sessions/a").status_code == 204
    assert {client.get("/v1/sessions/a").status_code for client in http} == {404}
    for client in http:
        client.close()
    assert server.stop() == 0, server.log
    assert not server.errors(), "\n".join(server.errors())


def test_an_id_that_is_opened_twice_at_once_is_opened_once(shared: Callable[..., Server]) -> None:
    server = shared()
    http = _everywhere(server)
    with ThreadPoolExecutor(len(http)) as threads:
        for index in range(10):
            body = {"id": f"s{index}"}
            told = list(threads.map(lambda one, body=body: one.post("/v1/models/sum/sessions", json=body), http))
            assert sorted(one.status_code for one in told) == [201, *(409,) * 7]
    listed = done(http[0].get("/v1/sessions"))["sessions"]
    assert [one["id"] for one in listed] == [f"s{index}" for index in range(10)]
    for client in http:
        client.close()


@pytest.mark.parametrize("shared", ["embedded"], indirect=True)
def test_what_is_opened_by_many_sockets_at_once_is_opened_by_one_and_resumed_by_the_others(
    shared: Callable[..., Server],
) -> None:
    server = shared()
    with ExitStack() as stack:
        sockets = [stack.enter_context(dial(server.stream_url)) for _ in range(8)]
        clients = _everywhere(server)
        threads = stack.enter_context(ThreadPoolExecutor(len(sockets) + len(clients)))
        for index in range(20):
            frame = {"id": index, "open": {"model": "sum", "session": f"s{index}"}}
            opening = [threads.submit(one.ask, frame) for one in sockets]
            body = {"items": [{"session": f"i{index}", "inputs": [[1]]}], "open": True}
            calling = [threads.submit(one.post, "/v1/models/sum/steps", json=body) for one in clients]
            told = [one.result() for one in opening]
            assert [one.get("opened", one)["created"] for one in told].count(True) == 1, told
            items = [done(one.result())["items"][0] for one in calling]
            assert sorted(one["step"] for one in items) == [*range(1, 9)], items
            assert sum("created" in one for one in items) == 1
        for client in clients:
            client.close()


@pytest.mark.parametrize("shared", ["embedded"], indirect=True)
def test_a_sequence_that_is_started_at_all_workers_at_once_is_started_at_all(shared: Callable[..., Server]) -> None:
    http = _everywhere(server := shared())
    tensor = {"name": "input", "shape": [1, 1], "datatype": "FP32", "data": [3]}
    body = {"parameters": {"sequence_id": 7, "sequence_start": True}, "inputs": [tensor]}
    with ThreadPoolExecutor(len(http)) as threads:
        for _ in range(20):
            told = [*threads.map(lambda one: one.post("/v2/models/sum/infer", json=body), http)]
            assert {one.status_code for one in told} <= {200, 409, 503}, [one.text for one in told]
            assert {one.json()["outputs"][0]["data"][0] for one in told if one.status_code == 200} == {3}
    for client in http:
        client.close()
    assert server.stop() == 0, server.log


def test_the_number_of_workers_may_change(shared: Callable[..., Server]) -> None:
    for start, workers in enumerate((2, 1, 3, 2)):
        server = shared(workers)
        for index in range(12):
            with httpx.Client(base_url=server.url, timeout=20) as http:
                if not start:
                    done(http.post("/v1/models/sum/sessions", json={"id": f"s{index}"}), 201)
                assert _step(http, f"s{index}", start, index) == [[index * (start + 1)]]
        if start % 2:
            server.kill()
        else:
            assert server.stop() == 0, server.log


def test_workers_end_with_their_supervisor(shared: Callable[..., Server]) -> None:
    server = shared()
    workers = server.workers()
    workers[0].send_signal(signal.SIGSTOP)
    server.kill()
    until(lambda: not any(worker.is_running() for worker in workers), seconds=20, what="their end")


def _refused(tmp_path: Path, *options: str, **settings: object) -> tuple[int, str]:
    graphs.running_sum(tmp_path / "models/sum/1/model.onnx")
    command = [CAROUSEL, "serve", "--models", str(tmp_path / "models"), "--workers", "2", *options]
    ended = subprocess.run(
        command, env=environment(**settings), capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, " ".join(ended.stderr.split())


def test_workers_that_cannot_share_their_sessions_are_refused(tmp_path: Path) -> None:
    code, told = _refused(tmp_path, store="memory")
    assert code == 2
    assert "sessions of its own" in told.replace("│ │ ", "")


def test_workers_that_would_share_a_port_for_grpc_are_refused(tmp_path: Path) -> None:
    code, told = _refused(tmp_path, store="embedded", grpc_port=8001)
    assert code == 2
    assert "leave grpc_port out" in told.replace("│ │ ", "")


def test_a_start_that_fails_ends_all_workers(tmp_path: Path) -> None:
    code, told = _refused(tmp_path, "--port", "0", store="redis", providers="tensorrt")
    assert code == 1
    assert "did not start" in told


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, told = _refused(tmp_path, "--port", str(other.getsockname()[1]), store="redis")
    assert code == 1
    assert "cannot be listened on" in told
