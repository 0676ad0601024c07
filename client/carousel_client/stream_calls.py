"""What can be asked on a stream: the frame of each call, and the check of its answer. Nothing else reads a frame."""

from __future__ import annotations

import concurrent.futures
import json
from typing import Any, Generic, TypeVar, cast

import numpy as np

from carousel_client.checks import check, outputs_of, problem_error
from carousel_client.errors import (
    CarouselError,
    ChannelNotFound,
    ForeignAnswer,
    InvalidRequest,
    PartlyFailed,
    state_lost,
)
from carousel_client.frames import Array, Outputs, StepFrame
from carousel_client.order import Call, ChannelState, Future
from carousel_client.sequences import Encoded
from carousel_client.stream_answers import Frame

T = TypeVar("T")


class Open(Call):
    """Create a session or resume it; the outcome is its channel. `again`: on a new socket, before all other calls."""

    exclusive = True

    def __init__(self, channel: ChannelState, asked: dict[str, Any], answer: Future, *, again: bool = False) -> None:
        super().__init__([] if again else [channel], answer)
        self.channel = channel
        self.again = again
        self.asked = {key: value for key, value in asked.items() if value is not None}
        self.lost: list[Resend] = []  # answered calls that the service has lost
        try:
            text(self.asked)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(f"open: {error}") from None

    def frame(self) -> str:
        return text({"id": self.id, "open": self.asked})

    def result(self, frame: Frame) -> ChannelState:
        opened, channel = frame.opened, self.channel
        if opened is None:
            raise ForeignAnswer("no `opened` in the answer")
        check(opened.session == channel.session, "the channel of another session")
        check(self.asked.get("version") in {None, opened.version}, "the channel of another version")
        widths = (opened.feature_count, opened.output_count)
        channel.number, channel.replay, channel.opened = opened.channel, opened.replay, True
        channel.recent.seconds = opened.behind_ms / 1000
        if self.again:
            check(widths == (channel.feature_count, channel.output_count), "a model of other features or outputs")
            self._check_state(opened.created, opened.step)
            return channel
        channel.model, channel.version, channel.created = self.asked["model"], opened.version, opened.created
        channel.feature_count, channel.output_count = widths
        channel.next_step = channel.ahead = opened.step
        channel.recent.clear()
        channel.failed = channel.ended = None
        return channel

    def _check_state(self, created: bool, step: int) -> None:
        channel = self.channel
        moving = bool(channel.calls) and isinstance(channel.calls[0], Close | Rewind)
        if moving or not (created or step < channel.next_step):
            return
        lost = None if created else channel.recent.lost(channel.next_step, step)
        if lost is None:
            raise state_lost(channel.session, channel.next_step, step)
        self.lost = [Resend(channel, start, rows) for start, _, rows in lost]


class Resend(Call):
    """Send an answered call of one channel again, whose steps the service has lost."""

    def __init__(self, channel: ChannelState, step: int, rows: Array) -> None:
        super().__init__([channel], concurrent.futures.Future())
        self.channel = channel
        self.request = StepFrame.of([rows], 1, channel.feature_count)
        self.request.steps[:] = step

    def frame(self) -> bytearray:
        return self.request.numbered(self.id, [self.channel.number or 0])

    def result(self, frame: Frame) -> None:
        """Its caller had the answer before the service lost it."""


