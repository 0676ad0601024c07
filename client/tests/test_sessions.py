from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from fake_clock import Clock
from fake_service import FakeService, answer_with, lose_answer, problem, refuse_connection

from carousel_client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    ForeignAnswer,
    InvalidInput,
    InvalidRequest,
    SessionExists,
    SessionNotFound,
    StateMismatch,
    StepConflict,
)


@pytest.mark.parametrize("item", [{"session": "s", "inputs": [[1, 2]]}, "s", ("s",), ("s", [[1, 2]], 0, 1)])
async def test_items_of_another_shape_are_refused_by_their_place(client: Any, item: Any) -> None:
    with pytest.raises(InvalidInput, match=r"items\[1\]: not \(session id, inputs\)"):
        await client.steps("sum", [("s", [[1, 2]]), item])


async def test_steps_carry_the_state_on_in_the_callers_style(client: Any) -> None:
    async with client.session("sum") as s:
        assert (await s.step([1, 2])) == [1, 2]
        assert (await s.step([[1, 2], [1, 2]])) == [[2, 4], [3, 6]]
        assert (await s.step({"a": 1, "b": 0})) == {"sum a": 4, "sum b": 6}
        assert (await s.step([{"a": 1, "b": 0}])) == [{"sum a": 5, "sum b": 6}]
        lone = await s.step(np.array([0.5, 0.5]))
        assert (lone.shape, lone.dtype, lone.tolist()) == ((2,), np.float32, [5.5, 6.5])
        assert (await s.step(np.zeros((3, 2)))).shape == (3, 2)
        assert s.next_step == 9


async def test_a_session_that_the_client_named_ends_with_its_block(client: Any, service: FakeService) -> None:
    async with client.session("sum") as s:
        assert list(service.sessions) == [s.id]
    assert service.sessions == {}


async def test_a_session_that_the_caller_named_lives_on_and_is_resumed_at_its_step(client: Any) -> None:
    async with client.session("sum", id="pump-7", history=[[1, 1], [1, 1]]) as s:
        assert (s.created, s.next_step, s.model, s.version) == (True, 2, "sum", "1")
        await s.step([1, 1])
    async with client.session("sum", id="pump-7", history=[[9, 9]]) as s:
        assert (s.created, s.next_step) == (False, 3)
        assert (await s.step([1, 1])) == [4, 4]
        assert "pump-7 of sum/1 at step 4" in repr(s)


@pytest.mark.parametrize(("model", "version"), [("other", None), ("sum", "2")])
async def test_a_session_of_another_model_or_version_is_not_resumed(
    client: Any, service: FakeService, model: str, version: str | None
) -> None:
    await client.session("sum", id="pump-7").open()
    service.faults.append(answer_with(problem(409, "session_exists")))
    with pytest.raises(StateMismatch):
        await client.session(model, "pump-7", version).open()


async def test_the_first_step_opens_a_session_that_nothing_else_has(client: Any, service: FakeService) -> None:
    s = client.session("sum", history=np.ones((2, 2)))
    assert (s.next_step, service.requests) == (None, [])
    assert (await s.step([0, 0])) == [2, 2]
    await s.close()
    assert service.sessions == {}


async def test_opening_twice_asks_once(client: Any, service: FakeService) -> None:
    s = client.session("sum")
    await s.open()
    async with s:
        assert service.routes() == ["POST /v1/models/sum/sessions"]


async def test_a_deleted_session_is_gone_and_is_not_deleted_again(client: Any, service: FakeService) -> None:
    async with client.session("sum") as s:
        await s.delete()
        with pytest.raises(SessionNotFound):
            await s.step([1, 2])
        with pytest.raises(SessionNotFound):
            await s.delete()
        asked = len(service.requests)
    assert len(service.requests) == asked


@pytest.mark.parametrize("code", ["session_expired", "session_not_found"])
async def test_the_end_of_a_block_does_not_mind_a_session_that_is_gone(
    client: Any, service: FakeService, code: str
) -> None:
    async with client.session("sum"):
        service.faults.append(answer_with(problem(410, code)))


async def test_the_end_of_a_block_tells_when_it_could_not_delete_unless_the_block_failed(
    client: Any, service: FakeService
) -> None:
    with pytest.raises(InvalidInput):
        async with client.session("sum"):
            service.faults.append(answer_with(problem(422, "invalid_input")))
    with pytest.raises(ZeroDivisionError):
        async with client.session("sum"):
            service.faults.append(answer_with(problem(422, "invalid_input")))
            raise ZeroDivisionError


async def test_a_fork_goes_its_own_way(client: Any, service: FakeService) -> None:
    async with client.session("sum") as s:
        await s.step([1, 1])
        async with await s.fork() as unnamed, await s.fork("what-if") as named:
            assert (unnamed.next_step, unnamed.created, named.id) == (1, True, "what-if")
            assert (await unnamed.step([5, 5])) == [6, 6]
            assert (await named.step([7, 7])) == [8, 8]
        assert (await s.step([1, 1])) == [2, 2]
        with pytest.raises(SessionExists):
            await s.fork("what-if")
    assert list(service.sessions) == ["what-if"]


