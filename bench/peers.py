"""What the service is measured against: floors of edge and model, the sixty lines, the generator's own ceiling."""

import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx
import orjson

from bench import servers
from bench.generator import SERVER_CORE, Load, NotRunError, Tally, pinned
from bench.inputs import pool
from bench.models import SIZES
from bench.servers import Server
from bench.workshop import Workshop

Run = Callable[[], Tally | float]  # one repeat: what was counted, or steps/s
Start = Callable[[Load, str, Server, Workshop], AbstractContextManager[Run]]


@dataclass(frozen=True)
class Peer:
    """Its name in the table, and how it is made ready for a load of a model that the service, too, stands ready for."""

    says: str
    start: Start


def in_process(batch: int) -> Peer:
    """ONNX Runtime in a loop, T = 1."""

    @contextmanager
    def start(load: Load, model: str, carousel: Server, shop: Workshop) -> Iterator[Run]:
        yield partial(floor, shop.file(model), batch, shop.seconds)

    return Peer(f"in process, B = {batch}", start)


def floor(model: Path, batch: int, seconds: float) -> float:
    """Steps/s of ONNX Runtime in a process of its own, on the servers' core."""
    command = [sys.executable, "-m", "bench.floor", str(model), str(batch), str(seconds)]
    with pinned(SERVER_CORE):
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def _sixty_lines(load: Load, model: str, carousel: Server, shop: Workshop) -> Iterator[Run]:
    with servers.sixty_lines(shop.file(model), shop.log("sixty-lines")) as server:
        yield partial(shop.checked, load, model, server)


@contextmanager
def _door_floor(load: Load, model: str, carousel: Server, shop: Workshop) -> Iterator[Run]:
    door = "frames" if load.door == "stream" else "json"
    with servers.door_floor(door, shop.file(model), shop.log("door-floor")) as server:
        yield partial(shop.checked, load, model, server)


@contextmanager
def _other(load: Load, model: str, carousel: Server, shop: Workshop) -> Iterator[Run]:
    assert shop.beside is not None, "it is no peer then"
    with servers.other_carousel(shop.beside, shop.models(model), shop.log("other")) as server:
        yield partial(shop.checked, load, model, server)


def _echo(started: Callable[[Path, Path], AbstractContextManager[Server]]) -> Start:
    """What answers the bytes of a real answer."""

    @contextmanager
    def start(load: Load, model: str, carousel: Server, shop: Workshop) -> Iterator[Run]:
        answer = shop.folder / f"{started.__name__}-answer"
        answer.write_bytes(_real_answer(load, model, carousel))
        with started(answer, shop.log(started.__name__)) as server:
            yield partial(shop.generator.run, load, model, server.port, shop.seconds, bare=True)

    return start


@contextmanager
def _c_echo(load: Load, model: str, carousel: Server, shop: Workshop) -> Iterator[Run]:
    answer = shop.folder / "framed-answer"
    content = _real_answer(load, model, carousel)
    answer.write_bytes(_framed(content) if load.door == "stream" else content)
    with servers.c_echo(shop.generator.program("echo"), answer, shop.log("c-echo")) as server:
        yield partial(shop.generator.run, load, model, server.port, shop.seconds, bare=True)


@contextmanager
def _json(load: Load, model: str, carousel: Server, shop: Workshop) -> Iterator[Run]:
    yield partial(shop.checked, replace(load, raw=False), model, carousel)


SIXTY = Peer("the sixty-line service", _sixty_lines)
OTHER = Peer("the other carousel", _other)
DOOR = Peer("the floor of the door", _door_floor)
ECHO = Peer("uvicorn echo of the same bytes", _echo(servers.uvicorn_echo))
OWN_ECHO = Peer("the same echo by our own connection", _echo(servers.own_echo))
JSON = Peer("the same by JSON, from the same service", _json)
CEILING = Peer("C echo: the generator's ceiling", _c_echo)


def _real_answer(load: Load, model: str, carousel: Server) -> bytes:
    """Head and body of what the service answers, or a frame of that size: what an answer costs is in its bytes."""
    if load.door == "stream":
        n, T = load.items, load.length
        outputs = pool(SIZES[model].inputs)[0, :1].repeat(n * T * SIZES[model].outputs)
        ones = [*range(1, n + 1), *[T] * n, *[T] * n]
        return struct.pack(f"<{2 + 2 * n}I{n}Q", 0, n, *ones) + outputs.tobytes()
    rows = pool(SIZES[model].inputs)[: load.length]
    asked = {"sequences": [rows]} if load.predict else {"inputs": rows}
    with httpx.Client(base_url=carousel.url, timeout=60) as client:
        path = f"/v1/models/{model}/predict"
        if not load.predict:
            path = f"/v1/sessions/{client.post(f'/v1/models/{model}/sessions', json={}).json()['id']}/steps"
        answer = client.post(path, content=orjson.dumps(asked, option=orjson.OPT_SERIALIZE_NUMPY))
    if answer.status_code != 200:
        raise NotRunError(f"{path}: {answer.text}")
    head = b"".join(b"%s: %s\r\n" % pair for pair in answer.headers.raw)
    return b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + answer.content


def _framed(payload: bytes) -> bytes:
    """A WebSocket frame as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes([0x82, size]) + payload
    wide = struct.pack(">BH", 126, size) if size < 65536 else struct.pack(">BQ", 127, size)
    return b"\x82" + wide + payload
