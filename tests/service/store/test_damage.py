"""What is damaged is refused by name, and harms no other session."""

import shutil
from pathlib import Path

import lmdb
import numpy as np
import pytest

from service.errors import SessionNotFound
from service.store.embedded.journal_files import HEAD, files
from tests.service.store.serving import INEXACT, Begin

_IDS = ("a", "b", "c")


async def _written(begin: Begin, folder: Path) -> bytes:
    """Three sessions with entries of their own, not in records → the journal."""
    one = await begin()
    for id in _IDS:
        one.open(id)
    for value in (1, 2):
        for id in _IDS:
            await one.step(one.sessions.get(id), value)
    await one.crash()
    [file] = (path for path in files(folder) if path.stat().st_size > HEAD)
    return file.read_bytes()


async def test_a_flipped_byte_of_the_journal_harms_one_session_at_most(
    begin: Begin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, kept = tmp_path / "store", tmp_path / "kept"
    content = await _written(begin, folder)
    shutil.copytree(folder, kept)
    [file] = (path for path in files(kept) if path.stat().st_size > HEAD)
    for place in np.random.default_rng(0).choice(len(content), 60, replace=False).tolist():
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        (folder / file.name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        caplog.clear()
        one = await begin()
        there = {id: one.sessions.find(id) for id in _IDS}
        lost = [id for id, session in there.items() if session is None]
        assert len(lost) <= 1, place
        for id in set(_IDS) - set(lost):
            assert await one.state(one.sessions.get(id)) == (2, 3.0), (place, id)
        if lost:
            assert file.name in caplog.text
            assert (folder / file.name).with_suffix(".damaged").exists()
        await one.crash()


async def test_a_torn_end_of_the_journal_is_cut(begin: Begin, tmp_path: Path) -> None:
    folder, kept = tmp_path / "store", tmp_path / "kept"
    content = await _written(begin, folder)
    shutil.copytree(folder, kept)
    [file] = (path for path in files(kept) if path.stat().st_size > HEAD)
    for cut in np.random.default_rng(1).choice(len(content), 30, replace=False).tolist():
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        (folder / file.name).write_bytes(content[:cut])
        one = await begin()
        seen = [-1 if (session := one.sessions.find(id)) is None else session.step for id in _IDS]
        assert seen == sorted(seen, reverse=True), cut  # a prefix of what was written
        assert max(seen) - min(seen) <= (1 if min(seen) >= 0 else 2)
        for id in _IDS:
            if one.sessions.find(id) is not None:
                step, total = await one.state(one.sessions.get(id))
                assert total == [0.0, 1.0, 3.0][step]
        await one.crash()


async def test_a_damaged_record_is_refused_by_name(
    begin: Begin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = await begin()
    for id in ("a", "b"):
        await one.step(one.open(id), 5)
    await one.end()
    env = lmdb.open(str(tmp_path / "store" / "records"), max_dbs=8, lock=False)
    with env.begin(write=True, db=env.open_db(b"records")) as txn:
        key, value = next(iter(txn.cursor()))
        txn.put(key, value[:60] + bytes([value[60] ^ 4]) + value[61:])
    env.close()
    two = await begin()
    with pytest.raises(SessionNotFound):
        two.sessions.get("a")
    assert "record of session 'a'" in caplog.text
    assert await two.state(two.sessions.get("b")) == (1, 5.0)
    await two.step(two.open("a"), 7)
    await two.crash()
    three = await begin()
    assert await three.state(three.sessions.get("a")) == (1, 7.0)


async def test_a_journal_of_another_store_is_refused_by_name(
    begin: Begin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = await begin()
    await one.step(one.open("a"), 5)
    await one.crash()
    [foreign] = (path for path in files(tmp_path / "store") if path.stat().st_size > HEAD)
    content = foreign.read_bytes()
    shutil.rmtree(tmp_path / "store")
    two = await begin()
    await two.step(two.open("b"), 7)
    await two.crash()
    (tmp_path / "store" / "0000000000000001.journal").write_bytes(content)
    three = await begin()
    assert "0000000000000001.journal: it is of another store" in caplog.text
    assert await three.state(three.sessions.get("b")) == (1, 7.0)
    with pytest.raises(SessionNotFound):
        three.sessions.get("a")


@pytest.mark.parametrize("fitness", [None, INEXACT])
async def test_a_missing_entry_is_noticed(
    begin: Begin, tmp_path: Path, caplog: pytest.LogCaptureFixture, fitness: object
) -> None:
    one = await begin(fitness=fitness)
    a, b = one.open("a"), one.open("b")
    await one.step(a, 1)
    one.store._journal.rotate()
    await one.step(a, 2)
    one.store._journal.rotate()
    await one.step(a, 3)
    await one.step(b, 3)
    await one.crash()
    files(tmp_path / "store")[-2].unlink()
    two = await begin(fitness=fitness)
    assert "session 'a' is refused" in caplog.text
    with pytest.raises(SessionNotFound):
        two.sessions.get("a")
    assert await two.state(two.sessions.get("b")) == (1, 3.0)
