"""Many sessions at once, over every door, interleaved at random: each output is what it would have been alone."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from service.models.speed import CHUNKS
from tests.wire.expect import Array, bits
from tests.wire.line import Line
from tests.wire.oracle import Oracle
from tests.wire.server import Server

SINGLE_LINES, MANY_LINES, SOCKETS, PREDICTORS = 100, 3, 3, 2


@dataclass
class Sequence:
    """One session's inputs [T, F], and the outputs so far."""

    id: str
    inputs: Array
    outputs: list[Any] = field(default_factory=list)
    sent: int = 0

    def cut(self, rng: np.random.Generator, longest: int) -> dict[str, Any]:
        """The next call on it, of random length; every other names its step."""
        steps = int(rng.integers(1, longest, endpoint=True))
        piece = self.inputs[self.sent : self.sent + steps]
        named = {"step": self.sent} if rng.random() < 0.5 else {}
        self.sent += len(piece)
        return {"inputs": piece.tolist()} | named

    @property
    def left(self) -> int:
        return len(self.inputs) - self.sent


class Crowd:
    """Concurrent clients that take sequences from a common pool, advance them a little and put them back."""

    def __init__(self, server: Server, model: str, oracle: Oracle, sessions: int) -> None:
        self.server, self.model, self.oracle = server, model, oracle
        self.rng = np.random.default_rng(sessions)
        lengths = self.rng.integers(1, 3 * CHUNKS[2], sessions, endpoint=True)
        self.sequences = [
            Sequence(f"{model}-{index}", oracle.inputs(self.rng, int(length))) for index, length in enumerate(lengths)
        ]
        self.idle = list(self.sequences)
        self.left = sessions
        self.returned = asyncio.Condition()
        self.predicted = 0

    async def take(self, most: int) -> list[Sequence]:
        """Some idle sequences at random, those with more to come sooner; none when all are over."""
        async with self.returned:
            await self.returned.wait_for(lambda: self.idle or not self.left)
            self.idle.sort(key=lambda one: self.rng.random() ** (1 / one.left), reverse=True)
            taken, self.idle = self.idle[:most], self.idle[most:]
            return taken

    def longest(self) -> int:
        """How long the calls of a client's turn may be: mostly single steps, as live streams send them."""
        return int(self.rng.choice([1] * 11 + [CHUNKS[2] + 7]))

    async def put_back(self, taken: list[Sequence]) -> None:
        async with self.returned:
            self.idle += [one for one in taken if one.left]
            self.left -= sum(not one.left for one in taken)
            self.returned.notify_all()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for client, count in (
                (self.single_steps, SINGLE_LINES),
                (self.many_steps, MANY_LINES),
                (self.frames, SOCKETS),
                (self.predicts, PREDICTORS),
            ):
                for _ in range(count):
                    clients.create_task(client())

    async def post(self, line: Line, path: str, body: Any) -> Any:
        answer = await line.call("POST", path, body)
        assert answer.status in (200, 201), answer
        return orjson.loads(answer.body)

    async def single_steps(self) -> None:
        line = Line(self.server.port)
        while taken := await self.take(1):
            (one,) = taken
            if not one.sent:
                await self.post(line, f"/v1/models/{self.model}/sessions", {"id": one.id})
            told = await self.post(line, f"/v1/sessions/{one.id}/steps", one.cut(self.rng, self.longest()))
            one.outputs += told["outputs"]
            assert told["step"] == one.sent
            await self.put_back(taken)
        await line.hang_up()

    async def many_steps(self) -> None:
        line = Line(self.server.port)
        while taken := await self.take(int(self.rng.integers(8, 64))):
            asked = [one for one in taken for _ in range(self.rng.integers(1, 2, endpoint=True))]
            longest = self.longest()
            items = [{"session": one.id, **one.cut(self.rng, longest)} for one in asked if one.left]
            told = await self.post(line, f"/v1/models/{self.model}/steps", {"items": items, "open": True})
            sequences = {one.id: one for one in taken}
            for answer in told["items"]:
                sequences[answer["session"]].outputs += answer["outputs"]
            await self.put_back(taken)
        await line.hang_up()

    async def frames(self) -> None:
        async with connect(self.server.stream_url, max_size=None, compression=None, proxy=None) as socket:
            while taken := await self.take(int(self.rng.integers(8, 64))):
                await self._pipeline(socket, taken)
                await self.put_back(taken)

    async def _pipeline(self, socket: ClientConnection, taken: list[Sequence]) -> None:
        """Several calls of each sequence, all under way before the first answer is read."""
        for id, one in enumerate(taken):
            await socket.send(orjson.dumps({"id": id, "open": {"model": self.model, "session": one.id}}).decode())
        opened = [orjson.loads(await socket.recv()) for _ in taken]
        channels = {told["id"]: told["opened"]["channel"] for told in opened}
        asked: dict[int, Sequence] = {}
        longest = self.longest()
        for _ in range(3):
            for index, one in enumerate(taken):
                if one.left:
                    frame = {"id": len(asked), "channel": channels[index], **one.cut(self.rng, longest)}
                    asked[len(asked)] = one
                    await socket.send(orjson.dumps(frame).decode())
        answers = [orjson.loads(await socket.recv()) for _ in asked]
        for told in sorted(answers, key=lambda told: told["id"]):
            asked[told["id"]].outputs += told["outputs"]

    async def predicts(self) -> None:
        line = Line(self.server.port)
        while self.left:
            lengths = self.rng.integers(1, 3 * CHUNKS[2], self.rng.integers(16, 48))
            given = [self.oracle.inputs(self.rng, int(length)) for length in lengths]
            body = {"sequences": [one.tolist() for one in given]}
            told = await self.post(line, f"/v1/models/{self.model}/predict", body)
            assert [bits(one) for one in told["outputs"]] == [bits(self.oracle.whole(one)) for one in given]
            self.predicted += 1
        await line.hang_up()


def ticks(server: Server, model: str) -> tuple[float, float]:
    """All of them, and those of at most 8 rows."""
    seen = server.metrics()
    labels = {"model": model, "version": "1"}
    return (
        seen["carousel_tick_rows_count", frozenset(labels.items())],
        seen["carousel_tick_rows_bucket", frozenset((labels | {"le": "8"}).items())],
    )


@pytest.mark.parametrize(
    ("model", "sessions"), [("metro-traffic", 200), ("gru", 50), ("rnn", 50), ("feedforward", 50), ("named", 50)]
)
async def test_every_output_under_load_is_that_of_the_whole_sequence_alone(
    server: Server, models: Path, model: str, sessions: int, record_property: Any
) -> None:
    oracle = Oracle(models / model / "1/model.onnx", twin=model == "rnn")
    crowd = Crowd(server, model, oracle, sessions)
    before = ticks(server, model)
    await crowd.run()
    wrong = [one.id for one in crowd.sequences if bits(one.outputs) != bits(oracle.whole(one.inputs))]
    assert not wrong
    assert crowd.predicted > 0
    run, small = (now - then for now, then in zip(ticks(server, model), before, strict=True))
    record_property("ticks of more than 8 rows", f"{run - small} of {run}")
    print(f"{model}: {run - small:.0f} of {run:.0f} ticks held more than 8 rows; {crowd.predicted} predicts")  # noqa: T201
    if sessions >= 200:
        assert run - small >= run / 2
