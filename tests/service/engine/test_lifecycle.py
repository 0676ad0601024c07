"""Opening, forking, deleting, reading and replacing: what becomes of sessions between their calls."""

import asyncio
from typing import Any

import pytest

from service.engine.call import Call, Deadline
from service.errors import (
    DeadlineExceeded,
    NonFiniteOutput,
    Overloaded,
    PayloadTooLarge,
    SessionExists,
    SessionNotFound,
    StepConflict,
    StoreUnavailable,
)
from service.sessions.reach import vacant
from service.sessions.session import Session
from tests.fakes import FakeStore, RunningSum, column, sums, until
from tests.service.engine.serving import TTL, Serve, call, outcomes, outputs, summed


async def test_a_session_opens_after_its_history_ran(serve: Serve) -> None:
    it = serve(chunk=2)
    opening = asyncio.ensure_future(it.lifecycle.open_warm("s", TTL, column(1, 2, 3, 4, 5)))
    await until(lambda: len(it.model.batches) == 1)
    with pytest.raises(SessionNotFound):
        it.sessions.get("s")
    with pytest.raises(SessionExists):
        it.open("s")
    session = await opening
    assert it.sessions.get("s") == session
    assert (session.step, it.kept(session, 0, 1, 2, 3, 4, 5)) == (5, False)
    assert outputs(await it.step(session, 10, step=5)) == [25]
    with pytest.raises(StepConflict):
        await it.step(session, 1, 2, 3, 4, 5, step=0)  # no answer is kept of a history


async def test_a_history_runs_although_its_client_left(serve: Serve) -> None:
    it = serve(chunk=2)
    opening = asyncio.ensure_future(it.lifecycle.open_warm("s", TTL, column(1, 2, 3)))
    await until(lambda: len(it.model.batches) == 1)
    opening.cancel()
    await it.engine.drained()
    assert await it.state(it.sessions.get("s")) == (3, 6)


async def test_a_history_that_fails_leaves_no_session(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), chunk=2)
    with pytest.raises(NonFiniteOutput):
        await it.lifecycle.open_warm("s", TTL, column(1, 2, 3, 13))
    with pytest.raises(DeadlineExceeded):
        await it.lifecycle.open_warm("s", TTL, column(1), Deadline(it.clock()))
    assert it.sessions.find("s") is None
    it.nothing_leaks()
    assert (await it.lifecycle.open_warm("s", TTL, column(1))).step == 1
    assert it.sessions.statistics().opened == 1


async def test_a_fork_carries_on_from_a_copy_taken_after_the_accepted_calls(serve: Serve) -> None:
    it = serve(started=False, chunk=2)
    session = it.open()
    calls = [it.step(session, 1, 2, 3), it.lifecycle.fork(session, "copy"), it.step(session, 4)]
    with pytest.raises(SessionNotFound):
        it.sessions.get("copy")
    it.start()
    _, copy, _ = await asyncio.gather(*calls)
    assert it.sessions.get("copy") == copy
    assert (copy.step, copy.ahead, copy.ttl, copy.model, copy.version) == (3, 3, TTL, "model", "1")
    assert outputs(await it.step(copy, 100, step=3)) == [106]
    assert await it.state(session) == (4, 10)


async def test_an_idle_session_is_forked_at_once_and_the_copy_lives_its_ttl(serve: Serve) -> None:
    it = serve()
    session = it.open()
    await it.step(session, 1)
    copy = await it.lifecycle.fork(session, "copy")
    assert it.sessions.get("copy") == copy
    assert it.sessions.stands(copy).left == TTL


async def test_a_fork_to_a_taken_id_is_refused(serve: Serve) -> None:
    it = serve()
    session, _ = it.open(), it.open("taken")
    with pytest.raises(SessionExists):
        it.lifecycle.fork(session, "taken")
    it.nothing_leaks()


async def test_a_delete_takes_its_turn_but_the_session_is_not_found_any_more(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    answer, deleted = it.step(session, 1), it.lifecycle.delete(session)
    with pytest.raises(SessionNotFound):
        it.sessions.get("s")
    with pytest.raises(SessionExists):
        it.open()
    it.start()
    await vacant(it.sessions, "s")
    assert outputs(await answer) == [1]
    await deleted
    assert await it.state(it.open()) == (0, 0)


async def test_an_id_that_is_deleted_opened_and_deleted_again_at_once_is_not_found(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store)
    session, other = it.open(), it.open("other")
    again: list[asyncio.Future[Any]] = []

    def opens_and_deletes(_: Call) -> None:
        second = it.open()
        store.held = True
        again.extend([it.step(second, 1), it.lifecycle.delete(second)])

    store.held = True
    deleted = it.lifecycle.delete(session)
    it.engine.submit(call([1], rows=[other.row], ended=opens_and_deletes))
    await until(lambda: len(store) == 2)
    store.held = False
    store.release()  # the delete is done first, then the call, in one turn of the loop
    await deleted
    await until(lambda: len(store) == 1)
    with pytest.raises(SessionNotFound):
        it.sessions.get("s")
    store.held = False
    store.release()
    assert await outcomes(*again) == [[1], None]
    assert it.sessions.find("s") is None


async def test_a_session_that_opens_while_a_history_fails_keeps_the_order_of_its_calls(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), started=False)
    bad = it.open("bad")
    failing = it.lifecycle.open_warm("warm", TTL, column(13))
    calls: list[asyncio.Future[Any]] = []
    it.engine.submit(
        call([13], rows=[bad.row], ended=lambda _: calls.append(it.step(it.open("new"), *[1] * 9)))  # three chunks
    )
    it.start()
    assert [type(one) for one in await outcomes(failing)] == [NonFiniteOutput]
    calls.append(it.step(it.sessions.get("new"), 1))
    assert await outcomes(*calls) == [sums(*[1] * 9), [10]]


