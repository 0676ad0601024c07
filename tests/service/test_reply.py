"""Replies: who is told of them in the tick, and what becomes of those who left."""

import numpy as np
import pytest

from service.errors import CarouselError, InvalidInput
from service.reply import Reply, settles
from service.work import One


def call(reply: Reply[int]) -> One:
    return One(1, None, np.zeros((3, 2), np.float32), settles(reply, lambda call: len(call.inputs)))


async def test_who_wants_to_know_at_once_finds_the_result_and_is_let_go() -> None:
    reply: Reply[int] = Reply()
    told: list[int] = []
    reply.at_once = lambda: told.append(reply.result())
    one = call(reply)
    one.ended(one)
    assert told == [3]
    assert reply.at_once is None, "else each would hold the other until the collector comes"


async def test_an_error_is_told_at_once_too() -> None:
    reply: Reply[int] = Reply()
    told: list[BaseException | None] = []
    reply.at_once = lambda: told.append(reply.exception())
    one = call(reply)
    one.errors[0] = InvalidInput("why")
    one.ended(one)
    assert told == [one.errors[0]]


async def test_a_reply_that_is_cancelled_is_told_once_and_settled_no_more() -> None:
    reply: Reply[int] = Reply()
    told: list[bool] = []
    reply.at_once = lambda: told.append(reply.cancelled())
    assert reply.cancel()
    one = call(reply)
    one.ended(one)
    assert not reply.cancel()
    assert told == [True]


async def test_who_awaits_it_in_a_task_gets_the_result_or_the_error() -> None:
    good, bad = Reply[int](), Reply[int]()
    one, other = call(good), call(bad)
    other.errors[0] = CarouselError("why")
    one.ended(one)
    other.ended(other)
    assert await good == 3
    with pytest.raises(CarouselError, match="why"):
        await bad
