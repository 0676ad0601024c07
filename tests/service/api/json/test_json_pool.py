"""Large JSON in a worker process: the same results as in this one, and every caller is told."""

import asyncio
import json
import multiprocessing
import multiprocessing.process
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from service.api.json import codec as json_codec
from service.api.json.fields import Named
from service.api.json.pool import JsonPool
from service.errors import InvalidRequest, Overloaded
from tests.fakes import until
from tests.service.api.json.test_json_codec import plain

LONG = np.random.default_rng(0).normal(0, 1, (20_000, 2)).astype(np.float32)
LARGE = json_codec.dump({"inputs": LONG, "step": 3})


@pytest.fixture
async def pool() -> AsyncIterator[JsonPool]:
    one = JsonPool(3 * len(LARGE), 2**16)
    yield one
    one.close()
    await until(lambda: not workers())


def workers() -> list[multiprocessing.process.BaseProcess]:
    """The processes that this one has started and that have not ended."""
    return multiprocessing.active_children()


def pid(process: multiprocessing.process.BaseProcess) -> int:
    assert process.pid is not None
    return process.pid


@pytest.mark.parametrize("text", [LARGE, LARGE + b" " * 3 * 2**20], ids=["in one piece", "in several"])
async def test_an_idle_worker_is_ended_and_the_next_large_text_starts_another(text: bytes) -> None:
    pool = JsonPool(3 * len(text), 2**16, idle_seconds=0.01)
    for _ in range(2):
        assert plain(await pool.parse(text)) == plain(json_codec.parse(text))
        await until(lambda: not workers())
    pool.close()


async def test_a_small_text_starts_no_worker_and_is_parsed_at_once(pool: JsonPool) -> None:
    with pytest.raises(StopIteration) as read:
        pool.parse(b'{"step":1}').send(None)
    assert read.value.value == {"step": 1}
    with pytest.raises(StopIteration) as written:
        pool.dump({"outputs": LONG[:1]}, 2).send(None)
    assert written.value.value == json_codec.dump({"outputs": LONG[:1]})
    assert not workers()


@pytest.mark.parametrize(
    "content",
    [
        {"inputs": LONG.tolist(), "step": 3},
        {"sequences": [LONG.tolist(), [[1, True]], [], 3]},
        {"inputs": [{"a": 1, "b": step} for step in range(20_000)]},
        {"inputs": [{"a": 1, "b": step} for step in range(20_000)] + [{"b": 1}]},
        {"items": [{"session": str(index), "inputs": [[1, 2]]} for index in range(5_000)], "open": True},
        {"sequences": [[[1, 2]]] * 400 + [[[1, True]]] + [[[1, 2]]] * 40_000},
        {"history": [[1]] * 40_000, "x": [[0]] * 40_000},
    ],
    ids=["steps", "predict", "objects", "a fault", "items", "many sequences, one at fault", "an unknown key"],
)
async def test_the_worker_parses_like_this_process(pool: JsonPool, content: Any) -> None:
    text = json.dumps(content).encode()
    assert plain(await pool.parse(text)) == plain(json_codec.parse(text))
    assert workers()


@pytest.mark.parametrize("step", [[1, 2], {"a": 1, "b": 2}])
async def test_many_good_sequences_come_back_as_one(pool: JsonPool, step: Any) -> None:
    text = json.dumps({"sequences": [[step], [step, step]] * 1_000}).encode()
    [packed] = (await pool.parse(text))["sequences"]
    here = json_codec.parse(text)["sequences"]
    assert packed.lengths == [1, 2] * 1_000
    assert packed.steps.first == here[0].first
    assert packed.steps.inputs.tolist() == [[1, 2]] * 3_000