async def test_a_state_is_read_after_the_calls_accepted_before_and_before_what_comes_later(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    first, reading, second = it.step(session, 1), it.lifecycle.read(session), it.step(session, 2)
    it.start()
    step, state = await reading
    assert (step, state["sum"].tolist()) == (1, [[1]])
    assert outputs(await second) == [3]
    assert (await first).step == 1
    assert state["sum"].tolist() == [[1]]  # a copy


async def test_a_replaced_session_goes_on_from_the_given_step_and_forgets_its_answers(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    first, replaced = it.step(session, 1, step=0), it.lifecycle.replace(session, 10, summed(100))
    after = it.step(session, 5, step=10)
    it.start()
    assert outputs(await first) == [1]
    assert await replaced == session
    answer = await after
    assert (outputs(answer), answer.step) == ([105], 11)
    with pytest.raises(StepConflict):
        await it.step(session, 1, step=0)


async def test_a_replace_and_a_fork_tell_how_the_session_stood_even_if_a_delete_comes_right_behind(
    serve: Serve,
) -> None:
    it = serve(started=False)
    session = it.open()

    def told(one: Session) -> tuple[str, int, float]:
        return one.id, one.step, one.ttl

    first = it.step(session, 1, step=0)
    forked, replaced = it.lifecycle.fork(session, "copy", told), it.lifecycle.replace(session, 7, summed(70), told)
    deleted = it.lifecycle.delete(session)
    it.start()
    assert outputs(await first) == [1]
    assert [await forked, await replaced] == [("copy", 1, TTL), ("s", 7, TTL)]
    await deleted


async def test_a_replaced_session_keeps_its_new_step_when_a_call_before_it_failed(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), started=False)
    session = it.open()
    calls = [
        it.step(session, 13, step=0),
        it.step(session, 2, step=1),
        it.lifecycle.replace(session, 7, summed(70)),
        it.step(session, 1, step=7),
    ]
    it.start()
    failed, fallen, _, answer = await outcomes(*calls)
    assert [type(failed), type(fallen)] == [NonFiniteOutput, StepConflict]
    assert answer == [71]


async def test_a_session_that_is_opened_with_a_state_goes_on_from_the_given_step(serve: Serve) -> None:
    it = serve()
    session = await it.lifecycle.open("s", TTL, step=5, state=summed(50))
    assert outputs(await it.step(session, 1, 2, step=5)) == sums(1, 2, before=50)
    assert session.step == 7


async def test_many_copies_stand_where_the_accepted_calls_lead_and_go_their_own_ways(serve: Serve) -> None:
    it = serve(most=10_000)
    source = it.open()
    step, forking = it.step(source, 5), asyncio.ensure_future(it.lifecycle.fork_many(source, 3000))
    await step
    ids, standing = await forking
    assert (len(set(ids)), standing.id, standing.step) == (3000, ids[0], 1)
    copies = [it.sessions.get(id) for id in ids]
    assert {copy.step for copy in copies} == {1}
    assert it.engine.table.state["sum"][[copy.row for copy in copies]].tolist() == [[5.0]] * 3000
    assert outputs(await it.step(copies[7], 1)) == [6]
    assert (await it.state(copies[8]), await it.state(source)) == ((1, 5), (1, 5))


@pytest.mark.parametrize("ids", [["a", "b", "taken", "c"], 49, 100, ["a", "a"]])
async def test_of_many_copies_all_are_made_or_none(serve: Serve, ids: Any) -> None:
    it = serve(most=50)
    source = it.open()
    it.open("taken")
    with pytest.raises((SessionExists, Overloaded, PayloadTooLarge)):
        await it.lifecycle.fork_many(source, ids)
    assert it.sessions.statistics().live == 2


async def test_no_copy_is_there_if_the_store_refuses_them_nor_before_it_has_them(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store)
    source = it.open()
    store.held = True
    forking = asyncio.ensure_future(it.lifecycle.fork_many(source, ["a", "b"]))
    await until(lambda: len(store) == 1)
    for id in ("a", "b"):
        with pytest.raises(SessionNotFound):
            it.sessions.get(id)
    store.release(error=StoreUnavailable())
    with pytest.raises(StoreUnavailable):
        await forking
    assert it.sessions.statistics().live == 1
