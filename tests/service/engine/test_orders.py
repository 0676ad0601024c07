"""Any interleaving of calls equals an oracle that does them one after another with Python's own sums."""

import asyncio
from collections.abc import Awaitable, Callable
from operator import itemgetter
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.models.fitness import Fitness
from tests.fakes import FakeStore, RunningSum
from tests.service.engine.replica import Stands, replica
from tests.service.engine.serving import Serving, outcomes
from tests.service.engine.story import FAR, IDS, NAN, REFUSED, Story

ids = st.sampled_from(IDS)
values = st.lists(
    st.sampled_from([0, 1, 2, 3, 5, 8, 1, 2, 3, 5, 8, 1, 2, 3, 5, 8, NAN, REFUSED]), min_size=1, max_size=9
)
kinds = st.sampled_from(["next", "next", "next", "unnamed", "again", "wrong"])
items = st.lists(st.tuples(ids, values, kinds), min_size=1, max_size=3, unique_by=itemgetter(0))
steps = st.lists(
    st.tuples(ids, st.sampled_from([1, 2, 3, 5, 8, NAN, REFUSED]), kinds),
    min_size=1,
    max_size=3,
    unique_by=itemgetter(0),
)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("step"), ids, values, st.booleans()),
        st.tuples(st.just("step"), ids, values, st.booleans()),
        st.tuples(st.just("alone"), ids, st.sampled_from([1, 2, NAN, REFUSED]), st.booleans()),
        st.tuples(st.just("burst"), ids, values, st.booleans()),
        st.tuples(st.just("frame"), items, st.sampled_from([None, None, FAR, 0.0])),
        st.tuples(st.just("merged"), steps),
        st.tuples(st.just("merged"), steps),
        st.tuples(st.just("retry"), ids),
        st.tuples(st.just("late"), ids, values, st.booleans()),
        st.tuples(st.just("predict"), st.lists(values, min_size=1, max_size=3)),
        st.tuples(st.just("abandoned"), st.lists(values, min_size=1, max_size=3)),
        st.tuples(st.just("fork"), ids, ids),
        st.tuples(st.just("reads"), ids, st.sampled_from([1, 1, 30])),
        st.tuples(st.just("replace"), ids, st.integers(0, 20), st.integers(0, 100)),
        st.tuples(st.just("delete"), ids),
        st.tuples(st.just("warm"), ids, values),
        st.tuples(st.just("pause"), st.integers(1, 5)),
    ),
    max_size=30,
)
fitnesses = st.builds(Fitness, st.just(True), st.just(0.0), st.sampled_from([1, 2]), st.sampled_from([0.0, 0.0, 1.0]))


def agrees(outcome: Any, expected: Any) -> bool:
    """Whether an outcome is the expected value, or of the expected kind."""
    if isinstance(expected, type) or (isinstance(expected, tuple) and isinstance(expected[0], type)):
        return isinstance(outcome, expected)
    return bool(outcome == expected)


async def told(story: list[tuple[Any, ...]], store: FakeStore, seed: int | None, **how: Any) -> None:
    """Tell a story, compare all answers, states and commits at the end, and find nothing left over.

    With a seed the store commits late.
    """
    it = Serving(RunningSum(nan_on=NAN, raises_on=REFUSED), most_rows=10_000, replay=100, store=store, **how)
    it.start()
    late = None if seed is None else asyncio.create_task(commits_late(store, Random(seed)))
    teller = Story(it)
    for name, *arguments in story:
        act: Callable[..., Awaitable[Any]] = getattr(teller, name)
        await act(*arguments)
    got = await outcomes(*teller.calls)
    assert [(one, other) for one, other in zip(got, teller.expected, strict=True) if not agrees(one, other)] == []
    found = {it.sessions.get(id): truth for id, truth in teller.truths.items()}
    assert replica(store) == {one.row: Stands(one.id, truth.step, truth.sum) for one, truth in found.items()}
    for session, truth in found.items():
        assert await it.state(session) == (truth.step, truth.sum)
        assert (session.step, session.ahead, session.waiting) == (truth.step, truth.step, 0)
        await it.lifecycle.delete(session)
    if late is not None:
        late.cancel()
    await it.stop()
    assert it.sessions.statistics().live == it.engine.table.used == len(replica(store)) == 0
    assert it.sessions.budget.bytes == it.engine.answers._ring_bytes  # no answer is kept by itself any more


async def commits_late(store: FakeStore, random: Random) -> None:
    """Let a few of the commits that wait be done, now and then."""
    store.held = True
    while True:
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
        store.release(random.randint(0, len(store)))
        await asyncio.sleep(0)


@settings(max_examples=2 * settings().max_examples)
@given(
    story=operations,
    chunk=st.integers(1, 5),
    batch=st.integers(1, 8),
    fitness=fitnesses,
    late=st.one_of(st.none(), st.integers(0, 2**32)),
)
def test_every_interleaving_equals_the_sequential_oracle_and_leaves_nothing_behind(
    story: list[tuple[Any, ...]], chunk: int, batch: int, fitness: Fitness, late: int | None
) -> None:
    asyncio.run(told(story, FakeStore(), late, chunk=chunk, batch=batch, fitness=fitness))
