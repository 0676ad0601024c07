"""The fuzzer at work: mutants of requests and frames, over several lines and sockets at once."""

import asyncio
from collections.abc import Iterable
from random import Random
from typing import Any

import orjson

from tests.wire import mutate
from tests.wire.attack import AIMED, ROUTES, STEP, World, fresh
from tests.wire.frames import BINARY, CLOSE, TEXT, Frames
from tests.wire.line import Line
from tests.wire.mutate import Request
from tests.wire.server import Server
from tests.wire.tally import Tally

LINES, SOCKETS = 12, 3
LIMIT, MOST = 8192, 8000  # bytes of a body or frame that the server takes, and that a mutant has unless it means more
CHANNELS = 65_536
FRAMES = ["stream open", "stream step", "stream close"]


async def call(server: Server, requests: Iterable[Request], tally: Tally) -> None:
    """Send all, over several lines at once."""
    queue = iter(requests)

    async def one_after_the_other() -> None:
        line = Line(server.port)
        for request in queue:
            try:
                answer = await line.exchange(request.encode(), bare=request.verb == "HEAD")
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
                raise AssertionError(f"no answer to {request.encode()[:300]!r}") from error
            tally.answer(request, answer)
            if request.closes:
                await line.hang_up()
        await line.hang_up()

    async with asyncio.TaskGroup() as lines:
        for _ in range(LINES):
            lines.create_task(one_after_the_other())


def frame(route: str, rng: Random, channels: list[int], victims: list[str]) -> dict[str, Any]:
    """A frame that is as it should be."""
    channel = rng.choice(channels) if channels and rng.random() < 0.8 else rng.choice([0, 99_999, 2**32])
    known = {"session": rng.choice([*victims, fresh(rng)])} if rng.random() < 0.8 else {}
    return {
        "stream open": {"id": rng.getrandbits(32), "open": {"model": "lstm", **known, "ttl_seconds": 60}},
        "stream step": {"id": rng.getrandbits(32), "channel": channel, "inputs": [STEP] * rng.randrange(1, 4)},
        "stream close": {"id": rng.getrandbits(32), "close": {"channel": channel, "end": rng.random() < 0.3}},
    }[route]


def frame_mutant(route: str, rng: Random, channels: list[int], victims: list[str]) -> bytes:
    """One or two mutations away from valid; always UTF-8, as the protocol below wants it."""
    body = mutate.damage(frame(route, rng, channels, victims), rng)
    if rng.random() < 0.4:
        body = mutate.damage(body, rng)
    content = orjson.dumps(body)
    if rng.random() < 0.2:
        content = mutate.bytes_of(content, rng).decode("utf-8", "replace").encode()
    return content[:MOST]


async def frames(server: Server, rng: Random, count: int, victims: list[str], tally: Tally) -> None:
    """Bursts of frames on one socket at a time; what breaks the protocol below closes it with its code."""
    while count > 0:
        socket = await Frames.dial(server.port)
        await socket.send(orjson.dumps({"id": 0, "open": {"model": "lstm"}}) for _ in range(8))
        channels = [orjson.loads((await socket.hear())[1])["opened"]["channel"] for _ in range(8)]
        for _ in range(10):
            asked = [(route, frame_mutant(route, rng, channels, victims)) for route in FRAMES * 10]
            await socket.send(content for _, content in asked)
            for route, _ in asked:  # each is answered once; the order is not told, and the kinds are equally many
                kind, payload = await socket.hear()
                assert kind == TEXT, (kind, payload)
                tally.frame(route, payload)
            await socket.send([rng.randbytes(rng.randrange(40))], BINARY)
            kind, payload = await socket.hear()
            tally.frame("stream step", payload)
            count -= len(asked) + 1
        broken, code = rng.choice([(b'{"id":"\xff"}', 1007), (b'{"id":1,"x":"' + b"x" * 9000 + b'"}', 1009)])
        await socket.send([broken])
        kind, payload = await socket.hear()
        assert (kind, int.from_bytes(payload[:2], "big")) == (CLOSE, code)
        socket.hang_up()


async def full_socket(server: Server) -> Frames:
    """A socket with as many channels as one may have."""
    socket = await Frames.dial(server.port)

    async def hear_all() -> None:
        for _ in range(CHANNELS):
            assert b'"opened"' in (await socket.hear())[1]

    heard = asyncio.ensure_future(hear_all())
    await socket.send(b'{"id":%d,"open":{"model":"feedforward"}}' % index for index in range(CHANNELS))
    await heard
    return socket


async def crowded(socket: Frames, rng: Random, count: int, tally: Tally) -> None:
    """Frames that would open one channel more, and frames on channels that are none."""
    for _ in range(count // 50):
        asked: list[tuple[str, dict[str, Any]]] = []
        for _ in range(50):
            gone: dict[str, Any] = {"channel": CHANNELS + rng.randrange(1, 2**40)}
            asked.append(("stream open", {"open": {"model": "lstm", "session": fresh(rng)}}))
            asked.append(rng.choice([("stream close", {"close": gone}), ("stream step", {**gone, "inputs": [STEP]})]))
        await socket.send(orjson.dumps({"id": rng.getrandbits(32), **one}) for _, one in asked)
        for route, _ in asked:
            tally.frame(route, (await socket.hear())[1])


async def fill(server: Server, rng: Random) -> None:
    """Open sessions until the table is full."""
    line = Line(server.port)
    status = 200
    while status == 200:
        items = [{"session": fresh(rng), "inputs": [STEP]} for _ in range(50)]
        status = (await line.call("POST", "/v1/models/lstm/steps", {"items": items, "open": True})).status
    while status != 503:
        status = (await line.call("POST", "/v1/models/lstm/sessions", {})).status
    await line.hang_up()


async def attack(server: Server, world: World, rng: Random, tally: Tally, *, crowd: Frames, each: int) -> None:
    """Mutants of each route, and those aimed at each code, about `each` of them; all kinds of traffic at once."""
    plan = [world.mutant(route, rng) for route in ROUTES for _ in range(each)]
    codes = sorted(AIMED.keys() - {"session_expired", "overloaded"})
    plan += [world.aimed(code, rng) for code in codes for _ in range(each)]
    rng.shuffle(plan)
    streams = [frames(server, Random(seed), each, world.victims, tally) for seed in range(SOCKETS)]
    await asyncio.gather(call(server, plan, tally), *streams, crowded(crowd, rng, each, tally))


async def expire(server: Server, ids: list[str]) -> None:
    """Open sessions, and wait until they have expired."""
    line = Line(server.port)
    for id in ids:
        assert (await line.call("POST", "/v1/models/lstm/sessions", {"id": id, "ttl_seconds": 3})).status == 201
    async with asyncio.timeout(20):
        while (await line.call("GET", f"/v1/sessions/{ids[-1]}")).status != 410:
            pass
    await line.hang_up()


async def campaign(server: Server, world: World, seed: int, each: int) -> tuple[Tally, int, int]:
    """The whole → what was answered after a warm-up, and the server's resident bytes before and after."""
    rng, tally = Random(seed), Tally()
    crowd = await full_socket(server)
    await attack(server, world, rng, Tally(), crowd=crowd, each=each // 10)
    before = server.memory()
    await attack(server, world, rng, tally, crowd=crowd, each=each)
    await expire(server, world.expired)
    await call(server, [world.aimed("session_expired", rng) for _ in range(each)], tally)
    await fill(server, rng)
    await call(server, [world.aimed("overloaded", rng) for _ in range(each)], tally)
    after = server.memory()
    crowd.hang_up()
    return tally, before, after
