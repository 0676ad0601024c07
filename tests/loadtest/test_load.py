from collections import Counter

import pytest

from loadtest.load import Arrival, NotServedError, Outcome, Plan, models
from loadtest.report import figures, plot


def test_figures_are_of_answered_calls_in_milliseconds() -> None:
    outcome = Outcome(latencies=[0.001, 0.002, 0.009], steps=12, refused=Counter(overloaded=2), seconds=2.0, busy=0.1)
    told = figures(Plan("http://x", "m"), outcome)
    assert (told["answers"], told["answers_per_second"], told["steps_per_second"]) == (3, 1.5, 6.0)
    assert (told["p50_ms"], told["max_ms"]) == (2.0, 9.0)
    assert told["refused"] == {"overloaded": 2}


def test_a_plot_holds_every_latency() -> None:
    lines = plot([0.001] * 3 + [0.1])
    shares = [float(line.rsplit(maxsplit=1)[1].rstrip("%")) for line in lines]
    assert (shares[0], shares[-1], sum(shares)) == (75.0, 25.0, 100.0)
    assert (lines[0].count("█"), lines[-1].count("█")) == (40, 13)


def test_nothing_answered_is_nothing_to_plot() -> None:
    assert plot([]) == []
    assert figures(Plan("http://x", "m"), Outcome())["answers"] == 0


def test_where_no_service_is_that_is_said() -> None:
    with pytest.raises(NotServedError, match="no Carousel at"):
        models("http://127.0.0.1:9")


def test_arrivals_are_named_for_people() -> None:
    assert [str(one) for one in Arrival] == ["closed", "constant", "poisson"]
