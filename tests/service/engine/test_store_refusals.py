"""Whatever a store refuses, delays or fails at: clients were told exactly what was committed, once and in order."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.engine.call import Call
from service.errors import CarouselError
from service.sessions.session import Session
from service.store.store import Advanced, Change, Conflicts, Home, Opened
from tests.fakes import FakeStore, RunningSum, column, rows_of
from tests.service.engine.replica import Stands, replica
from tests.service.engine.serving import TTL, Serving, answered, call, outcomes, summed

NAN = 13
Steps = tuple[str, int, tuple[float, ...], tuple[float, ...]]  # session, its step before, inputs, outputs

many = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("steps"), many, st.lists(st.integers(1, 5), min_size=3, max_size=3), st.booleans()),
        st.tuples(st.just("steps"), many, st.just([1, 1, 1]), st.booleans()),
        st.tuples(st.just("merged"), many, st.booleans()),
        st.tuples(st.just("bad"), st.integers(0, 3)),
        st.tuples(st.just("retry")),
        st.tuples(st.just("alone"), st.integers(0, 3)),
        st.tuples(st.just("open"), st.booleans()),
        st.tuples(st.just("fork"), st.integers(0, 3)),
        st.tuples(st.just("replace"), st.integers(0, 3), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.integers(0, 3)),
        st.tuples(st.just("pause"), st.integers(1, 5)),
    ),
    max_size=40,
)


class Moody(FakeStore):
    """Commits late, refuses some rows, and fails at times, once it is held."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random

    def commit(self, home: Home, changes: Sequence[Change]) -> "asyncio.Future[Conflicts] | None":
        """See Store.commit."""
        self.error = OSError("disk full") if self.held and self.random.random() < 0.1 else None
        return super().commit(home, changes)

    async def work(self) -> None:
        """Let commits be done, now and then."""
        while True:
            await asyncio.sleep(0)
            while len(self) and self.random.random() < 0.5:
                self._settle()

    def _settle(self) -> None:
        """End the oldest commit."""
        changes, _, _ = self._waiting[0]
        rows = [row for change in changes for row in rows_of(change)]
        self.conflicts = {row: CarouselError("refused") for row in rows if self.random.random() < 0.2}
        self.release(1, OSError("lost") if self.random.random() < 0.1 else None)
        self.conflicts = {}


class Clients:
    """Call the engine, and note what they were told. The values of each call are its own."""

    def __init__(self, it: Serving) -> None:
        self.it = it
        self.numbers: Iterator[int] = count(100)
        self.applied: list[Steps] = []
        self.asked: Counter[int] = Counter()  # by tag or number of a call: how many times it is to be told
        self.told: Counter[int] = Counter()
        self.named: list[tuple[Session, int, list[float]]] = []  # calls that may be repeated
        self.operations: list[Awaitable[Any]] = []

    def visible(self) -> list[Session]:
        """The sessions that clients find now."""
        found = [self.it.sessions.find(id) for id in list(self.it.sessions._live)]
        open = [one for one in found if one is not None and not self.it.sessions.opening(one)]
        return [one for one in open if one.id not in self.it.sessions.ending]

    def sessions(self, places: Sequence[int]) -> list[Session]:
        """Some of them, all different."""
        here = self.visible()
        return list({here[place % len(here)].id: here[place % len(here)] for place in places if here}.values())

    def submit(
        self, items: Sequence[tuple[Session, list[float], int | None]], *, merged: bool = False, alone: bool = False
    ) -> None:
        """Accept a call, whole or merged of single steps, or one that came alone."""
        if not items:
            return
        sessions, values, asked = zip(*items, strict=True)
        tags = [next(self.numbers) for _ in items]
        ids = {session.row: session.id for session in sessions}

        def ended(part: Call) -> None:
            self.told.update(part.tags or tags)
            for row, start, sums, index in zip(part.rows, part.starts, answered(part), range(len(ids)), strict=False):
                if not isinstance(sums, CarouselError) and not part.refused:
                    steps = tuple(part.inputs[part.span(index), 0].tolist())
                    self.applied.append((ids[row], int(start), steps, tuple(sums)))

        self.asked.update(tags)
        self.named += [(session, step, steps) for session, steps, step in items if step is not None]
        rows = [session.row for session in sessions]
        made = call(*values, rows=rows, asked=asked, ended=ended, tags=tags if merged else None)
        if not (alone and self.it.engine.run_alone(made)):
            self.it.engine.submit(made)

    def values(self, steps: int) -> list[float]:
        return [float(next(self.numbers)) for _ in range(steps)]

    async def steps(self, places: list[int], lengths: list[int], named: bool) -> None:
        chosen = self.sessions(places)
        self.submit(
            [(one, self.values(n), one.ahead if named else None) for one, n in zip(chosen, lengths, strict=False)]
        )

    async def merged(self, places: list[int], named: bool) -> None:
        self.submit([(one, self.values(1), one.ahead if named else None) for one in self.sessions(places)], merged=True)

    async def bad(self, place: int) -> None:
        self.submit([(one, [*self.values(1), NAN], None) for one in self.sessions([place])])

    async def retry(self) -> None:
        if self.named and self.named[-1][0] in self.visible():
            session, step, values = self.named[-1]
            self.submit([(session, values, step)])

    async def alone(self, place: int) -> None:
        self.submit([(one, self.values(1), one.ahead) for one in self.sessions([place])], merged=True, alone=True)

    async def open(self, warm: bool) -> None:
        id = f"session {next(self.numbers)}"
        if warm:
            self.operations.append(self.it.lifecycle.open_warm(id, TTL, column(*self.values(3))))
        else:
            self.operations.append(self.it.lifecycle.open(id, TTL))
        await asyncio.sleep(0)

    async def fork(self, place: int) -> None:
        for one in self.sessions([place]):
            self.operations.append(self.it.lifecycle.fork(one, f"copy {next(self.numbers)}"))

    async def replace(self, place: int, step: int) -> None:
        for one in self.sessions([place]):
            self.operations.append(self.it.lifecycle.replace(one, step, summed(next(self.numbers))))

    async def delete(self, place: int) -> None:
        for one in self.sessions([place]):
            self.operations.append(self.it.lifecycle.delete(one))

    async def pause(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)


