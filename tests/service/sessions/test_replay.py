"""Kept answers: so many a session, so many bytes for all, and what stands for the inputs they answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.models.model import Array
from service.sessions.budget import Budget
from service.sessions.digests import Digester, Digests
from service.sessions.replay import RECORD_BYTES, Answers
from service.sessions.table import Table
from tests.fakes import column

KIB = 1024
PLACE = 20  # bytes of an answer of one number in the table
ROWS = 5  # that may keep answers: so many answers of one length are worth a ring


def digest(value: int) -> Digests:
    return np.array([value, value], np.uint64)


class Kept:
    """The answers [T, K] of a few rows, with a budget."""

    def __init__(self, *, each: int = 4, most_bytes: int = 10**6, width: int = 1, capacity: int = 64) -> None:
        self.table, self.budget = Table({}, capacity), Budget(each=each, most_bytes=most_bytes)
        self.answers, self.width = Answers(self.table, width, self.budget), width
        for _ in range(ROWS):
            self.table.allocate()

    def keep(self, rows: list[int], start: int, steps: int = 1) -> None:
        """Keep an answer for each row: its start, and its row behind it."""
        outputs = np.array([[start * 10 + row] * steps * self.width for row in rows], np.float32)
        digests = np.array([digest(start)] * len(rows))
        self.answers.keep(np.array(rows), np.full(len(rows), start), digests, outputs, steps)

    def long(self, row: int, start: int, steps: int = 2) -> None:
        outputs = np.full((steps, self.width), start * 10 + row, np.float32)
        self.answers.keep_long(np.array([row]), np.array([start]), digest(start)[None], [outputs])

    def find(self, row: int, start: int, steps: int = 1) -> float | None:
        """The number in the answer, if there is one."""
        found = self.answers.find(row, start, steps, digest(start))
        assert found is None or (found.shape == (steps, self.width) and (found == found[0, 0]).all())
        return None if found is None else float(found[0, 0])

    def starts(self, row: int, steps: int = 1) -> list[int]:
        return [start for start in range(20) if self.find(row, start, steps) == start * 10 + row]


def record(*sizes: int) -> int:
    """What answers of these sizes that are kept by themselves count for."""
    return sum(sizes) + len(sizes) * RECORD_BYTES


def test_the_last_answers_of_each_session_are_kept() -> None:
    it = Kept(each=2)
    for start in range(3):
        it.keep([1, 2], start)
    it.keep([2], 3)
    assert (it.starts(1), it.starts(2), it.starts(3)) == ([1, 2], [2, 3], [])


def test_an_answer_is_found_by_step_length_and_digest_alone() -> None:
    it = Kept()
    it.keep([1], 5)
    it.long(2, 5)
    for row, steps in ((1, 1), (2, 2)):
        assert it.answers.find(row, 5, steps, digest(5)) is not None
        assert it.answers.find(row, 4, steps, digest(5)) is None
        assert it.answers.find(row, 5, steps + 1, digest(5)) is None
        assert it.answers.find(row, 5, steps, np.array([5, 6], np.uint64)) is None
        assert it.answers.find(row, 5, steps, np.array([6, 5], np.uint64)) is None
        assert it.answers.find(3 - row, 5, steps, digest(5)) is None


def test_a_found_answer_is_not_changed_by_what_is_kept_later() -> None:
    it = Kept(each=1)
    it.keep([1], 0)
    found = it.answers.find(1, 0, 1, digest(0))
    it.keep([1], 1)
    assert found is not None
    assert found.tolist() == [[1]]


def test_short_and_long_answers_of_a_session_are_the_last_ones_together() -> None:
    it = Kept(each=3)
    it.keep([1], 0)
    it.long(1, 1)
    it.keep([1], 3)
    assert (it.starts(1), it.starts(1, 2)) == ([0, 3], [1])
    it.keep([1], 4)
    it.keep([1], 5)
    assert (it.starts(1), it.starts(1, 2), it.budget.bytes) == ([3, 4, 5], [], 3 * 64 * PLACE)
    it.long(1, 6)
    assert (it.starts(1), it.starts(1, 2)) == ([4, 5], [6])


def test_older_answers_are_kept_within_64_kib_and_the_newest_whatever_its_size() -> None:
    it = Kept(each=10, most_bytes=10**9)
    for start, size in enumerate((8, 40 * KIB, 24 * KIB, 10**6)):
        it.long(1, start, size // 4)
    assert [it.find(1, start, size // 4) for start, size in enumerate((8, 40 * KIB, 24 * KIB, 10**6))] == [
        *(None, 11, 21, 31)
    ]
    it.keep([1], 4)
    assert (it.starts(1), it.find(1, 3, 250_000)) == ([4], None)  # the megabyte is an older one now
    assert it.find(1, 2, 6 * KIB) is None


def test_the_budget_of_all_sessions_drops_the_oldest_answer_of_any() -> None:
    it = Kept(most_bytes=record(8, 8, 8))  # too little for a table
    it.keep([1], 0)
    it.long(2, 0)
    it.keep([2], 2)
    it.long(1, 1)
    assert (it.starts(1), it.starts(1, 2), it.starts(2), it.starts(2, 2)) == ([], [1], [2], [0])
    assert it.budget.bytes == record(8, 4, 8)


def test_the_budget_of_all_models_drops_the_oldest_answer_of_any() -> None:
    one, other = Kept(most_bytes=record(8, 8)), Kept()
    other.answers = Answers(other.table, 1, one.budget)
    one.long(1, 0)
    other.long(1, 1)
    one.long(2, 2)
    assert (one.starts(1, 2), other.starts(1, 2), one.starts(2, 2)) == ([], [1], [2])
    assert one.budget.bytes == record(8, 8)


def test_an_answer_over_the_whole_budget_is_not_kept() -> None:
    it = Kept(most_bytes=record(8, 8, 8))
    it.long(1, 0)
    it.long(1, 1, record(8, 8, 8))
    assert (it.starts(1, 2), it.budget.bytes) == ([], 0)


def test_forgetting_a_session_frees_its_bytes_and_no_others() -> None:
    it = Kept()
    for row in (1, 2):
        it.keep([row], 0)
        it.long(row, 1)
    for _ in range(2):
        it.answers.forget(1)
    assert (it.starts(1), it.starts(1, 2), it.starts(2), it.starts(2, 2)) == ([], [], [0], [1])
    assert it.budget.bytes == 4 * 64 * PLACE + record(8)
    it.keep([1], 7)
    assert it.starts(1) == [7]


def test_a_row_that_was_never_answered_is_forgotten_too() -> None:
    it = Kept()
    before = it.budget.bytes
    it.answers.forget(3)
    assert (it.starts(3), it.budget.bytes) == ([], before)


def test_the_table_follows_the_rows_and_keeps_what_it_holds() -> None:
    it = Kept(each=3, capacity=8)
    for start in range(5):
        it.keep([1, 2], start)
    it.long(2, 5)
    while it.table.capacity < 64:
        it.table.allocate()
    it.keep([1, 60], 6)
    assert (it.starts(1), it.starts(2), it.starts(2, 2), it.starts(60)) == ([3, 4, 6], [3, 4], [5], [6])
    assert it.budget.bytes == 3 * 64 * PLACE + record(8)


def test_a_table_that_the_budget_would_not_hold_has_fewer_places_and_keeps_the_newest() -> None:
    it = Kept(each=4, most_bytes=2 * 4 * 8 * PLACE, capacity=8)
    for start in range(5):
        it.keep([1, 2], start)
    assert it.starts(1) == [1, 2, 3, 4]
    for capacity, kept in ((16, [4, 5]), (32, [6]), (64, [7])):
        while it.table.capacity < capacity:
            it.table.allocate()
        it.keep([1], max(kept))
        assert (it.starts(1), it.table.capacity) == (kept, capacity)
        assert it.budget.bytes <= it.budget.most_bytes
    assert it.starts(2) == []
    it.keep([2], 3)
    assert it.starts(2) == [3]


@dataclass
class Entry:
    start: int
    steps: int
    size: int  # bytes, if it is kept by itself


class Truth:
    """What is kept where the budget is no bound: the last so many calls of each row, less what 64 KiB do not hold."""

    def __init__(self, each: int) -> None:
        self.each = each
        self.rows: dict[int, list[Entry | None]] = {row: [] for row in range(1, ROWS + 1)}  # None: it was dropped

    def keep(self, row: int, entry: Entry) -> None:
        kept = self.rows[row] = [*self.rows[row], entry][-self.each :]
        while sum(one.size for one in kept[:-1] if one) > 64 * KIB:
            kept[next(place for place, one in enumerate(kept) if one and one.size)] = None

    def find(self, row: int, start: int, steps: int) -> float | None:
        there = any(one and (one.start, one.steps) == (start, steps) for one in self.rows[row])
        return start * 10 + row if there else None


rows = st.integers(1, ROWS)
stories = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), st.lists(rows, min_size=1, unique=True)),
        st.tuples(st.just("long"), rows, st.integers(1, 20)),
        st.tuples(st.just("together"), st.integers(1, 5)),
        st.tuples(st.just("forget"), rows),
        st.tuples(st.just("grow")),
    ),
    max_size=12,
)


def told(it: Kept, story: list[tuple[Any, ...]], agree: Callable[[float | None, float | None], bool]) -> None:
    """Do the same to the answers and to the truth, and compare what is found of all that was ever kept."""
    truth = Truth(it.budget.each)
    asked: set[tuple[int, int, int]] = set()
    for start, act in enumerate(story):
        match act:
            case "keep", many:
                it.keep(many, start)
                for row in many:
                    truth.keep(row, Entry(start, 1, 0))
                    asked.add((row, start, 1))
            case "long", row, steps:
                it.long(row, start, steps)
                truth.keep(row, Entry(start, steps, 4 * it.width * steps))
                asked.add((row, start, steps))
            case "together", steps:
                it.keep([*truth.rows], start, steps)
                for row in truth.rows:
                    by_itself = steps > 1 and steps not in it.answers._rings
                    truth.keep(row, Entry(start, steps, 4 * it.width * steps * by_itself))
                    asked.add((row, start, steps))
            case "forget", row:
                it.answers.forget(row)
                truth.rows[row].clear()
            case _ if it.table.capacity < 64:
                for _ in range(it.table.capacity):
                    it.table.allocate()
        assert all(agree(it.find(*one), truth.find(*one)) for one in asked)
        assert 0 <= it.budget.bytes <= it.budget.most_bytes
    for row in truth.rows:
        it.answers.forget(row)
    assert it.budget.bytes == it.answers._ring_bytes
    assert not any(it.find(*one) for one in asked)


@given(stories, st.integers(1, 5))
def test_within_the_budget_what_is_kept_equals_the_naive_list(story: list[tuple[Any, ...]], each: int) -> None:
    it = Kept(each=each, width=2 * KIB, capacity=2, most_bytes=10**9)
    told(it, story, lambda found, true: found == true)


@given(stories, st.integers(1, 5), st.integers(0, 5000))
def test_over_the_budget_less_is_found_and_never_a_wrong_answer(
    story: list[tuple[Any, ...]], each: int, most: int
) -> None:
    told(Kept(each=each, capacity=2, most_bytes=most), story, lambda found, true: found in (None, true))


def test_many_answers_of_several_steps_together_are_kept_and_told_as_those_of_a_single_row() -> None:
    it, rows = Kept(each=3), [*range(1, ROWS + 1)]
    it.keep(rows, 0, steps=4)
    it.keep(rows, 4)
    it.long(2, 5, steps=3)
    it.keep(rows, 8, steps=4)
    assert [it.starts(1, 4), it.starts(1), it.starts(2, 4), it.starts(2, 3)] == [[0, 8], [4], [8], [5]]
    assert len(it.budget.long) == 1
    newest = it.answers.newest(1)
    assert newest is not None
    assert newest.tolist() == [81.0]
    it.answers.forget(1)
    assert [it.starts(1, 4), it.starts(1), it.answers.newest(1), it.starts(3, 4)] == [[], [], None, [0, 8]]


def test_what_is_recorded_of_rings_is_found_where_it_is_restored() -> None:
    it, other, rows = Kept(each=3), Kept(each=3), [*range(1, ROWS + 1)]
    it.keep(rows, 0, steps=4)
    it.keep([2], 4)
    it.keep(rows, 6, steps=2)
    words, long = it.answers.record(np.array(rows))
    other.answers.restore(np.array(rows), words, long)
    for row in rows:
        assert other.starts(row, 4) == it.starts(row, 4) == [0]
        assert other.starts(row, 2) == it.starts(row, 2) == [6]
        assert other.starts(row) == it.starts(row) == ([4] if row == 2 else [])


def test_answers_are_kept_of_rows_that_came_later_too() -> None:
    it = Kept(capacity=2)
    it.table.allocate()
    for row in (1, ROWS + 1, 2):
        it.keep([row], 0)
    assert [it.starts(row) for row in (1, 2, 3, ROWS + 1)] == [[0], [0], [], [0]]


def test_single_steps_push_older_long_answers_out() -> None:
    it = Kept(each=2)
    it.long(1, 0)
    for start in (2, 3):
        it.keep([1], start)
    assert (it.starts(1), it.starts(1, 2), len(it.budget.long)) == ([2, 3], [], 0)


def test_a_kept_answer_holds_nothing_but_itself() -> None:
    it = Kept()
    of_many = np.zeros((1000, 1), np.float32)
    it.answers.keep_long(np.array([1]), np.array([0]), digest(0)[None], [of_many[:2]])
    found = it.answers.find(1, 0, 2, digest(0))
    assert found is not None
    assert not np.shares_memory(found, of_many)


lengths = st.lists(st.integers(1, 4), min_size=1, max_size=8)


def digests(features: int, *sequences: Array) -> list[list[int]]:
    lengths = np.array([len(one) for one in sequences])
    return Digester(features).of(np.concatenate(sequences), lengths).tolist()


@given(lengths, st.integers(1, 9), st.integers(0, 2**32))
def test_a_digest_is_the_same_in_any_company(lengths: list[int], features: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    sequences = [random.standard_normal((length, features)).astype(np.float32) for length in lengths]
    alone = [digests(features, one)[0] for one in sequences]
    assert digests(features, *sequences) == alone
    assert digests(features, *sequences[::-1]) == alone[::-1]
    assert len({tuple(one) for one in alone}) == len(alone)


def test_a_digest_is_the_same_in_every_process() -> None:
    assert digests(2, np.array([[1, 2]], np.float32)) == [[7758449589258027008, 17461153532034940928]]
    assert digests(1, column(1, 2)) == [[11771113945191822149, 7626794694331588803]]


@pytest.mark.parametrize("by", [1, 4096, 5000])
def test_a_long_sequence_that_is_shifted_has_another_digest(by: int) -> None:
    long = np.arange(3 * 4096, dtype=np.float32)[:, None]
    assert digests(1, long) != digests(1, np.roll(long, by, axis=0))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([0.0], [-0.0]),
        ([0.0, 1.0], [-0.0, 1.0]),
        ([1.0], [float(np.nextafter(np.float32(1), np.float32(2)))]),
        ([1.0, 2.0], [2.0, 1.0]),
    ],
    ids=str,
)
def test_a_digest_tells_bits_and_order_apart(one: list[float], other: list[float]) -> None:
    assert digests(1, column(*one)) != digests(1, column(*other))


def test_the_features_of_a_step_are_told_apart() -> None:
    assert digests(2, np.array([[1, 2]], np.float32)) != digests(2, np.array([[2, 1]], np.float32))
