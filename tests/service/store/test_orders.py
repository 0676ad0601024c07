"""Random calls, rounds and crashes: the sessions are what an undisturbed process would have."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import SessionExists
from tests.fakes import FakeClock
from tests.service.engine.serving import TTL, summed
from tests.service.store.serving import EXACT, INEXACT, Durable, process

_IDS = st.sampled_from("abcd")
_ACTS = st.one_of(
    st.tuples(st.just("step"), _IDS, st.lists(st.integers(0, 9), min_size=1, max_size=6)),
    st.tuples(st.just("together"), st.lists(_IDS, min_size=2, unique=True), st.integers(0, 9)),
    st.tuples(st.just("riders"), _IDS, st.integers(2, 6)),
    st.tuples(st.just("open"), _IDS, st.integers(0, 9)),
    st.tuples(st.just("fork"), _IDS, _IDS),
    st.tuples(st.just("fork many"), _IDS, st.lists(_IDS, min_size=1, unique=True)),
    st.tuples(st.just("replace"), _IDS, st.integers(0, 99)),
    st.tuples(st.just("delete"), _IDS, st.none()),
    st.tuples(st.sampled_from(["round", "crash", "end"]), st.none(), st.none()),
)


@settings(max_examples=40)
@given(st.lists(_ACTS, max_size=25), st.booleans(), st.booleans(), st.sampled_from([1, 1000, 2**30]))
def test_sessions_are_what_they_would_be_undisturbed(
    acts: list[tuple[str, object, object]], exact: bool, sync: bool, resident: int
) -> None:
    asyncio.run(_play(acts, exact=exact, sync=sync, resident=resident))


async def _play(acts: list[tuple[str, object, object]], *, exact: bool, **settings: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wall, stands = FakeClock(1e9), dict[str, tuple[int, float]]()

        async def begin() -> Durable:
            return await process(fitness=EXACT if exact else INEXACT).begin(Path(folder), wall, **settings)

        one = await begin()
        for act, who, what in [*acts, ("crash", None, None)]:
            if act in ("crash", "end"):
                await (one.crash() if act == "crash" else one.end())
                one = await begin()
                for id in "abcd":
                    session = one.sessions.find(id)
                    seen = None if session is None else await one.state(session)
                    assert seen == stands.get(id), id
            elif act == "round":
                await one.round()
                assert one.sessions.statistics().live == len(stands)
            else:
                await _act(one, stands, act, who, what)
        await one.end()


async def _act(one: Durable, stands: dict[str, tuple[int, float]], act: str, who: object, what: object) -> None:
    """Do something, and note what it comes to."""
    if act == "together":
        assert isinstance(who, list)
        ids = [id for id in who if id in stands]
        if ids:
            await one.frame(*((one.sessions.get(id), [what], None) for id in ids))
            stands |= {id: (stands[id][0] + 1, stands[id][1] + float(str(what))) for id in ids}
        return
    id = str(who)
    if act == "open":
        if id not in stands:
            history = summed(1.0)["sum"].repeat(int(str(what)), axis=0)
            opened = one.lifecycle.open_warm(id, TTL, history) if len(history) else one.lifecycle.open(id, TTL)
            await opened
            stands[id] = len(history), float(len(history))
    elif id in stands:
        session, (step, total) = one.sessions.get(id), stands[id]
        if act == "step":
            assert isinstance(what, list)
            await one.step(session, *what, step=step)
            stands[id] = step + len(what), total + sum(what)
        elif act == "riders":
            count = int(str(what))
            await asyncio.gather(*[one.step(session, 1) for _ in range(count)])
            stands[id] = step + count, total + count
        elif act == "fork" and str(what) not in stands:
            await one.lifecycle.fork(session, str(what))
            stands[str(what)] = stands[id]
        elif act == "fork many":
            await _fork_many(one, stands, id, what)
        elif act == "replace":
            await one.lifecycle.replace(session, 7, summed(float(str(what))))
            stands[id] = 7, float(str(what))
        elif act == "delete":
            await one.lifecycle.delete(session)
            del stands[id]


async def _fork_many(one: Durable, stands: dict[str, tuple[int, float]], id: str, what: object) -> None:
    assert isinstance(what, list)
    if stands.keys() & set(what):
        with pytest.raises(SessionExists):
            await one.lifecycle.fork_many(one.sessions.get(id), what)
    else:
        await one.lifecycle.fork_many(one.sessions.get(id), what)
        stands |= dict.fromkeys(what, stands[id])
