"""A client of REST whose sessions are opened, copied, replaced and deleted while the server dies and comes back."""

import asyncio
from collections.abc import Callable

import httpx
import numpy as np

from service.sessions.state_bytes import Seals, decode
from tests.chaos.streams import Figures, Violation

_LATER = (503, 504)
_PATIENCE = 120  # seconds: what is sent again while a stopped server still has it would be done twice
_EVERY, _KEEP = 2, 3  # of snapshots


class Lives:
    """Operations on sessions of the running sum, each asked for until it is known what became of it."""

    def __init__(
        self, seed: int, figures: Figures, *, behind: bool = False, wanders: bool = False, bulk: bool = True
    ) -> None:
        self._bulk = bulk  # sessions are forked into many, all or none
        self._wanders = wanders  # each operation has a connection of its own
        self._behind = behind  # answered steps may be lost: none are made
        self._rng, self._figures = np.random.default_rng(seed), figures
        self._seed, self._count = seed, 0
        self.alive: dict[str, tuple[int, float]] = {}  # id → step and sum
        self.dead: set[str] = set()
        self._past: dict[str, dict[int, float]] = {}  # id → sums by step of its snapshots, where it takes any
        self._done: list[str] = []  # what was asked for and answered
        self._port: Callable[[], int] = lambda: 0

    async def run(self, port: Callable[[], int], stop: asyncio.Event) -> None:
        """One operation after another, and look at what is there."""
        self._port = port
        limits = httpx.Limits(max_keepalive_connections=0 if self._wanders else None)
        async with httpx.AsyncClient(timeout=_PATIENCE, limits=limits) as self._http:
            while not stop.is_set():
                await self._act()

    async def _act(self) -> None:
        kinds = [
            self._open,
            self._step,
            self._fork,
            self._fork_many,
            self._replace,
            self._look,
            self._delete,
            self._sweep,
            self._rewind,
        ]
        if not self.alive:
            await self._open("")
            return
        id = str(self._rng.choice(sorted(self.alive)))
        await kinds[int(self._rng.choice(len(kinds), p=[0.15, 0.35, 0.1, 0.05, 0.1, 0.1, 0.06, 0.02, 0.07]))](id)

    async def _open(self, id: str) -> None:
        new, history = self._new(), self._rng.integers(0, 9, int(self._rng.integers(0, 4))).tolist()
        body: dict[str, object] = {"id": new} | ({"history": [[value] for value in history]} if history else {})
        if self._rng.random() < 0.5:
            body["snapshots"] = {"every": _EVERY, "keep": _KEEP}
        await self._ask("POST", "/v1/models/sum/sessions", 201, 409, json=body)
        self.alive[new] = len(history), float(sum(history))
        if "snapshots" in body:
            self._past[new] = {}
            self._snap(new, 0)

    def _snap(self, id: str, before: int) -> None:
        """Keep the snapshot that is due, as the server does."""
        step, total = self.alive[id]
        if id in self._past and before // _EVERY < step // _EVERY:
            self._past[id] = dict([*self._past[id].items(), (step, total)][-_KEEP:])

    def _forget(self, id: str) -> None:
        """Forget the snapshots behind the step at which a session stands now."""
        if id in self._past:
            self._past[id] = {at: sum for at, sum in self._past[id].items() if at <= self.alive[id][0]}

    async def _rewind(self, id: str) -> None:
        past = self._past.get(id)
        if not past:
            return
        step = int(self._rng.choice(list(past)))
        told = (await self._ask("POST", f"/v1/sessions/{id}/rewind", 200, json={"step": step})).json()
        self.alive[id] = step, past[step]
        self._forget(id)
        if (told["step"], told["snapshots"]) != (step, list(self._past[id])):
            raise Violation(f"{id}: {told}, not {self._past[id]}")

    async def _step(self, id: str) -> None:
        if self._behind:
            return
        step, total = self.alive[id]
        values = self._rng.integers(0, 9, int(self._rng.integers(1, 3)))
        asked = {"inputs": [[int(value)] for value in values], "step": step}
        told = (await self._ask("POST", f"/v1/sessions/{id}/steps", 200, json=asked)).json()
        sums = [[total + float(value)] for value in values.cumsum()]
        if told["outputs"] != sums or told["step"] != step + len(values):
            raise Violation(f"{id}: {told}, not {sums}")
        self.alive[id] = step + len(values), sums[-1][0]
        self._snap(id, step)
        self._figures.steps += len(values)

    async def _fork(self, id: str) -> None:
        new = self._new()
        await self._ask("POST", f"/v1/sessions/{id}/fork", 201, 409, json={"id": new})
        self.alive[new] = self.alive[id]

    async def _fork_many(self, id: str) -> None:
        if not self._bulk:
            return
        new = [self._new() for _ in range(int(self._rng.integers(1, 40)))]
        await self._ask("POST", f"/v1/sessions/{id}/fork", 201, 409, json={"ids": new})
        self.alive |= dict.fromkeys(new, self.alive[id])

    async def _sweep(self, id: str) -> None:
        """Delete by filter what of each ten begins so."""
        gone = [one for one in self.alive if one.startswith(id)]
        told = (await self._ask("DELETE", f"/v1/sessions?model=sum&prefix={id}", 200)).json()
        if not 0 <= told["deleted"] <= len(gone):
            raise Violation(f"{told} of {gone}")
        for one in gone:
            del self.alive[one]
        self.dead |= set(gone)
        listed = (await self._ask("GET", f"/v1/sessions?prefix=life-{self._seed}-&limit=1000", 200)).json()
        ids = [one["id"] for one in listed["sessions"]]
        if len(ids) < 1000 and ids != sorted(self.alive):
            raise Violation(f"listed are {ids}, not {sorted(self.alive)}")

    async def _replace(self, id: str) -> None:
        other = str(self._rng.choice(sorted(self.alive)))
        state = (await self._ask("GET", f"/v1/sessions/{other}/state", 200)).content
        await self._ask("PUT", f"/v1/sessions/{id}/state", 200, content=state)
        self.alive[id] = self.alive[other]
        self._forget(id)

    async def _look(self, id: str) -> None:
        blob = decode((await self._ask("GET", f"/v1/sessions/{id}/state", 200)).content, Seals())
        if (blob.step, float(blob.state["sum"][0, 0])) != self.alive[id]:
            raise Violation(f"{id}: {blob}, not {self.alive[id]}")
        if self.dead:
            gone = str(self._rng.choice(sorted(self.dead)))
            await self._ask("GET", f"/v1/sessions/{gone}", 404)

    async def _delete(self, id: str) -> None:
        await self._ask("DELETE", f"/v1/sessions/{id}", 204, 404)
        del self.alive[id]
        self.dead.add(id)

    def _new(self) -> str:
        self._count += 1
        return f"life-{self._seed}-{self._count}"

    async def _ask(self, verb: str, path: str, *expected: int, **body: object) -> httpx.Response:
        """Ask until there is an answer. One that is repeated may find its own work done: see `expected`."""
        again, short = False, f"{verb} {path.removeprefix('/v1/sessions/')} {str(body)[:60]}"
        while True:
            try:
                answer = await self._http.request(verb, f"http://127.0.0.1:{self._port()}{path}", **body)  # type: ignore[arg-type]
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code not in _LATER:
                allowed = expected if again else expected[:1]
                if answer.status_code not in allowed:
                    done = [one for one in self._done if path.split("/")[3] in one]
                    raise Violation(f"{verb} {path}: {answer.status_code} {answer.text}, not {allowed}, after {done}")
                self._done.append(f"{short} → {answer.status_code}{', again' * again}")
                return answer
            again = True
            await asyncio.sleep(0.1)
