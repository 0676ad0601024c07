"""What one client may ask for without harm to others, and which answer a retry gets."""

import pytest

from service.engine.admission import PENDING
from service.engine.call import Deadline
from service.errors import DeadlineExceeded, Overloaded, PayloadTooLarge
from service.models.fitness import Fitness
from tests.fakes import column
from tests.service.engine.serving import Serve, outcomes


async def test_a_retry_after_a_replaced_state_gets_the_answer_that_followed_it(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    before = it.step(session, 5, step=0)
    replaced = it.lifecycle.replace(session, 0, {"sum": column(100)})
    after, retry = it.step(session, 5, step=0), it.step(session, 5, step=0)
    it.start()
    assert await outcomes(before, after, retry) == [[5], [105], [105]]
    assert (await replaced).id == "s"
    assert await outcomes(it.step(session, 5, step=0)) == [[105]]


async def test_a_retry_without_a_deadline_outlives_the_deadline_of_the_call_that_it_repeats(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    first = it.step(session, 1, step=0, deadline=it.clock() + 1)
    retry = it.step(session, 1, step=0)
    it.clock.advance(2)
    it.start()
    assert await outcomes(first, retry) == [[1], [1]]


async def test_the_calls_of_one_request_share_its_deadline(serve: Serve) -> None:
    it = serve(started=False)
    session, other = it.open(), it.open("t")
    late = Deadline(it.clock() + 1)
    answers = [it.step(one, 1, deadline=late) for one in (session, other, session)]
    unhurt = it.step(session, 7)
    it.clock.advance(2)
    it.start()
    ended = await outcomes(*answers, unhurt)
    assert [type(one) for one in ended[:3]] == [DeadlineExceeded] * 3
    assert ended[3] == [7]


async def test_so_many_calls_may_wait_on_one_session_and_no_more(serve: Serve) -> None:
    it = serve(started=False, most_rows=10 * PENDING)
    session, other = it.open(), it.open("t")
    waiting = [it.step(session, 1) for _ in range(PENDING)]
    for refused in (lambda: it.step(session, 1), lambda: it.lifecycle.fork(session, None)):
        with pytest.raises(Overloaded):
            refused()
    with pytest.raises(PayloadTooLarge):
        it.engine.admission.check_many(PENDING + 1, [other] * (PENDING + 1))
    it.step(other, 1)
    it.start()
    assert (await outcomes(*waiting))[-1] == [PENDING]
    it.step(session, 1)


async def test_a_long_sequence_that_cannot_be_cut_is_not_run_with_short_ones(serve: Serve) -> None:
    it = serve(started=False, fitness=Fitness(False, 0.0, 1, 0.0), chunk=4, batch=8)
    predicts = [it.predict([*[1] * steps]) for steps in (1000, 2, 2, 30, 2, 2)]
    it.start()
    await outcomes(*predicts)
    assert sorted(it.model.batches) == [[2, 2, 2, 2], [30], [1000]]


async def test_a_large_body_is_refused_unread_only_if_there_may_be_room_for_it_later(serve: Serve) -> None:
    it = serve(started=False, queue_bytes=1_000)
    it.engine.admission.spare(100_000)  # how much of it is names and blanks is not known yet
    assert not it.engine.statistics().refused
    answer = it.predict(range(100))
    with pytest.raises(Overloaded):
        it.engine.admission.spare(5_000)
    assert it.engine.statistics().refused == {"overloaded": 1}
    it.start()
    await answer
