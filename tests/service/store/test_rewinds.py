"""Random steps, rewinds and crashes: the snapshots are those that an undisturbed session would keep."""

import asyncio
import tempfile
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import SnapshotNotKept
from service.sessions.snapshots import Rule
from tests.fakes import FakeClock, column
from tests.service.engine.serving import TTL, summed
from tests.service.store.serving import EXACT, INEXACT, Begin, Durable, process

EVERY, KEEP = 3, 3
_ACTS = st.one_of(
    st.tuples(st.just("step"), st.lists(st.integers(0, 9), min_size=1, max_size=5)),
    st.tuples(st.just("rewind"), st.integers(0, 4)),
    st.tuples(st.just("replace"), st.integers(0, 12)),
    st.tuples(st.sampled_from(["round", "crash", "end", "away"]), st.none()),
)


class Past:
    """What an undisturbed session would be."""

    def __init__(self) -> None:
        self.step, self.sum = 0, 0.0
        self.kept: dict[int, float] = {}

    def advance(self, values: list[int]) -> None:
        due = self.step // EVERY < (self.step + len(values)) // EVERY
        self.step, self.sum = self.step + len(values), self.sum + sum(values)
        if due:
            self.kept[self.step] = self.sum
            self.kept = dict(sorted(self.kept.items())[-KEEP:])

    def stand(self, step: int, total: float) -> None:
        self.step, self.sum = step, total
        self.kept = {at: sum for at, sum in self.kept.items() if at <= step}


@settings(max_examples=40)
@given(st.lists(_ACTS, max_size=25), st.lists(st.integers(0, 9), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_snapshots_are_what_they_would_be_undisturbed(
    acts: list[tuple[str, object]], history: list[int], exact: bool, spilled: bool
) -> None:
    asyncio.run(_play(acts, history, exact=exact, resident=1 if spilled else 2**30))


async def _play(acts: list[tuple[str, object]], history: list[int], *, exact: bool, resident: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wall, past = FakeClock(1e9), Past()

        async def begin(**how: str) -> Durable:
            one = process(fitness=EXACT if exact else INEXACT)
            return await one.begin(Path(folder), wall, resident=resident, **how)

        one = await begin()
        await one.lifecycle.open_warm("s", TTL, column(*history), rule=Rule(EVERY, KEEP))
        past.advance(history)
        for act, what in [*acts, ("crash", None)]:
            if act in ("crash", "end", "away"):
                await (one.end() if act == "end" else one.crash())
                if act == "away":  # its model is not there for a while
                    one = await begin(digest="")
                    await one.crash()
                one = await begin()
                session = one.sessions.get("s")
                assert await one.state(session) == (past.step, past.sum)
                seen = {kept.step: kept.state["sum"].item() for kept in one.engine.rewinds.of(session.row)}
                assert seen == past.kept
                assert one.sessions.statistics().state_bytes == (1 + KEEP) * one.engine.table.row_bytes
            else:
                await _act(one, past, act, what)
        await one.end()


async def _act(one: Durable, past: Past, act: str, what: object) -> None:
    session = one.sessions.get("s")
    if act == "round":
        await one.round()
    elif act == "step":
        assert isinstance(what, list)
        await one.step(session, *what)
        past.advance(what)
    elif act == "replace":
        assert isinstance(what, int)
        await one.lifecycle.replace(session, what, summed(7.0))
        past.stand(what, 7.0)
    else:
        assert isinstance(what, int)
        step = [*past.kept, -1][what % (len(past.kept) + 1)]
        if step < 0:
            with pytest.raises(SnapshotNotKept):
                await one.lifecycle.rewind(session, 10**6)
        else:
            await one.lifecycle.rewind(session, step)
            past.stand(step, past.kept[step])


async def test_a_damaged_snapshot_is_not_kept_and_harms_nothing_else(
    begin: Begin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = await begin()
    await one.lifecycle.open("s", TTL, rule=Rule(1, 9))
    for value in (1, 2, 3):
        await one.step(one.sessions.get("s"), value)
    await one.end()
    env = lmdb.open(str(tmp_path / "store" / "records"), max_dbs=16, lock=False)
    with env.begin(write=True, db=env.open_db(b"snapshots")) as txn:
        key, value = next(iter(txn.cursor()))
        txn.put(key, value[:-1] + bytes([value[-1] ^ 4]))
    env.close()
    two = await begin()
    session = two.sessions.get("s")
    assert [kept.step for kept in two.engine.rewinds.of(session.row)] == [2, 3]
    assert "damaged" in caplog.text
    await two.lifecycle.rewind(session, 2)
    assert await two.state(session) == (2, 3.0)
