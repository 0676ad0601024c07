"""Large JSON in a process of its own: what it gives is what would be read and written here, and nobody is forgotten."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from service.api import texts
from service.api.aside import Aside
from service.api.values import Named
from service.errors import CarouselError, InvalidRequest, Overloaded
from tests.service.test_texts import plain

LONG = np.random.default_rng(0).normal(0, 1, (20_000, 2)).astype(np.float32)
LARGE = texts.dump({"inputs": LONG, "step": 3})


@pytest.fixture
async def aside() -> AsyncIterator[Aside]:
    one = Aside(most_bytes=3 * len(LARGE))
    yield one
    one.close()


def clerks() -> list[Any]:
    """The processes that this one has started and not ended."""
    return [child for child in psutil.Process().children() if "service.api.clerk" in child.cmdline()]


async def test_a_small_text_needs_no_process_and_no_turn_of_the_loop(aside: Aside) -> None:
    with pytest.raises(StopIteration) as read:
        aside.parse(b'{"step":1}').send(None)
    assert read.value.value == {"step": 1}
    with pytest.raises(StopIteration) as written:
        aside.dump({"outputs": LONG[:1]}, 2).send(None)
    assert written.value.value == texts.dump({"outputs": LONG[:1]})
    assert not clerks()


@pytest.mark.parametrize(
    "content",
    [
        {"inputs": LONG.tolist(), "step": 3},
        {"sequences": [LONG.tolist(), [[1, True]], [], 3]},
        {"inputs": [{"a": 1, "b": step} for step in range(20_000)]},
        {"inputs": [{"a": 1, "b": step} for step in range(20_000)] + [{"b": 1}]},
        {"items": [{"session": str(index), "inputs": [[1, 2]]} for index in range(5_000)], "open": True},
        {"history": [[1]] * 40_000, "x": [[0]] * 40_000},
    ],
    ids=["steps", "predict", "objects", "a fault", "items", "an unknown key"],
)
async def test_what_is_read_elsewhere_is_what_would_be_read_here(aside: Aside, content: Any) -> None:
    text = json.dumps(content).encode()
    assert plain(await aside.parse(text)) == plain(texts.parse(text))
    assert clerks()


@pytest.mark.parametrize("text", [LARGE[:-1], b"[" + LARGE + b"]", LARGE.replace(b"step", b"\xff")])
async def test_what_is_no_body_is_refused_in_the_same_words(aside: Aside, text: bytes) -> None:
    with pytest.raises(InvalidRequest) as here:
        texts.parse(text)
    with pytest.raises(InvalidRequest) as there:
        await aside.parse(text)
    assert there.value.detail == here.value.detail


async def test_what_is_written_elsewhere_is_what_would_be_written_here(aside: Aside) -> None:
    named = Named(["a", "b"], LONG)
    content = {"model": "m", "outputs": [LONG, named]}
    assert await aside.dump(content, 2 * LONG.size) == texts.dump(content)


async def test_all_are_answered_whatever_was_asked_before_and_by_whom_has_left(aside: Aside) -> None:
    asked: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(aside.parse(LARGE.replace(b":3", b":%d" % step))) for step in range(3)
    ]
    asked.append(asyncio.ensure_future(aside.dump({"outputs": LONG}, LONG.size)))
    await asyncio.sleep(0)
    asked[1].cancel()
    answers: list[Any] = await asyncio.gather(*asked, return_exceptions=True)
    assert [answers[0]["step"], answers[2]["step"]] == [0, 2]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert answers[3] == texts.dump({"outputs": LONG})
    assert len(clerks()) == 1


async def test_more_than_may_wait_is_refused_or_waits_but_no_body_for_ever(aside: Aside) -> None:
    alone = b'{"inputs":[[1]]}' + b" " * 4 * len(LARGE)
    asked = asyncio.ensure_future(aside.parse(alone))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await aside.parse(LARGE)
    assert refused.value.extra["retry_after_ms"] >= 1
    later = asyncio.ensure_future(aside.parse(LARGE, patient=True))
    assert plain(await asked) == plain(texts.parse(alone))
    assert plain(await later) == plain(texts.parse(LARGE))
    await aside.parse(LARGE)


async def test_who_waits_for_a_process_that_is_lost_is_told_and_the_next_one_is_served(aside: Aside) -> None:
    await aside.parse(LARGE)
    (lost,) = clerks()
    lost.send_signal(signal.SIGSTOP)
    asked = [asyncio.ensure_future(aside.parse(LARGE)) for _ in range(2)]
    await asyncio.sleep(0)
    lost.kill()
    for error in await asyncio.gather(*asked, return_exceptions=True):
        assert type(error) is CarouselError
    assert plain(await aside.parse(LARGE)) == plain(texts.parse(LARGE))
    assert clerks() != [lost]


async def test_a_signal_to_the_whole_group_does_not_end_it_before_the_service(aside: Aside) -> None:
    await aside.parse(LARGE)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(clerks()[0].pid, number)
    assert (await aside.parse(LARGE))["step"] == 3


async def test_it_ends_with_the_service(aside: Aside) -> None:
    await aside.parse(LARGE)
    aside.close()
    assert not clerks()
