"""Clients of REST that share a session and name no step: each step is told once, and nothing refused was applied."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress

import orjson

from tests.chaos.streams import Figures, Violation

_REFUSED = {"overloaded", "shutting_down", "store_unavailable", "engine_failed"}
_CLIENTS, _STEPS = 8, 20  # at once, so that steps are committed together; and by each
_WAITS = 0.5  # seconds until more are begun, at another server where there is one by then
_MOST = 3 * _CLIENTS


class Unnamed:
    """A running sum of ones, so that an answer tells how many steps were applied before it."""

    def __init__(self, seed: int, figures: Figures) -> None:
        self.id, self._figures = f"unnamed-{seed}", figures
        self._stands = 0  # steps that are accounted for
        self._told: list[int] = []  # since then
        self._unknown = 0  # calls since then of which it is not known whether they were applied

    async def run(self, port: Callable[[], int], stop: asyncio.Event) -> None:
        """Open the session, and step it until `stop`; account for all steps whenever none is on its way."""
        await _until(port, {201, 409}, "POST", "/v1/models/sum/sessions", {"id": self.id})
        clients: set[asyncio.Task[None]] = set()
        while not stop.is_set() or clients:
            if not stop.is_set() and len(clients) < _MOST:
                clients |= {asyncio.create_task(self._step(port())) for _ in range(_CLIENTS)}
            ended, clients = await asyncio.wait(clients, timeout=_WAITS)
            for one in ended:
                one.result()
            if not clients:
                stands = await _until(port, {200}, "GET", f"/v1/sessions/{self.id}")
                self.check(int(str(stands["step"])))

    def check(self, step: int) -> None:
        """Compare where the session stands with what was told of it since the last time."""
        told, steps = Counter(self._told), {*range(self._stands + 1, step + 1)}
        wrong = sorted(one for one, times in told.items() if times > 1 or one not in steps)
        untold = sorted(steps - {*told})
        if wrong or len(untold) > self._unknown:
            raise Violation(
                f"{self.id} stands at {step}, after {self._stands}; told twice or beyond are {wrong}, not told are"
                f" {untold}, where {self._unknown} calls were of unknown outcome"
            )
        self._stands, self._told, self._unknown = step, [], 0

    async def _step(self, port: int) -> None:
        """Step until there is no answer, or a refusal."""
        sent = False
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with closing(writer):
                for _ in range(_STEPS):
                    sent = True
                    told = await _ask(reader, writer, "POST", f"/v1/sessions/{self.id}/steps", {"inputs": [[1]]})
                    sent = False
                    if not self._heard(*told):
                        return
        except (OSError, asyncio.IncompleteReadError):
            self._unknown += sent

    def _heard(self, status: int, told: dict[str, object]) -> bool:
        if status == 200:
            outputs: list[list[float]] = told["outputs"]  # type: ignore[assignment]
            self._told.append(int(outputs[0][0]))
            self._figures.unnamed += 1
        elif told["code"] == "commit_unknown":
            self._unknown += 1
        elif told["code"] not in _REFUSED:
            raise Violation(f"{self.id}: {status} {told}")
        return status == 200


async def _until(
    port: Callable[[], int], statuses: set[int], verb: str, path: str, body: object = None
) -> dict[str, object]:
    """Ask until the answer has one of these statuses."""
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port())
            with closing(writer):
                status, told = await _ask(reader, writer, verb, path, body)
            if status in statuses:
                return told
        await asyncio.sleep(0.05)


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, verb: str, path: str, body: object
) -> tuple[int, dict[str, object]]:
    """Ask once, in a tenth of the time that a library takes: this loop has all the clients."""
    content = b"" if body is None else orjson.dumps(body)
    head = f"{verb} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    told = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", told)
    assert length is not None, told
    return int(told[9:12]), orjson.loads(await reader.readexactly(int(length[1])))