def committed(store: FakeStore) -> list[Steps]:
    """The steps that are durable."""
    steps: list[Steps] = []
    ids: dict[int, str] = {}
    for changes, conflicts in store.written:
        for change in changes:
            if isinstance(change, Opened) and change.row not in conflicts:
                ids[change.row] = change.id
            if isinstance(change, Advanced):
                ends = change.lengths.cumsum().tolist()
                for row, start, begin, end in zip(change.rows, change.starts, [0, *ends], ends, strict=False):
                    if row not in conflicts:
                        values = (tuple(array[begin:end, 0].tolist()) for array in (change.inputs, change.outputs))
                        steps.append((ids[row], int(start), *values))
    return steps


async def told(story: list[tuple[Any, ...]], seed: int, **how: Any) -> None:
    """Let clients call, and compare what they were told with what is durable and with the table."""
    store = Moody(Random(seed))
    it = Serving(RunningSum(nan_on=NAN), most_rows=10_000, store=store, **how)
    it.start()
    working = asyncio.create_task(store.work())
    clients = Clients(it)
    for id in "abcd":
        it.open(id)
    store.held = True
    for name, *arguments in story:
        act: Callable[..., Awaitable[None]] = getattr(clients, name)
        await act(*arguments)
    ended = await outcomes(*clients.operations)
    assert [one for one in ended if isinstance(one, Exception) and not isinstance(one, CarouselError)] == []
    await it.quiet()
    working.cancel()
    assert clients.told == clients.asked
    durable = committed(store)
    assert set(clients.applied) == set(durable)
    assert len(durable) == len(set(durable))
    live = [it.sessions.find(id) for id in list(it.sessions._live)]
    sums = it.engine.table.state["sum"][:, 0].tolist()
    assert replica(store) == {one.row: Stands(one.id, one.step, sums[one.row]) for one in live if one is not None}
    assert all((one.ahead, one.waiting) == (one.step, 0) for one in live if one is not None)
    await it.stop()


@given(story=operations, seed=st.integers(0, 2**32), chunk=st.integers(1, 5), batch=st.integers(1, 8))
def test_clients_are_told_exactly_what_was_committed(
    story: list[tuple[Any, ...]], seed: int, chunk: int, batch: int
) -> None:
    asyncio.run(told(story, seed, chunk=chunk, batch=batch))
