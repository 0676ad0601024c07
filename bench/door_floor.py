"""The floors of the doors: steps by JSON and by frames, with as little code as answers them right.

`python -m bench.door_floor json|frames FILE PORT`. What a turn of the loop brings is parsed, run and answered together.
Each step is checked, and that it is finite; no bounds, deadlines, kept answers, repeats, errors or other routes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import numpy as np
import orjson
import uvloop
from numpy.typing import NDArray
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: afterwards it is too late
import onnxruntime as ort

_ROWS = 2**15
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_Asked = TypeVar("_Asked")


class Sessions:
    """States of sessions by row, and their steps."""

    def __init__(self, model: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._network = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        shapes = {one.name: one.shape[1:] for one in self._network.get_inputs() if one.name.startswith("state.")}
        self._states = {name: np.zeros((_ROWS, *shape), np.float32) for name, shape in shapes.items()}
        self._names = ["output", *(f"next_{name}" for name in shapes)]
        self.steps = np.zeros(_ROWS, np.int64)
        self.rows: dict[bytes, int] = {}

    def open(self, id: bytes) -> int:
        """The row of a new session."""
        return self.rows.setdefault(id, len(self.rows))

    def run(self, rows: NDArray[np.int64], asked: NDArray[np.int64], inputs: NDArray[np.float32]) -> Any:
        """Advance different sessions, inputs [N, T, F] → outputs [N, T, K]."""
        assert (self.steps[rows] == asked).all() and np.isfinite(inputs).all()
        feeds = {name: array.take(rows, axis=0) for name, array in self._states.items()}
        lengths = np.full(len(rows), inputs.shape[1], np.int32)
        outputs, *after = self._network.run(self._names, feeds | {"input": inputs, "lengths": lengths})
        assert np.isfinite(outputs).all()
        for array, state in zip(self._states.values(), after, strict=True):
            array[rows] = state
        self.steps[rows] += inputs.shape[1]
        return outputs


class Turn(ABC, Generic[_Asked]):
    """What a turn of the loop brings, served at its end."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions, self._came = sessions, list[_Asked]()

    def add(self, asked: _Asked) -> None:
        """Serve it at the end of this turn."""
        if not self._came:
            asyncio.get_running_loop().call_soon(self._end)
        self._came.append(asked)

    def _end(self) -> None:
        came, self._came = self._came, []
        self.serve(came)

    @abstractmethod
    def serve(self, came: list[_Asked]) -> None:
        """Answer all of it."""


class JsonTurn(Turn[tuple[asyncio.Transport, int, bytes]]):
    """Steps of sessions: the transport, the row and the body of each."""

    def serve(self, came: list[tuple[asyncio.Transport, int, bytes]]) -> None:
        """See Turn."""
        told = orjson.loads(b"[%b]" % b",".join([body for _, _, body in came]))
        inputs = np.array([one["inputs"] for one in told], np.float32)
        asked = np.array([one["step"] for one in told])
        outputs = self.sessions.run(np.array([row for _, row, _ in came]), asked, inputs)
        for (transport, _, _), output, step in zip(came, outputs, (asked + 1).tolist(), strict=True):
            answer = orjson.dumps({"outputs": output, "step": step}, option=orjson.OPT_SERIALIZE_NUMPY)
            transport.write(_HEAD % (len(answer), answer))


class Http(asyncio.Protocol):
    """Cuts requests by `find`; each is in one segment or more, and none is sent ahead."""

    def __init__(self, turn: JsonTurn) -> None:
        self._turn, self._data = turn, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio has it."""
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """As asyncio has it."""
        self._data += data
        end, sessions = self._data.find(b"\r\n\r\n") + 4, self._turn.sessions
        at = self._data.find(b"Content-Length: ") + 16
        if end < 4 or len(self._data) < end + int(self._data[at : self._data.find(b"\r", at)]):
            return
        path, body, self._data = self._data[: self._data.find(b" HTTP")], self._data[end:], b""
        if path.endswith(b"/steps"):
            self._turn.add((self._transport, sessions.rows[path.split(b"/")[3]], body))
        else:
            sessions.open(orjson.loads(body)["id"].encode())
            self._transport.write(_HEAD % (2, b"{}"))


class FrameTurn(Turn[tuple[WSTransport, bytes]]):
    """Frames of one size and of as many sessions each; a channel is a row."""

    def serve(self, came: list[tuple[WSTransport, bytes]]) -> None:
        """Answer the first frame of each session together, then the second of those that have one …"""
        while came:
            first: dict[bytes, tuple[WSTransport, bytes]] = {}
            later = [one for one in came if first.setdefault(one[1][8:12], one) is not one]
            self._answer([*first.values()])
            came = later

    def _answer(self, frames: list[tuple[WSTransport, bytes]]) -> None:
        n, N = int.from_bytes(frames[0][1][4:8], "little"), len(frames)
        words = np.frombuffer(b"".join([content for _, content in frames]), np.uint32).reshape(N, -1)
        rows, asked = words[:, 2 : 2 + n].reshape(-1), np.ascontiguousarray(words[:, 2 + 2 * n : 2 + 4 * n]).view("<i8")
        T, numbers = int(words[0, 2 + n]), np.ascontiguousarray(words[:, 2 + 4 * n :]).view("<f4")
        outputs = self.sessions.run(rows.astype(np.int64), asked.reshape(-1), numbers.reshape(n * N, T, -1))
        steps = (asked + T).view(np.uint32).reshape(N, -1)
        answers = np.concatenate([words[:, : 2 + 2 * n], steps, outputs.reshape(N, -1).view(np.uint32)], axis=1)
        for (socket, _), answer in zip(frames, answers, strict=True):
            socket.send(WSMsgType.BINARY, answer.tobytes())


class Stream(WSListener):
    """Frames of one socket."""

    def __init__(self, turn: FrameTurn) -> None:
        self._turn = turn

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """As picows has it."""
        if frame.msg_type is WSMsgType.BINARY:
            self._turn.add((transport, frame.get_payload_as_bytes()))
        elif frame.msg_type is WSMsgType.TEXT:
            asked = orjson.loads(frame.get_payload_as_bytes())
            opened = {"channel": self._turn.sessions.open(asked["open"]["session"].encode()), "created": True}
            transport.send(WSMsgType.TEXT, orjson.dumps({"id": asked["id"], "opened": opened}))
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()


async def main(door: str, model: str, port: int) -> None:
    """Serve."""
    sessions, loop = Sessions(model), asyncio.get_running_loop()
    if door == "json":
        requests = JsonTurn(sessions)
        await loop.create_server(lambda: Http(requests), "127.0.0.1", port)
    else:
        frames = FrameTurn(sessions)

        def accept(request: WSUpgradeRequest) -> WSListener:
            return Stream(frames)

        await ws_create_server(accept, "127.0.0.1", port, max_frame_size=2**26)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