async def test_a_state_is_restored_with_its_step(client: Any, service: FakeService) -> None:
    async with client.session("sum") as s:
        await s.step([1, 2])
        state = await s.state()
    assert isinstance(state, bytes)
    async with await client.restore("again", state) as again:
        assert (again.next_step, again.model) == (1, "sum")
        assert (await again.step([1, 2])) == [2, 4]
    assert list(service.sessions) == ["again"]


async def test_a_conflict_is_raised_and_resume_takes_up_where_the_session_stands(client: Any) -> None:
    mine, theirs = client.session("sum", "s"), client.session("sum", "s")
    await mine.open()
    await theirs.step([1, 1])
    with pytest.raises(StepConflict) as conflict:
        await mine.step([2, 2])
    assert (conflict.value.applied, conflict.value.expected_step, mine.next_step) == (True, 1, 0)
    await mine.resume()
    assert (await mine.step([2, 2])) == [3, 3]


async def test_after_a_lost_answer_the_same_inputs_may_be_sent_again_and_others_are_refused(
    connect: Callable[..., Any], service: FakeService
) -> None:
    async with connect(retries=0) as client, client.session("sum") as s:
        service.faults.append(lose_answer)
        with pytest.raises(ConnectionFailed):
            await s.step([1, 1])
        with pytest.raises(StepConflict):
            await s.step([2, 2])
        assert (await s.step([1, 1])) == [1, 1]
        assert (await s.step([2, 2])) == [3, 3]


async def test_a_refused_step_moves_nothing(client: Any) -> None:
    async with client.session("sum") as s:
        with pytest.raises(InvalidInput):
            await s.step([1, 2, 3])
        assert s.next_step == 0
        assert (await s.step([1, 2])) == [1, 2]


async def test_tasks_that_share_a_session_take_turns_in_the_order_of_their_calls(service: FakeService) -> None:
    client = AsyncClient("http://carousel.test", transport=service)
    async with client, client.session("sum") as s:
        outputs = await asyncio.gather(*(s.step([1, i]) for i in range(50)))
    assert [a for a, _ in outputs] == list(range(1, 51))
    assert outputs[-1] == [50, sum(range(50))]


def test_threads_that_share_a_session_never_use_one_step_twice(service: FakeService) -> None:
    outputs: list[Any] = []
    client = Client("http://carousel.test", transport=service)
    with client, client.session("sum") as s:
        threads = [threading.Thread(target=lambda: outputs.append(s.step([1, 1]))) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(a for a, _ in outputs) == list(range(1, 21))


async def test_leaving_by_an_error_waits_for_a_service_that_is_gone_a_second_at_most(
    connect: Callable[..., Any], service: FakeService, clock: Clock
) -> None:
    async with connect(timeout=60) as client:
        with pytest.raises(ConnectionFailed, match="refused"):
            async with client.session("sum") as s:
                service.faults.extend([refuse_connection] * 999)
                await s.step([1, 1])
        assert 59 < clock.now < 61
        service.faults.clear()
        with pytest.raises(KeyError):
            async with client.session("sum") as s:
                raise KeyError
    assert s.id not in service.sessions


async def test_one_id_is_no_list_of_ids(client: Any, service: FakeService) -> None:
    async with client.session("sum") as s:
        with pytest.raises(InvalidRequest, match="a list of ids is wanted, not 'ab' alone"):
            await s.fork_many("ab")
    with Client("http://carousel.test").stream() as stream, pytest.raises(InvalidRequest, match="not 'sensor-7' alone"):
        stream.open_many("sum", "sensor-7")
    assert service.routes() == ["POST /v1/models/sum/sessions", f"DELETE /v1/sessions/{s.id}"]


async def test_a_session_is_set_back_to_a_snapshot_that_it_keeps(client: Any, service: FakeService) -> None:
    async with client.session("sum", snapshots={"every": 1, "keep": 9}) as session:
        for value in (1.0, 2.0, 3.0):
            await session.step([[value, 0.0]])
        assert await session.snapshots() == [1, 2, 3]
        service.faults.append(lose_answer)
        await session.rewind(1)
        assert (session.next_step, await session.step([[5.0, 0.0]])) == (1, [[6.0, 0.0]])
        with pytest.raises(StepConflict) as caught:
            await session.rewind(3)
        assert (caught.value.snapshots, caught.value.expected_step, session.next_step) == ([1, 2], 2, 2)


async def test_a_forecast_comes_in_the_style_of_its_inputs_and_moves_nothing(client: Any, service: FakeService) -> None:
    async with client.session("sum") as session:
        await session.step([[1.0, 2.0]])
        service.faults.append(lose_answer)
        assert await session.forecast([[1.0, 1.0]], 2) == [[2.0, 3.0], [4.0, 6.0], [8.0, 12.0]]
        assert (await session.forecast(steps=2)).tolist() == [[2, 4], [4, 8]]
        assert await session.forecast({"a": 1.0, "b": 0.0}) == [{"sum a": 2.0, "sum b": 2.0}]
        assert (await session.forecast(np.zeros(2))).tolist() == [[1, 2]]
        assert (session.next_step, await session.step([[0.0, 0.0]])) == (1, [[1.0, 2.0]])


async def test_a_forecast_of_other_steps_is_refused(client: Any, service: FakeService) -> None:
    async with client.session("sum") as session:
        service.faults += [answer_with(httpx.Response(200, json={"outputs": [[1, 2]], "step": 0}))]
        with pytest.raises(ForeignAnswer):
            await session.forecast([[1.0, 1.0]], 2)
