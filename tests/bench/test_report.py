import numpy as np
import pytest

from bench import frames
from bench.report import Bound, Line, spread, table


def test_a_bound_is_kept_from_its_side() -> None:
    assert Bound(0.5).met(0.5)
    assert not Bound(0.5).met(0.49)
    assert Bound(3, at_most=True).met(2)
    assert not Bound(3, at_most=True).met(3.1)


def test_the_median_ratio_is_judged_and_the_spread_is_shown() -> None:
    told = table([Line("load", "peer", "9 steps/s", (0.4, 0.7, 0.6), Bound(0.55))])
    assert told.splitlines()[-1] == "| load | peer | 9 steps/s | 0.6 [0.4–0.7] | ≥ 0.55 ✓ |"


def test_a_rows_name_stands_on_its_first_line_only() -> None:
    lines = table([Line("a", "x", "1"), Line("a", "y", "2"), Line("b", "z", "3")]).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["a", "", "b"]


def test_equal_values_have_no_spread() -> None:
    assert spread([2, 2, 2]) == "2"


def test_a_frame_is_read_as_it_was_written() -> None:
    outputs = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    echoed = frames.request(7, [4, 9], 100, outputs)
    read = frames.answer(echoed, [4, 9])
    assert (read.id, read.next_step, read.outputs.tolist()) == (7, 100, outputs.tolist())
    with pytest.raises(ValueError, match=r"channels \[9, 4\]"):
        frames.answer(echoed, [9, 4])
