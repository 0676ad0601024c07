"""WIRE §2 in memory, for one model: `sum`, with F = 2 and K = 3; its outputs are the sums so far and the step.

A frame that holds REFUSED is refused, an item that holds UNAPPLIED fails after it was accepted.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

F, K, REPLAY = 2, 3, 4
REFUSED, UNAPPLIED = -666.5, -999.5


class ProblemError(Exception):
    def __init__(self, status: int, code: str, *, channel: int | None = None, **extra: Any) -> None:
        self.channel = channel
        self.problem = {"status": status, "code": code, "detail": f"it is {code}", **extra}


@dataclass
class Sums:
    step: int = 0
    total: NDArray[np.float32] = field(default_factory=lambda: np.zeros(F, np.float32))
    kept: deque[tuple[int, bytes, NDArray[np.float32]]] = field(default_factory=lambda: deque(maxlen=REPLAY))
    past: dict[int, NDArray[np.float32]] | None = None  # total by step, of every step; None: it takes no snapshots

    def answer_kept(self, step: int, inputs: NDArray[np.float32]) -> NDArray[np.float32] | None:
        return next((out for at, given, out in self.kept if at == step and given == inputs.tobytes()), None)

    def check(self, channel: int, step: int, inputs: NDArray[np.float32]) -> None:
        if step != self.step and self.answer_kept(step, inputs) is None:
            conflict = {"expected_step": self.step} | ({"applied": True} if step < self.step else {})
            raise ProblemError(409, "step_conflict", channel=channel, **conflict)

    def run(self, step: int, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inputs [T, F] → outputs [T, K]."""
        kept = self.answer_kept(step, inputs)
        if kept is not None:
            return kept
        if UNAPPLIED in inputs:
            raise ProblemError(422, "non_finite_output")
        outputs = lone_run(inputs, self.total, self.step)
        self.total = outputs[-1, :F]
        self.step += len(inputs)
        self.kept.append((step, inputs.tobytes(), outputs))
        if self.past is not None:
            self.past[self.step] = self.total
        return outputs


def lone_run(inputs: Any, total: Any = 0.0, step: int = 0) -> NDArray[np.float32]:
    """What the model gives for inputs [T, F]."""
    steps = np.arange(step, step + len(inputs), dtype=np.float32)
    sums = total + np.cumsum(np.asarray(inputs, np.float32), axis=0)
    return np.concatenate([sums, steps[:, None]], axis=1, dtype=np.float32)


class FakeStreams:
    """The service: its sessions, and what it was asked."""

    def __init__(self) -> None:
        self.sessions: dict[str, Sums] = {}
        self.sockets: list[FakeSocket] = []
        self.refuse_opens: list[ProblemError] = []
        self.promises: dict[str, int] = {}  # told of every session

    def socket(self) -> FakeSocket:
        self.sockets.append(FakeSocket(self))
        return self.sockets[-1]

    def heard(self) -> list[Any]:
        """What was heard on all sockets: control frames, and ids of the steps."""
        return [frame for socket in self.sockets for frame in socket.heard]


class FakeSocket:
    """One socket: what it is told is answered at once, in order."""

    def __init__(self, service: FakeStreams) -> None:
        self.service = service
        self.channels: dict[int, str] = {}
        self.numbers: dict[str, int] = {}
        self.heard: list[Any] = []

    def answer(self, message: str | bytes | bytearray) -> str | bytes:
        control = json.loads(message) if isinstance(message, str) else None
        id = control["id"] if control else int.from_bytes(message[:4], "little")  # type: ignore[arg-type]
        self.heard.append(control or bytes(message))  # type: ignore[arg-type]
        try:
            return json.dumps({"id": id} | self._control(control)) if control else self._step(bytes(message))  # type: ignore[arg-type]
        except ProblemError as error:
            named = {} if error.channel is None else {"channel": error.channel}
            return json.dumps({"id": id, **named, "error": error.problem})

    def _control(self, told: dict[str, Any]) -> dict[str, Any]:
        if "open" in told:
            return {"opened": self._opened(**told["open"])}
        if "forecast" in told:
            state = self._session(told["channel"])
            outputs = lone_run(told["forecast"]["inputs"], state.total, state.step)
            return {"channel": told["channel"], "outputs": outputs.tolist(), "step": state.step}
        if "rewind" in told:
            return self._rewound(told["channel"], told["rewind"]["step"])
        channel = told["close"]["channel"]
        session = self.channels.pop(channel)
        self.numbers[f"closed {channel}"] = self.numbers.pop(session)
        if told["close"].get("end"):
            self.service.sessions.pop(session, None)
        return {"closed": {"channel": channel}}

    def _rewound(self, channel: int, step: int) -> dict[str, Any]:
        state = self._session(channel)
        if step not in (state.past or {}):
            kept = {"expected_step": state.step, "snapshots": sorted(state.past or {})}
            raise ProblemError(409, "step_conflict", channel=channel, **kept)
        state.past = {at: total for at, total in (state.past or {}).items() if at <= step}
        state.step, state.total = step, state.past[step]
        state.kept.clear()
        told = {"id": self.channels[channel], "model": "sum", "version": "1", "step": step}
        return {"channel": channel, "rewound": told}

    def _opened(
        self, model: str, session: str, version: str = "1", ttl_seconds: float = 60, snapshots: Any = None
    ) -> dict[str, Any]:
        if self.service.refuse_opens:
            raise self.service.refuse_opens.pop(0)
        if model not in {"sum", "twin"}:
            raise ProblemError(404, "model_not_found")
        created = session not in self.service.sessions
        state = self.service.sessions.setdefault(session, Sums(past=None if snapshots is None else {}))
        channel = self.numbers.setdefault(session, len(self.numbers) + 1)
        self.channels[channel] = session
        facts = {**self.service.promises, "replay": REPLAY, "feature_count": F, "output_count": K, "version": version}
        return {"channel": channel, "session": session, "created": created, "step": state.step, **facts}

    def _step(self, frame: bytes) -> str | bytes:
        n = int.from_bytes(frame[4:8], "little")
        channels = np.frombuffer(frame, "<u4", n, 8).tolist()
        lengths = np.frombuffer(frame, "<u4", n, 8 + 4 * n)
        steps = np.frombuffer(frame, "<u8", n, 8 + 8 * n)
        rows = np.frombuffer(frame, "<f4", offset=8 + 16 * n).reshape(-1, F)
        assert n == len(set(channels)) > 0
        assert lengths.min() > 0
        assert len(rows) == lengths.sum()
        inputs = np.split(rows, np.cumsum(lengths)[:-1])
        if REFUSED in rows:
            raise ProblemError(422, "invalid_input")
        asked = list(zip(channels, steps.tolist(), inputs, strict=True))
        for channel, step, given in asked:
            self._session(channel).check(channel, step, given)
        outputs, failed = [], []
        for channel, step, given in asked:
            try:
                outputs.append(self._session(channel).run(step, given))
            except ProblemError as error:
                failed.append({"channel": channel, "error": error.problem})
        if failed:
            id = int.from_bytes(frame[:4], "little")
            return json.dumps({"id": id, "error": failed[0]["error"], "failed": failed})
        after = (steps + lengths).astype("<u8").tobytes()
        return frame[: 8 + 8 * n] + after + np.concatenate(outputs).astype("<f4").tobytes()

    def _session(self, channel: int) -> Sums:
        if channel not in self.channels:
            raise ProblemError(404, "channel_not_found", channel=channel)
        session = self.service.sessions.get(self.channels[channel])
        if session is None:
            raise ProblemError(404, "session_not_found", channel=channel)
        return session
