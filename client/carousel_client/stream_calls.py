"""What can be asked on a stream: to open, to step and to close; each knows its frame and its answer."""

from __future__ import annotations

import json
from typing import Any

from carousel_client.errors import CarouselError, ChannelNotFound, InvalidRequest, PartlyFailed, StateLost
from carousel_client.frames import Array, Outputs, StepFrame
from carousel_client.lanes import Call, Lane, Promise


class Open(Call):
    """Make a session, or take it up where it stands; its caller gets the lane."""

    alone = True

    def __init__(self, lane: Lane, asked: dict[str, Any], answer: Promise) -> None:
        super().__init__([lane], answer)
        self.lane = lane
        self.asked = {key: value for key, value in asked.items() if value is not None}
        try:
            text(self.asked)
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"open: {error}") from None

    def frame(self) -> str:
        return text({"id": self.id, "open": self.asked})

    def heard(self, told: Any) -> Lane:
        lane, opened = self.lane, told["opened"]
        self._numbered(opened)
        lane.model, lane.version, lane.created = self.asked["model"], opened["version"], opened["created"]
        lane.feature_count, lane.output_count = opened["feature_count"], opened["output_count"]
        lane.step = lane.ahead = opened["step"]
        lane.failed = lane.ended = None
        return lane

    def _numbered(self, opened: Any) -> None:
        self.lane.number, self.lane.replay, self.lane.opened = opened["channel"], opened["replay"], True


class Reopen(Open):
    """Take a session up again on a new socket. Goes before all others, on no lane."""

    def __init__(self, lane: Lane, answer: Promise) -> None:
        super().__init__(lane, {"model": lane.model, "session": lane.session, "version": lane.version}, answer)
        self.lanes = []

    def heard(self, told: Any) -> Lane:
        lane, opened = self.lane, told["opened"]
        closing = bool(lane.calls) and isinstance(lane.calls[0], Close)
        if not closing and (opened["created"] or opened["step"] < lane.step):
            raise StateLost(
                f"the service answered up to step {lane.step} of session {lane.session!r} and has it at step "
                f"{opened['step']} now: its state was lost. Open it again to begin anew.",
                session=lane.session,
            )
        self._numbered(opened)
        return lane


class Step(Call):
    """Advance many sessions; its caller gets the outputs in the form of the inputs."""

    def __init__(self, lanes: list[Lane], request: StepFrame, answer: Promise, admitted: Promise | None) -> None:
        super().__init__(lanes, answer, admitted)
        self.request = request
        self.errors: dict[str, CarouselError] = {}  # of sessions that did not move, while the others did
        self._all = lanes

    def passed(self) -> None:
        steps = []
        for lane, length in zip(self.lanes, self.request.lengths.tolist(), strict=True):
            steps.append(lane.ahead)
            lane.ahead += length
        self.request.steps[:] = steps

    def undo(self) -> None:
        if self.waiting:
            return
        for lane, step in zip(self.lanes, self.request.steps.tolist(), strict=True):
            lane.ahead = min(lane.ahead, step)

    def frame(self) -> bytearray:
        return self.request.numbered(self.id, [lane.number or 0 for lane in self.lanes])

    def heard(self, told: Any) -> Outputs | PartlyFailed:
        outputs = self.request.read(told, self.lanes[0].output_count)
        self._moved()
        return self.partly(self.request.each(outputs)) if self.errors else self.request.arranged(outputs)

    def forgotten(self, error: CarouselError) -> PartlyFailed:
        """What it is where the service keeps the answers of those that moved no longer."""
        self._moved()
        self.errors |= {lane.session: error for lane in self.lanes}
        return self.partly([])

    def _moved(self) -> None:
        for lane, after in zip(self.lanes, (self.request.steps + self.request.lengths).tolist(), strict=True):
            lane.step = max(lane.step, after)

    def part(self, errors: dict[Lane, CarouselError]) -> None:
        """Some of its sessions did not move: go on with the others, whose kept answers are to be asked for again."""
        steps, moved = self.request.steps.tolist(), []
        for item, lane in enumerate(self.lanes):
            if lane in errors:
                lane.ahead = min(lane.ahead, steps[item])
            else:
                moved.append(item)
        self.errors |= {lane.session: error for lane, error in errors.items()}
        self.lanes = [self.lanes[item] for item in moved]
        self.request = self.request.only(moved)

    def partly(self, outputs: list[Array]) -> PartlyFailed:
        """The error that tells which sessions failed, and what the others gave."""
        given = iter(outputs)
        return PartlyFailed(
            self.errors, [None if lane.session in self.errors else next(given, None) for lane in self._all]
        )


class Close(Call):
    """Give a channel up, and delete its session if it is to `end`."""

    alone = True

    def __init__(self, lane: Lane, answer: Promise, *, end: bool) -> None:
        super().__init__([lane], answer)
        self.lane = lane
        self.end = end
        lane.ended = ChannelNotFound(f"the channel of session {lane.session!r} is closed", session=lane.session)

    def frame(self) -> str:
        return text({"id": self.id, "close": {"channel": self.lane.number, "end": self.end}})

    def heard(self, told: Any) -> None:
        self.lane.opened = False

    def undo(self) -> None:
        self.lane.opened = False


def text(frame: dict[str, Any]) -> str:
    """A frame of text."""
    return json.dumps(frame, allow_nan=False, separators=(",", ":"))
