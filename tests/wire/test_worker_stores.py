"""Two workers over one embedded store that syncs, writes behind, has a full disk, or is full of sessions."""

import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from tests import graphs
from tests.wire.expect import done, refused
from tests.wire.poll import until
from tests.wire.server import Server

Launch = Callable[..., Server]
Start = Callable[..., Server]


@pytest.fixture
def start(launch: Launch, tmp_path: Path) -> Start:
    """Starts two workers over the same store again and again."""
    graphs.running_sum(tmp_path / "models/sum/1/model.onnx")

    def start(**settings: object) -> Server:
        how = {"store": "embedded", "workers": 2, "store_lease_seconds": 3} | settings
        return launch(tmp_path / "models", **how).wait_until_ready()

    return start


@pytest.fixture
def ways() -> Iterator[Callable[[Server], list[httpx.Client]]]:
    """Clients of each worker of a server; they are closed afterwards."""
    with ExitStack() as stack:

        def ways(server: Server) -> list[httpx.Client]:
            found = server.ways()
            for one in found:
                stack.callback(one.close)
            return found

        yield ways


def _try(http: httpx.Client, id: str, step: int, value: float) -> httpx.Response | None:
    """The answer to a step; None: the worker is gone, or cannot serve it now."""
    try:
        answer = http.post(f"/v1/sessions/{id}/steps", json={"inputs": [[value]], "step": step})
    except httpx.TransportError:
        return None
    return None if answer.status_code == 503 else answer


@pytest.mark.parametrize("settings", [{"store_sync": 1}, {"store_write": "behind", "store_behind_ms": 200}])
def test_answers_are_kept_as_promised_while_sessions_move_and_workers_are_killed(
    start: Start, ways: Callable[[Server], list[httpx.Client]], settings: dict[str, object]
) -> None:
    server = start(**settings)
    pair = ways(server)
    done(pair[0].post("/v1/models/sum/sessions", json={"id": "s"}), 201)
    step, moved, lost, place = 0, 0, 0, None
    for turn in range(13):
        here = pair[turn % 2]
        for _ in range(5):
            answer = until(lambda: _try(here, "s", step, step), seconds=60, what="an answer")  # noqa: B023
            if answer.status_code == 409:  # what was lost is sent again from there
                expected = refused(answer, "step_conflict")["expected_step"]
                assert "behind_ms" in done(here.get("/v1/sessions/s"))
                assert moved <= expected < step
                lost, step, place = lost + step - expected, expected, server.worker_of(answer)
                continue
            assert done(answer) == {"outputs": [[step * (step + 1) / 2]], "step": step + 1}
            if (worker := server.worker_of(answer)) not in (place, None):
                moved, place = step, worker  # it came here, and what it came with is written
            step += 1
        if turn % 4 == 1:
            killed = server.workers()[1]
            killed.kill()
            until(lambda: len({*server.workers()} - {killed}) == 2, seconds=30, what="a new worker")  # noqa: B023
            pair = ways(server)
        elif turn % 4 == 3:
            server.kill()
            server, place = start(**settings), None
            pair = ways(server)
    assert not lost or "store_write" in settings
    assert done(pair[0].get("/v1/sessions/s"))["step"] == step
    assert server.stop() == 0, server.log


def _fill(worker: psutil.Process, folder: Path) -> Callable[[], object]:
    """Let a worker write nothing more → what lets it again."""
    size = max(path.stat().st_size for path in folder.glob("*.journal"))
    _, hard = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size + 20, hard))
    return lambda: resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (hard, hard))


def test_a_full_disk_at_one_worker_harms_no_session(
    start: Start, ways: Callable[[Server], list[httpx.Client]], tmp_path: Path
) -> None:
    server = start(store_replay_seconds=3600)
    (one, other), folder = ways(server), tmp_path / "sessions"
    for id in "abc":
        done(one.post("/v1/models/sum/sessions", json={"id": id}), 201)
        assert done(_try(one, id, 0, 1) or one.get("/"))["outputs"] == [[1.0]]
    done(other.post("/v1/models/sum/sessions", json={"id": "d"}), 201)
    heal = _fill(server.workers()[0], folder)
    refused(one.post("/v1/sessions/a/steps", json={"inputs": [[2]], "step": 1}), "store_unavailable")
    refused(one.post("/v1/sessions/d/steps", json={"inputs": [[2]], "step": 0}), "store_unavailable")
    answer = _try(other, "d", 0, 4)
    assert answer is not None
    assert done(answer)["outputs"] == [[4.0]]  # it could not come, and stayed
    for id in "ab":  # they go to the other one, though this one cannot write that they are gone
        for step in (1, 2):
            answer = _try(other, id, step, 2)
            assert answer is not None
            assert done(answer)["outputs"] == [[1 + 2 * step]]
        told = until(lambda: one.get(f"/v1/sessions/{id}"), what="an answer")  # noqa: B023
        assert done(told)["step"] == 3
    listed = done(one.get("/v1/sessions"))["sessions"]
    assert [(session["id"], session["step"]) for session in listed] == [("a", 3), ("b", 3), ("c", 1), ("d", 1)]
    heal()
    answer = until(lambda: _try(one, "a", 3, 1), seconds=20, what="an answer")
    assert done(answer)["outputs"] == [[6.0]]
    heal = _fill(server.workers()[0], folder)
    answer = _try(other, "c", 1, 3)
    assert answer is not None
    assert done(answer)["outputs"] == [[4.0]]
    assert other.delete("/v1/sessions/b").status_code == 204
    server.kill()
    pair = ways(start())
    for http in pair:
        refused(http.get("/v1/sessions/b"), "session_not_found")
    for id, step, total in (("a", 4, 6), ("c", 2, 4), ("d", 1, 4)):
        for index, http in enumerate(pair):
            answer = until(lambda: _try(http, id, step + index, 1), seconds=20, what="an answer")  # noqa: B023
            assert done(answer)["outputs"] == [[total + 1 + index]]


def test_bounds_are_over_both_workers(start: Start, ways: Callable[[Server], list[httpx.Client]]) -> None:
    server = start(max_sessions=20)
    pair = ways(server)

    def open_many(index: int) -> list[int]:
        ids = [f"s{index}-{count}" for count in range(15)]
        return [pair[index].post("/v1/models/sum/sessions", json={"id": id}).status_code for id in ids]

    with ThreadPoolExecutor(2) as threads:
        told = [status for some in threads.map(open_many, range(2)) for status in some]
    assert set(told) == {201, 503}
    assert 19 <= told.count(201) <= 20  # both may be refused the last place
    if told.count(201) == 19:
        done(pair[0].post("/v1/models/sum/sessions", json={"id": "last"}), 201)
    for http in pair:
        problem = refused(http.post("/v1/models/sum/sessions", json={}), "overloaded")
        assert "21 sessions" in problem["detail"]
        refused(http.post("/v1/sessions/s0-0/fork", json={"count": 2}), "overloaded")
    assert len(done(pair[1].get("/v1/sessions"))["sessions"]) == server.metric("carousel_sessions", state="open") == 20
    assert pair[0].delete("/v1/sessions/s1-0").status_code == 204
    done(pair[1].post("/v1/models/sum/sessions", json={}), 201)
    assert server.stop() == 0, server.log
