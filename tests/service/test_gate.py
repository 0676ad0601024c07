"""The bound of a queue: all or nothing, now or never."""

import pytest

from service.errors import CarouselError, Overloaded, PayloadTooLarge, ShuttingDown
from service.gate import Gate


def gate(rows: int = 0, size: int = 0) -> Gate:
    """A gate for 3 rows and 100 bytes, of which some are taken."""
    made = Gate(most_rows=3, most_bytes=100)
    made.enter(rows, size)
    return made


@pytest.mark.parametrize(("rows", "size"), [(3, 100), (0, 0), (1, 1)])
def test_what_fits_together_is_let_in(rows: int, size: int) -> None:
    gate().check(rows, size, seconds_per_byte=1)


@pytest.mark.parametrize(("rows", "size"), [(2, 1), (1, 61)])
def test_what_does_not_fit_now_is_refused_whole_until_there_is_room(rows: int, size: int) -> None:
    busy = gate(rows=2, size=40)
    with pytest.raises(Overloaded):
        busy.check(rows, size, seconds_per_byte=1)
    assert (busy.rows, busy.bytes) == (2, 40)
    busy.leave(1, 40)
    busy.check(rows, size, seconds_per_byte=1)


@pytest.mark.parametrize(("rows", "size"), [(4, 1), (1, 101)])
def test_what_can_never_fit_is_too_large_even_while_the_queue_is_full(rows: int, size: int) -> None:
    with pytest.raises(PayloadTooLarge):
        gate(rows=3, size=100).check(rows, size, seconds_per_byte=1)


@pytest.mark.parametrize(("seconds", "told"), [(0.0, 1), (0.25, 250), (2.0, 2000), (1e9, 30_000)])
def test_a_refusal_says_when_to_come_again_within_reason(seconds: float, told: int) -> None:
    with pytest.raises(Overloaded) as caught:
        gate(rows=3, size=1).check(1, 0, seconds_per_byte=seconds)
    assert caught.value.problem()["retry_after_ms"] == told


@pytest.mark.parametrize(("rows", "size"), [(0, 0), (1, 1), (4, 101)])
def test_a_closed_gate_lets_nothing_in_but_out(rows: int, size: int) -> None:
    closing = gate(rows=1, size=10)
    closing.closed = True
    with pytest.raises(ShuttingDown):
        closing.check(rows, size, seconds_per_byte=1)
    closing.leave(1, 10)
    assert (closing.rows, closing.bytes) == (0, 0)


def test_an_error_is_a_problem_document_with_its_own_members() -> None:
    assert Overloaded("full", 250).problem() == {
        "type": "urn:carousel:overloaded",
        "title": "Overloaded",
        "status": 503,
        "detail": "full",
        "code": "overloaded",
        "retry_after_ms": 250,
    }
    assert CarouselError().problem()["detail"] == "Internal error"
