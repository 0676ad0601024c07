"""The stream without sockets: what is sent again after a cut, and what a failure means for others."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from fake_stream import REFUSED, REPLAY, UNAPPLIED, FakeSocket, FakeStreams, ProblemError, lone_run
from hypothesis import given
from hypothesis import strategies as st

from carousel_client import (
    ChannelNotFound,
    ConnectionFailed,
    ForeignAnswer,
    InvalidInput,
    InvalidRequest,
    NonFiniteOutput,
    PartlyFailed,
    PayloadTooLarge,
    SessionExpired,
    StateLost,
    StepConflict,
    TimedOut,
)
from carousel_client.order import ChannelState
from carousel_client.retry import Policy
from carousel_client.stream_protocol import StreamProtocol

CUT = ConnectionFailed("cut")
RETRIES = 6


class Wire:
    """The protocol and the fake service, frame by frame."""

    def __init__(self, service: FakeStreams, retries: int = RETRIES) -> None:
        self.service = service
        self.protocol = StreamProtocol(Policy(None, retries, clock=lambda: 0.0, jitter=lambda low, _: low))
        self.socket: FakeSocket | None = None
        self.answers: deque[str | bytes] = deque()

    def connect(self) -> None:
        self.socket = self.service.socket()
        self.protocol.connected()

    def cut(self, **why: Any) -> float:
        """Lose the socket and all that is on its way."""
        self.socket = None
        self.answers.clear()
        return self.protocol.lost(CUT, **why)

    def send(self) -> bool:
        """Let the next frame reach the service."""
        assert self.socket is not None
        frame = self.protocol.next_frame()
        if frame is not None:
            self.answers.append(self.socket.answer(frame))
        return frame is not None

    def receive(self, index: int = 0) -> bool:
        """Let an answer reach the client."""
        if not self.answers:
            return False
        answer = self.answers[index % len(self.answers)]
        del self.answers[index % len(self.answers)]
        self.protocol.received(answer)
        return True

    def run(self) -> None:
        """Until nothing is on its way."""
        if self.socket is None:
            self.connect()
        while self.send() or self.receive():
            pass

    def open(self, session: str, **more: Any) -> ChannelState:
        answer: Future[ChannelState] = Future()
        asked = {"model": "sum", "version": None, "ttl_seconds": None} | more
        self.protocol.open(session, asked, answer)
        self.run()
        return answer.result(0)

    def submit(self, channels: list[ChannelState], inputs: Any) -> Future[Any]:
        answer: Future[Any] = Future()
        self.protocol.step(channels, inputs, answer, Future())
        return answer

    def step(self, channels: list[ChannelState], inputs: Any) -> Future[Any]:
        answer: Future[Any] = Future()
        self.protocol.step(channels, inputs, answer)
        return answer


@pytest.fixture
def service() -> FakeStreams:
    return FakeStreams()


@pytest.fixture
def wire(service: FakeStreams) -> Wire:
    return Wire(service)


def rows(*values: float) -> Any:
    """One step of a channel for each value."""
    return np.array([[value, 2 * value] for value in values], np.float32)


def test_inputs_in_each_form_give_outputs_in_that_form(wire: Wire) -> None:
    a, b = wire.open("a"), wire.open("b")
    block = np.arange(12, dtype=np.float64).reshape(2, 3, 2)
    answers = [
        wire.submit([a, b], rows(1, 2)),
        wire.submit([b, a], block),
        wire.submit([a, b], [rows(1, 2, 3), rows(4)]),
    ]
    wire.run()
    one, three, ragged = [answer.result(0) for answer in answers]
    in_a, in_b = np.concatenate([rows(1), block[1], rows(1, 2, 3)]), np.concatenate([rows(2), block[0], rows(4)])
    of_a, of_b = lone_run(in_a), lone_run(in_b)
    np.testing.assert_array_equal(one, [of_a[0], of_b[0]])
    np.testing.assert_array_equal(three, [of_b[1:4], of_a[1:4]])
    np.testing.assert_array_equal(ragged[0], of_a[4:])
    np.testing.assert_array_equal(ragged[1], of_b[4:])
    assert one.dtype == np.float32
    assert (a.next_step, b.next_step) == (7, 5)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (np.ones((3, 2)), r"inputs: 3 rows for 2 channels"),
        (np.ones((2, 5)), r"inputs: 5 features, the model has 2"),
        (np.ones((2, 4, 3)), r"inputs: 3 features, the model has 2"),
        (np.ones(2), r"shape \[2\]"),
        (np.ones((2, 0, 2)), r"no steps"),
        (np.array([["x", "y"]] * 2), r"array of numbers"),
        ([np.ones((1, 2))], r"1 arrays for 2 channels"),
        ([np.ones((1, 2)), np.ones((1, 3))], r"inputs\[1\]: 3 features"),
        ([np.ones((1, 2)), np.ones(2)], r"inputs\[1\]: shape \[2\]"),
        ([np.ones((1, 2)), np.ones((0, 2))], r"inputs\[1\]: no steps"),
        ([np.ones((1, 2)), [[1, 2], [3]]], r"inputs\[1\]"),
        ([np.ones((2, 2)), np.array([[1, 2], [3, np.nan]])], r"inputs\[1\]: feature 1 of step 1"),
        (np.ma.array(np.ones((2, 2)), mask=[[0, 0], [0, 1]]), r"inputs: an array without masked"),
        ([np.ones((1, 2)), np.ma.array([[1, 2]], mask=[[0, 1]])], r"inputs\[1\]: an array without masked"),
        (np.full((2, 2), 1e300), r"inputs\[0\]: feature 0 of step 0"),
    ],
)
def test_wrong_inputs_are_a_value_error_that_names_the_place_and_nothing_is_sent(
    wire: Wire, inputs: Any, said: str
) -> None:
    channels = [wire.open("a"), wire.open("b")]
    with pytest.raises(ValueError, match=said) as refused:
        wire.submit(channels, inputs)
    assert isinstance(refused.value, InvalidInput)
    assert not wire.send()


def test_channels_that_cannot_share_a_frame_are_refused_here(wire: Wire) -> None:
    a, b, twin = wire.open("a"), wire.open("b"), wire.open("c", model="twin")
    for channels, said in (
        ([], "channels: none"),
        ([a, twin], r"channels\[1\]: of twin/1"),
        ([a, b, a], r"channels\[2\]: session 'a' a second time"),
        ([a, ChannelState("x")], r"channels\[1\]: of another stream"),
    ):
        with pytest.raises(InvalidInput, match=said):
            wire.step(channels, rows(*range(len(channels))))
    assert not wire.send()


def test_the_callers_array_may_change_once_it_is_submitted(wire: Wire) -> None:
    channel, inputs = wire.open("a"), rows(1)
    answer = wire.submit([channel], inputs)
    inputs[:] = 7
    wire.run()
    np.testing.assert_array_equal(answer.result(0), lone_run(rows(1)))


def test_at_most_replay_calls_of_a_session_are_under_way(wire: Wire) -> None:
    channel = wire.open("a")
    answers = [wire.submit([channel], rows(i)) for i in range(10)]
    while wire.send():
        pass
    assert len(wire.answers) == REPLAY
    wire.receive()
    assert wire.send()
    assert not wire.send()
    wire.run()
    np.testing.assert_array_equal(np.concatenate([answer.result(0) for answer in answers]), lone_run(rows(*range(10))))


def test_the_window_counts_from_the_oldest_call_without_answer(wire: Wire) -> None:
    """Answers that overtake it make no room: the service would forget its kept answer."""
    channel = wire.open("a")
    for i in range(10):
        wire.submit([channel], rows(i))
    while wire.send():
        pass
    for _ in range(REPLAY - 1):
        wire.receive(1)
        assert not wire.send()
    wire.receive()
    assert wire.send()


def test_a_full_session_holds_back_those_calls_only_that_have_it(wire: Wire) -> None:
    a, b, c = [wire.open(name) for name in "abc"]
    full = [wire.submit([a], rows(1)) for _ in range(REPLAY)]
    both, behind, free = wire.submit([a, b], rows(2, 2)), wire.submit([b], rows(3)), wire.submit([c], rows(4))
    while wire.send():
        pass
    wire.receive(-1)
    assert free.done()
    assert not any(answer.done() for answer in [*full, both, behind])
    wire.run()
    assert both.result(0)[1].tolist() == [2, 4, 0]
    assert behind.result(0).tolist() == [[5, 10, 1]]


USED = [[0, 1], [2], [0], [1, 2], [0, 1, 2], [2, 0], [1]]  # the sessions of each call


def scenario(wire: Wire) -> tuple[list[ChannelState], list[Any], list[Future[Any]]]:
    """Seven calls on three sessions, some together → channels, what each session is given, answers."""
    channels = [wire.open(name) for name in "abc"]
    given: list[list[Any]] = [[], [], []]
    answers = []
    for index, used in enumerate(USED):
        inputs = [rows(*range(index, index + 1 + item)) for item in range(len(used))]
        for item, channel in zip(inputs, used, strict=True):
            given[channel].append(item)
        answers.append(wire.submit([channels[channel] for channel in used], inputs))
    return channels, [np.concatenate(rows) for rows in given], answers


def check(wire: Wire, given: list[Any], answers: list[Future[Any]]) -> None:
    """Every answer is there, in its place, and equal to the lone run; every session has moved just so far."""
    told: list[list[Any]] = [[], [], []]
    for used, answer in zip(USED, answers, strict=True):
        for channel, outputs in zip(used, answer.result(0), strict=True):
            told[channel].append(outputs)
    for name, inputs, outputs in zip("abc", given, told, strict=True):
        np.testing.assert_array_equal(np.concatenate(outputs), lone_run(inputs))
        assert wire.service.sessions[name].step == len(inputs)


@pytest.mark.parametrize("sent", range(8))
@pytest.mark.parametrize("heard", range(8))
def test_a_cut_at_any_frame_loses_and_doubles_nothing(service: FakeStreams, sent: int, heard: int) -> None:
    wire = Wire(service)
    _, given, answers = scenario(wire)
    for _ in range(sent):
        wire.send()
    for _ in range(heard):
        wire.receive()
    wire.cut()
    wire.run()
    check(wire, given, answers)


@given(
    st.lists(st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=12), max_size=RETRIES - 1),
    st.integers(0, 3),
)
def test_cuts_and_answers_in_any_order_lose_and_double_nothing(sockets: list[list[int | None]], late: int) -> None:
    wire = Wire(FakeStreams())
    _, given, answers = scenario(wire)
    wire.cut()
    for events in sockets:
        wire.connect()
        for event in events:
            if event is None:
                wire.send()
            else:
                wire.receive(event)
        wire.cut()
    wire.connect()
    while wire.send() or wire.receive(late):
        pass
    check(wire, given, answers)


def test_after_a_cut_only_unanswered_calls_are_sent_again(wire: Wire, service: FakeStreams) -> None:
    channel = wire.open("a")
    for i in range(3):
        wire.submit([channel], rows(i))
    wire.send(), wire.send(), wire.receive()
    wire.cut()
    wire.run()
    opened, *steps = service.sockets[-1].heard
    assert opened["open"] == {"model": "sum", "session": "a", "version": "1"}
    assert [int.from_bytes(frame[16:24], "little") for frame in steps] == [1, 2]


def test_a_session_that_the_service_forgot_is_never_gone_on_with(wire: Wire, service: FakeStreams) -> None:
    a, b = wire.open("a"), wire.open("b")
    wire.step([a, b], rows(1, 1))
    wire.run()
    wire.cut()
    lost, kept = wire.step([a], rows(2)), wire.step([b], rows(2))
    del service.sessions["a"]
    wire.run()
    with pytest.raises(StateLost, match="up to step 1 of session 'a' and has it at step 0") as error:
        lost.result(0)
    assert error.value.session == "a"
    assert kept.result(0).tolist() == [[3, 6, 1]]
    with pytest.raises(StateLost):
        wire.step([a], rows(2))
    anew = wire.open("a")
    answer = wire.step([anew], rows(5))
    wire.run()
    assert answer.result(0).tolist() == [[5, 10, 0]]


def test_a_session_that_fell_back_is_lost_too(wire: Wire, service: FakeStreams) -> None:
    channel = wire.open("a")
    wire.step([channel], np.ones((1, 3, 2)))
    wire.run()
    wire.cut()
    service.sessions["a"].step = 2
    answer = wire.step([channel], rows(1))
    wire.run()
    assert isinstance(answer.exception(0), StateLost)


def test_a_session_that_expired_meanwhile_fails_alone(wire: Wire, service: FakeStreams) -> None:
    channel = wire.open("a")
    wire.cut()
    answer = wire.step([channel], rows(1))
    service.refuse_opens.append(ProblemError(410, "session_expired"))
    wire.run()
    assert isinstance(answer.exception(0), SessionExpired)


def test_a_refused_frame_fails_alone_and_its_sessions_go_on(wire: Wire) -> None:
    a, b = wire.open("a"), wire.open("b")
    bad, other = wire.step([a], rows(REFUSED)), wire.step([b], rows(1))
    wire.run()
    assert isinstance(bad.exception(0), InvalidInput)
    assert other.result(0).tolist() == [[1, 2, 0]]
    good = wire.step([a], rows(1))
    wire.run()
    assert good.result(0).tolist() == [[1, 2, 0]]


def test_what_was_submitted_behind_a_failed_call_fails_and_nothing_takes_its_place(wire: Wire) -> None:
    a, b = wire.open("a"), wire.open("b")
    good = wire.submit([a], rows(1))
    bad = wire.submit([a], rows(REFUSED))
    behind = [wire.submit([a], rows(i)) for i in range(2)] + [wire.submit([a, b], rows(5, 5))]
    free = wire.submit([b], rows(1))
    wire.send(), wire.send(), wire.send(), wire.receive(), wire.receive()
    assert good.result(0).tolist() == [[1, 2, 0]]
    assert isinstance(bad.exception(0), InvalidInput)
    for answer in [*behind, free]:
        assert isinstance(answer.exception(0), StepConflict)
    with pytest.raises(StepConflict, match="resume"):
        wire.submit([a], rows(9))
    wire.run()
    a.failed = b.failed = None
    again = [wire.submit([a], rows(2)), wire.submit([a, b], rows(3, 3))]
    wire.run()
    assert again[0].result(0).tolist() == [[3, 6, 1]]
    assert again[1].result(0).tolist() == [[6, 12, 2], [3, 6, 0]]


def test_where_some_sessions_fail_the_outputs_of_the_others_are_there(wire: Wire, service: FakeStreams) -> None:
    channels = [wire.open(name) for name in "abc"]
    answer = wire.step(channels, rows(1, UNAPPLIED, 3))
    wire.run()
    error = answer.exception(0)
    assert isinstance(error, PartlyFailed)
    assert list(error.errors) == ["b"]
    assert isinstance(error.errors["b"], NonFiniteOutput)
    first, none, third = error.outputs
    assert (first.tolist(), none, third.tolist()) == ([1, 2, 0], None, [3, 6, 0])
    again = wire.step(channels, rows(1, 1, 1))
    wire.run()
    assert again.result(0).tolist() == [[2, 4, 1], [1, 2, 0], [4, 8, 1]]
    assert [service.sessions[name].step for name in "abc"] == [2, 1, 2]


def test_where_all_sessions_fail_each_error_is_there(wire: Wire) -> None:
    answer = wire.step([wire.open("a"), wire.open("b")], rows(UNAPPLIED, UNAPPLIED))
    wire.run()
    error = answer.exception(0)
    assert isinstance(error, PartlyFailed)
    assert (list(error.errors), error.outputs) == (["a", "b"], [None, None])


def test_a_lone_session_that_fails_has_its_own_error(wire: Wire) -> None:
    answer = wire.step([wire.open("a")], rows(UNAPPLIED))
    wire.run()
    error = answer.exception(0)
    assert isinstance(error, NonFiniteOutput)
    assert error.session == "a"


def test_part_of_a_call_survives_a_cut(wire: Wire) -> None:
    channels = [wire.open(name) for name in "ab"]
    answer = wire.step(channels, rows(UNAPPLIED, 3))
    wire.send(), wire.receive(), wire.send()
    wire.cut()
    wire.run()
    error = answer.exception(0)
    assert isinstance(error, PartlyFailed)
    assert error.outputs[1].tolist() == [3, 6, 0]


def test_outputs_that_are_kept_no_longer_are_told_as_applied(wire: Wire, service: FakeStreams) -> None:
    channels = [wire.open(name) for name in "ab"]
    answer = wire.step(channels, rows(UNAPPLIED, 3))
    wire.send()
    service.sessions["b"].kept.clear()
    wire.run()
    error = answer.exception(0)
    assert isinstance(error, PartlyFailed)
    assert isinstance(error.errors["b"], StepConflict)
    assert error.errors["b"].applied
    again = wire.step(channels, rows(1, 1))
    wire.run()
    assert again.result(0).tolist() == [[1, 2, 0], [4, 8, 1]]


@pytest.mark.parametrize("delivered", [False, True])
def test_after_a_timeout_the_same_call_again_is_applied_once(wire: Wire, delivered: bool) -> None:
    channel = wire.open("a")
    answer: Future[Any] = Future()
    call = wire.protocol.step([channel], rows(1), answer)
    if delivered:
        wire.send()
    wire.protocol.abandon(call, TimedOut("late"))
    assert isinstance(answer.exception(0), TimedOut)
    again = wire.step([channel], rows(1))
    wire.run()
    assert again.result(0).tolist() == [[1, 2, 0]]
    assert wire.service.sessions["a"].step == 1


def test_a_call_given_up_is_not_sent_again_after_a_cut(wire: Wire, service: FakeStreams) -> None:
    channel = wire.open("a")
    call = wire.protocol.step([channel], rows(1), Future())
    frame = wire.protocol.next_frame()
    assert frame is not None
    wire.protocol.abandon(call, TimedOut("late"))
    wire.cut()
    assert not wire.protocol.wants_socket
    other = wire.step([channel], rows(2))
    wire.run()
    assert other.result(0).tolist() == [[2, 4, 0]]


def test_a_call_that_was_overtaken_and_given_up_is_never_applied_twice(wire: Wire, service: FakeStreams) -> None:
    a, b = wire.open("a"), wire.open("b")
    slow = wire.protocol.step([a, b], rows(1, 1), Future())
    quick = wire.step([a], rows(2))
    wire.send(), wire.send(), wire.receive(1)
    assert quick.result(0).tolist() == [[3, 6, 1]]
    wire.protocol.abandon(slow, TimedOut("late"))
    again, new = wire.step([a, b], rows(1, 1)), wire.step([a], rows(3))
    wire.run()
    assert again.result(0).tolist() == [[1, 2, 0], [1, 2, 0]]
    assert isinstance(new.exception(0), StepConflict)  # it stands where `quick` does: better refused than misplaced
    assert wire.open("a").next_step == service.sessions["a"].step == 2


def test_what_cannot_be_asked_is_refused_here(wire: Wire) -> None:
    for ttl in (float("nan"), object()):
        with pytest.raises(InvalidRequest):
            wire.open("a", ttl_seconds=ttl)
    assert not wire.protocol.wants_socket


def test_silence_since_a_call_was_sent_is_noticed(wire: Wire) -> None:
    channel = wire.open("a")
    calls = [wire.protocol.step([channel], rows(i), Future()) for i in range(2)]
    wire.send()
    assert wire.protocol.abandon(calls[0], TimedOut("late"))
    wire.receive()
    assert not wire.protocol.abandon(calls[1], TimedOut("late"))


def test_sockets_that_bring_nothing_are_tried_so_often_and_then_all_calls_fail(service: FakeStreams) -> None:
    wire = Wire(service, retries=2)
    channel = wire.open("a")
    answers = [wire.submit([channel], rows(i)) for i in range(REPLAY + 2)]
    for _ in range(3):
        assert not any(answer.done() for answer in answers)
        wire.cut()
    assert all(type(answer.exception(0)) is not None for answer in answers)
    assert isinstance(answers[0].exception(0), ConnectionFailed)
    assert not wire.protocol.wants_socket
    channel.failed = None
    again = wire.submit([channel], rows(0))
    wire.run()
    assert again.result(0).tolist() == [[0, 0, 0]]


def test_a_call_is_sent_so_often_even_if_others_succeed(service: FakeStreams) -> None:
    wire = Wire(service, retries=2)
    a, b = wire.open("a"), wire.open("b")
    doomed = wire.step([a], rows(1))
    for attempt in range(3):
        assert not doomed.done()
        good = wire.step([b], rows(attempt))
        while wire.send():
            pass
        wire.receive(-1)  # the last answer only
        assert good.done()
        wire.cut()
        wire.connect()
        wire.send(), wire.send(), wire.receive(), wire.receive()  # both sessions are open again
    assert isinstance(doomed.exception(0), ConnectionFailed)


def test_nothing_passes_a_call_given_up_while_it_is_under_way(wire: Wire) -> None:
    channel = wire.open("a")
    call = wire.protocol.step([channel], rows(1), Future())
    wire.send()
    wire.protocol.abandon(call, TimedOut("late"))
    wire.step([channel], rows(1))
    assert not wire.send()
    wire.receive()
    assert wire.send()


def test_a_frame_over_the_limit_fails_and_the_others_are_sent_again(wire: Wire) -> None:
    a, b = wire.open("a"), wire.open("b")
    small, large = wire.step([a], rows(1)), wire.step([b], np.ones((1, 500, 2)))
    wire.send(), wire.send()
    wire.cut(code=1009)
    assert isinstance(large.exception(0), PayloadTooLarge)
    wire.run()
    assert small.result(0).tolist() == [[1, 2, 0]]


def test_a_closed_channel_takes_no_calls_and_its_session_opens_anew(wire: Wire, service: FakeStreams) -> None:
    channel = wire.open("a")
    before, closed = wire.step([channel], rows(1)), Future[None]()
    wire.protocol.close(channel, closed, end=False)
    with pytest.raises(ChannelNotFound):
        wire.step([channel], rows(1))
    wire.run()
    assert closed.result(0) is None
    assert before.result(0).tolist() == [[1, 2, 0]]
    wire.cut()
    resumed = wire.open("a")
    assert (resumed.next_step, resumed.created) == (1, False)


@pytest.mark.parametrize("applied", [False, True])
def test_an_end_that_was_cut_off_ends_the_session(wire: Wire, service: FakeStreams, applied: bool) -> None:
    channel, closed = wire.open("a"), Future[None]()
    wire.step([channel], rows(1))
    wire.run()
    wire.protocol.close(channel, closed, end=True)
    if applied:
        wire.send()
    wire.cut()
    wire.run()
    assert closed.result(0) is None
    assert service.sessions == {}


def test_opening_again_takes_the_session_where_another_client_left_it(wire: Wire, service: FakeStreams) -> None:
    channel = wire.open("a")
    service.sessions["a"].step = 7
    conflict = wire.submit([channel], rows(1))
    wire.run()
    error = conflict.exception(0)
    assert isinstance(error, StepConflict)
    assert error.expected_step == 7
    assert wire.open("a") is channel
    assert (channel.next_step, channel.failed) == (7, None)


@pytest.mark.parametrize("message", ["<html>", "[]", "7", '{"no": "id"}'])
def test_what_no_carousel_sends_is_foreign(wire: Wire, message: str) -> None:
    with pytest.raises(ForeignAnswer):
        wire.protocol.received(message)


def test_an_answer_that_does_not_fit_its_request_is_foreign(wire: Wire) -> None:
    wire.step([wire.open("a")], rows(1))
    wire.send()
    answer = wire.answers.pop()
    assert isinstance(answer, bytes)
    with pytest.raises(ForeignAnswer):
        wire.protocol.received(answer[:-4])