class Step(Call):
    """Advance many sessions; the outcome is the outputs in the form of the inputs."""

    def __init__(self, channels: list[ChannelState], request: StepFrame, answer: Future, admitted: Future | None):
        super().__init__(channels, answer, admitted)
        self.request = request
        self.errors: dict[str, CarouselError] = {}  # of the sessions that did not move while the others did
        self._all = channels

    def release(self) -> None:
        self.request.steps[:] = [channel.ahead for channel in self.channels]
        for channel, length in zip(self.channels, self.request.lengths.tolist(), strict=True):
            channel.ahead += length

    def revert(self) -> None:
        if not self.held:
            self._give_back(set(self.channels))

    def _give_back(self, channels: set[ChannelState]) -> None:
        for channel, step in zip(self.channels, self.request.steps.tolist(), strict=True):
            if channel in channels:
                channel.ahead = min(channel.ahead, step)

    def frame(self) -> bytearray:
        return self.request.numbered(self.id, [channel.number or 0 for channel in self.channels])

    def result(self, frame: Frame) -> Outputs | PartlyFailed:
        outputs = self._outputs(frame.binary, self.channels[0].output_count)
        self._moved()
        return self.partly(self.request.each(outputs)) if self.errors else self.request.arranged(outputs)

    def _outputs(self, answer: bytes, width: int) -> Array:
        """The outputs [sum(length), K], a view into the answer."""
        request, n = self.request, len(self.channels)
        start = 8 + 16 * n
        check(len(answer) == start + 4 * width * len(request.rows), f"{len(answer)} bytes for {n} channels")
        check(answer[: 8 + 8 * n] == request.bytes[: 8 + 8 * n], "a frame of other channels or lengths")
        next_steps = np.frombuffer(answer, "<u8", n, 8 + 8 * n)
        check(np.array_equal(next_steps, request.steps + request.lengths), "a frame of other steps")
        outputs: Array = np.frombuffer(answer, "<f4", offset=start).reshape(-1, width)
        check(bool(np.isfinite(outputs).all()), "an output that is not finite")
        return outputs

    def forgotten(self, error: CarouselError) -> PartlyFailed:
        """The outcome where the service no longer has the answers of the sessions that moved."""
        self._moved()
        self.errors |= {channel.session: error for channel in self.channels}
        return self.partly([])

    def _moved(self) -> None:
        steps, afters = self.request.steps.tolist(), (self.request.steps + self.request.lengths).tolist()
        for place, (channel, step, after) in enumerate(zip(self.channels, steps, afters, strict=True)):
            channel.next_step = max(channel.next_step, after)
            if channel.recent.seconds:
                channel.recent.add(step, after, self.request.inputs(place))

    def errors_in(self, frame: Frame) -> dict[ChannelState, CarouselError]:
        """The errors of single channels, of a frame that was applied in part."""
        channels = {channel.number: channel for channel in self.channels}
        check(all(item.channel in channels for item in frame.failed), "an error of a channel that the call is not on")
        failed = [(channels[item.channel], item.error) for item in frame.failed]
        return {channel: problem_error(error, session=channel.session) for channel, error in failed}

    def part(self, errors: dict[ChannelState, CarouselError]) -> None:
        """Some sessions did not move: go on with the others, whose kept answers are to be asked for."""
        self._give_back(set(errors))
        self.errors |= {channel.session: error for channel, error in errors.items()}
        self.request = self.request.only([i for i, channel in enumerate(self.channels) if channel not in errors])
        self.channels = [channel for channel in self.channels if channel not in errors]

    def partly(self, outputs: list[Array]) -> PartlyFailed:
        """The error with the sessions that failed, and the outputs of the others."""
        given = iter(outputs)
        moved = [None if channel.session in self.errors else next(given, None) for channel in self._all]
        return PartlyFailed(self.errors, moved)


class Asked(Call, Generic[T]):
    """A text call on one channel, which it has for itself; `key` names it."""

    exclusive = True
    key = ""

    def __init__(self, channel: ChannelState, asked: dict[str, Any], answer: Future) -> None:
        super().__init__([channel], answer)
        self.channel, self.asked = channel, asked
        try:
            text(asked)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(f"{self.key}: {error}") from None

    def frame(self) -> str:
        return text({"id": self.id, "channel": self.channel.number, self.key: self.asked})


class Forecast(Asked[Array]):
    """Ask what a copy of a session answers."""

    key = "forecast"

    def result(self, frame: Frame) -> Array:
        channel, steps = self.channel, len(self.asked.get("inputs", ())) + self.asked.get("steps", 0)
        check(frame.channel == channel.number and frame.step is not None, "a forecast of another channel")
        check(frame.step == channel.next_step, f"a forecast from step {frame.step}, not {channel.next_step}")
        asked: Encoded[Any] = Encoded([[]] * steps, array=True, lone=False)
        (outputs,) = outputs_of([frame.outputs or []], [asked])
        check(outputs.shape[1] == channel.output_count, "outputs of another width")
        return cast(Array, outputs)


class Rewind(Asked[None]):
    """Set a session back to a kept snapshot. Sent again after a lost answer it has the same outcome."""

    key = "rewind"

    def result(self, frame: Frame) -> None:
        channel, told, step = self.channel, frame.rewound, self.asked["step"]
        if told is None:
            raise ForeignAnswer("no `rewound` in the answer")
        check((told.id, told.step) == (channel.session, step), "another session or step was rewound")
        channel.next_step = channel.ahead = step
        channel.recent.clear()


class Close(Call):
    """Close a channel, and delete its session if it is to `end`."""

    exclusive = True

    def __init__(self, channel: ChannelState, answer: Future, *, end: bool) -> None:
        super().__init__([channel], answer)
        self.channel = channel
        self.end = end
        channel.ended = ChannelNotFound(
            f"the channel of session {channel.session!r} is closed", session=channel.session
        )

    def frame(self) -> str:
        return text({"id": self.id, "close": {"channel": self.channel.number, "end": self.end}})

    def result(self, frame: Frame) -> None:
        check(frame.closed is not None and frame.closed.channel == self.channel.number, "another channel was closed")
        self.channel.opened = False

    def revert(self) -> None:
        self.channel.opened = False


def text(frame: dict[str, Any]) -> str:
    """A text frame."""
    return json.dumps(frame, allow_nan=False, separators=(",", ":"))
