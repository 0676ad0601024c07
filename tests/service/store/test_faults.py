"""A disk that is full, a store that syncs, and answers that wait for it."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

from service.errors import StoreUnavailable
from service.store.embedded import journal
from service.store.embedded.journal_files import files
from tests.fakes import until
from tests.service.store.serving import Begin


@contextmanager
def full(most: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("sync", [False, True])
async def test_a_full_disk_refuses_what_changes_and_heals(begin: Begin, tmp_path: Path, sync: bool) -> None:
    one = await begin(sync=sync)
    a = one.open("a") if not sync else await one.lifecycle.open("a", 60.0)
    told = await one.step(a, 1)
    size = max(path.stat().st_size for path in files(tmp_path / "store"))
    for more in (0, 50, 100):
        with full(size + more):
            with pytest.raises(StoreUnavailable, match="cannot be written: File too large"):
                await one.step(a, 2)
            with pytest.raises(StoreUnavailable):
                await one.lifecycle.open("b", 60.0)
            assert await one.state(a) == (1, 1.0)
            assert await one.step(a, 1, step=0) == told
    await one.step(a, 2, step=1)
    assert (await one.lifecycle.open("b", 60.0)).step == 0
    await one.crash()
    two = await begin()
    assert await two.state(two.sessions.get("a")) == (2, 3.0)
    assert two.sessions.get("b").step == 0


async def test_only_its_user_may_read_what_is_stored_and_that_user_need_not_be_root(
    begin: Begin, tmp_path: Path
) -> None:
    one = await begin()
    await one.step(one.open("a"), 1)
    await one.round()
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "store").iterdir()}
    assert modes.pop("records") == "0o700"
    assert {*modes.values()} == {"0o600"}


async def test_records_that_cannot_be_written_leave_the_journal(
    begin: Begin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = await begin()
    a = one.open("a")
    for value in range(20):
        await one.step(a, value)
    with full(4096), pytest.raises(lmdb.Error):
        await one.round()
    assert files(tmp_path / "store")
    await one.round()
    assert not files(tmp_path / "store")
    await one.crash()
    two = await begin()
    assert await two.state(two.sessions.get("a")) == (20, 190.0)


async def test_with_sync_answers_come_in_order_and_are_there(begin: Begin) -> None:
    one = await begin(sync=True)
    a = await one.lifecycle.open("a", 60.0)
    told = [await answer for answer in [one.step(a, value) for value in range(30)]]
    assert [answer.step for answer in told] == list(range(1, 31))
    await one.round()
    answers = [one.step(a, 1) for _ in range(5)]
    deleted = one.lifecycle.delete(a)
    assert [answer.step for answer in [await answer for answer in answers]] == [31, 32, 33, 34, 35]
    await deleted
    b = await one.lifecycle.open("b", 60.0)
    await one.step(b, 4)
    await one.crash()
    two = await begin()
    assert two.sessions.find("a") is None
    assert await two.state(two.sessions.get("b")) == (1, 4.0)


async def test_a_round_waits_for_what_is_written_and_not_told_yet(begin: Begin) -> None:
    one = await begin(sync=True)
    for count in range(20):
        opening = one.lifecycle.open(str(count), 60.0)
        await until(lambda: one.store._journal._writing is None)
        await one.round()
        await opening
    await one.crash()
    two = await begin()
    assert [str(count) for count in range(20) if two.sessions.find(str(count)) is None] == []


async def test_a_large_entry_is_written_by_the_thread_and_small_ones_stay_behind_it(begin: Begin) -> None:
    one = await begin()
    a, b = one.open("a"), one.open("b")
    long = [float(value % 3) for value in range(journal._INLINE // 8)]
    answers = [one.step(a, *long), one.step(b, 1), one.step(a, 5)]
    for answer in answers:
        await answer
    await one.crash()
    two = await begin()
    assert await two.state(two.sessions.get("a")) == (len(long) + 1, sum(long) + 5)
    assert await two.state(two.sessions.get("b")) == (1, 1.0)
