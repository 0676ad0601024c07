"""Kept answers: so many a session, so many bytes for all, oldest dropped first."""

import numpy as np

from service.replay import RECORD_BYTES, Kept, Replays, digest_of
from tests.fakes import column

KIB = 1024


class Session:
    """An owner of kept answers."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []

    def starts(self) -> list[int]:
        return [answer.start for answer in self.kept]


def answer(start: int, size: int = 4) -> Kept:
    """An answer of `size` bytes."""
    return Kept(start, size // 4, b"", np.zeros((size // 4, 1), np.float32))


def held(*sizes: int) -> int:
    """What answers of these sizes count for, with the record of each."""
    return sum(sizes) + len(sizes) * RECORD_BYTES


def keep(replays: Replays, owner: Session, *sizes: int) -> None:
    for start, size in enumerate(sizes):
        replays.keep(owner, answer(start, size))


def test_the_last_answers_of_each_session_are_kept() -> None:
    replays = Replays(each=2, most_bytes=10**6)
    one, two = Session(), Session()
    keep(replays, one, 4, 4, 4)
    keep(replays, two, 4)
    assert (one.starts(), two.starts(), replays.bytes) == ([1, 2], [0], held(4, 4, 4))


def test_older_answers_are_kept_within_64_kib_and_the_newest_whatever_its_size() -> None:
    replays = Replays(each=10, most_bytes=10**9)
    session = Session()
    keep(replays, session, 4, 40 * KIB, 24 * KIB, 10**6)
    assert session.starts() == [1, 2, 3]  # 64 KiB, and the newest
    replays.keep(session, answer(4))
    assert session.starts() == [4]  # the megabyte is an older one now


def test_the_budget_of_all_sessions_drops_the_oldest_answer_of_any() -> None:
    replays = Replays(each=4, most_bytes=held(4, 4, 4))
    one, two = Session(), Session()
    replays.keep(one, answer(0))
    keep(replays, two, 4, 4)
    replays.keep(one, answer(1))
    assert (one.starts(), two.starts(), replays.bytes) == ([1], [0, 1], held(4, 4, 4))


def test_an_answer_over_the_whole_budget_is_not_kept() -> None:
    replays = Replays(each=4, most_bytes=held(4, 4, 4))
    session = Session()
    keep(replays, session, 4, held(4, 4, 4))
    assert (session.starts(), replays.bytes) == ([], 0)


def test_forgetting_a_session_frees_its_bytes_and_no_others() -> None:
    replays = Replays(each=4, most_bytes=10**6)
    one, two = Session(), Session()
    keep(replays, one, 4, 8)
    keep(replays, two, 16)
    replays.forget(one)
    replays.forget(one)
    assert (one.kept, two.starts(), replays.bytes) == ([], [0], held(16))
    keep(replays, two, *[4] * 10)  # what is dropped later is two's alone
    assert replays.bytes == held(*[4] * 4)


def test_the_digest_tells_bits_apart_that_compare_equal() -> None:
    assert digest_of(column(1, 2)) == digest_of(column(1, 2))
    assert digest_of(column(0.0)) != digest_of(column(-0.0))
    assert digest_of(column(1)) != digest_of(column(np.nextafter(np.float32(1), np.float32(2))))