@pytest.mark.parametrize("text", [LARGE[:-1], b"[" + LARGE + b"]", LARGE.replace(b"step", b"\xff")])
async def test_the_worker_refuses_in_the_same_words(pool: JsonPool, text: bytes) -> None:
    with pytest.raises(InvalidRequest) as here:
        json_codec.parse(text)
    with pytest.raises(InvalidRequest) as there:
        await pool.parse(text)
    assert there.value.detail == here.value.detail


async def test_the_worker_writes_like_this_process(pool: JsonPool) -> None:
    named = Named(["a", "b"], LONG)
    content = {"model": "m", "outputs": [LONG, named]}
    assert await pool.dump(content, 2 * LONG.size) == json_codec.dump(content)


async def test_all_jobs_are_done_in_order_although_one_caller_left(pool: JsonPool) -> None:
    asked: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(pool.parse(LARGE.replace(b":3", b":%d" % step))) for step in range(3)
    ]
    asked.append(asyncio.ensure_future(pool.dump({"outputs": LONG}, LONG.size)))
    await asyncio.sleep(0)
    asked[1].cancel()
    answers: list[Any] = await asyncio.gather(*asked, return_exceptions=True)
    assert [answers[0]["step"], answers[2]["step"]] == [0, 2]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert answers[3] == json_codec.dump({"outputs": LONG})
    assert len(workers()) == 1


async def test_more_bytes_than_may_wait_are_refused_or_wait_for_room(pool: JsonPool) -> None:
    alone = b'{"inputs":[[1]]}' + b" " * 4 * len(LARGE)
    asked = asyncio.ensure_future(pool.parse(alone))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await pool.parse(LARGE)
    assert refused.value.extra["retry_after_ms"] >= 1
    later = asyncio.ensure_future(pool.parse(LARGE, wait=True))
    assert plain(await asked) == plain(json_codec.parse(alone))
    assert plain(await later) == plain(json_codec.parse(LARGE))
    await pool.parse(LARGE)


async def test_what_a_lost_worker_had_to_do_is_done_by_another(pool: JsonPool) -> None:
    await pool.parse(LARGE)
    (lost,) = workers()
    os.kill(pid(lost), signal.SIGSTOP)
    asked = [asyncio.ensure_future(pool.parse(LARGE)) for _ in range(2)]
    written = asyncio.ensure_future(pool.dump({"outputs": LONG}, LONG.size))
    await asyncio.sleep(0)
    lost.kill()
    for answer in await asyncio.gather(*asked):
        assert plain(answer) == plain(json_codec.parse(LARGE))
    assert await written == json_codec.dump({"outputs": LONG})
    assert lost not in workers()


async def test_a_text_of_which_a_lost_worker_has_a_piece_is_parsed_whole() -> None:
    class Losing(JsonPool):
        """Loses its worker before the last piece of a text, once."""

        lost = False

        def _submit(self, *job: Any) -> asyncio.Future[Any]:
            if job[0].__name__ == "_parse_kept" and not self.lost:
                self.lost = True
                for worker in workers():
                    worker.kill()
                    worker.join()
            return super()._submit(*job)

    pool, text = Losing(10 * len(LARGE), 2**16), LARGE + b" " * 2**21
    assert plain(await pool.parse(text)) == plain(json_codec.parse(text))
    assert pool.lost
    pool.close()
    await until(lambda: not workers())


async def test_a_text_at_which_two_workers_are_lost_is_refused(pool: JsonPool) -> None:
    with pytest.raises(Overloaded):
        await pool.parse_by(LARGE, _die)
    assert plain(await pool.parse(LARGE)) == plain(json_codec.parse(LARGE))


def _die(_: bytes) -> None:
    os._exit(1)


async def test_signals_to_the_group_do_not_end_the_worker(pool: JsonPool) -> None:
    await pool.parse(LARGE)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid(workers()[0]), number)
    assert (await pool.parse(LARGE))["step"] == 3


async def test_closing_the_pool_ends_the_worker(pool: JsonPool) -> None:
    await pool.parse(LARGE)
    pool.close()
    await until(lambda: not workers())
