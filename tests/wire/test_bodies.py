"""Bodies: compressed, chunked, too large."""

import gzip
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.wire.expect import done, refused
from tests.wire.poll import until
from tests.wire.server import Server

BODY = b'{"sequences":[[[1,2,3]]]}'
PREDICT = "/v1/models/lstm/predict"


def pieces(content: bytes, size: int = 1000) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def post(http: httpx.Client, content: bytes | Iterator[bytes], encoding: str | None = None) -> httpx.Response:
    headers = {} if encoding is None else {"Content-Encoding": encoding}
    return http.post(PREDICT, content=content, headers=headers)


def packed(content: bytes) -> bytes:
    """As gzip has it; its clock would make a name of a test another one in each run."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", packed(BODY)),
        ("GZip", packed(BODY)),
        ("x-gzip", packed(BODY)),
        ("gzip", packed(BODY[:9]) + packed(BODY[9:])),
        ("gzip", b"".join(packed(BODY[at : at + 1]) for at in range(len(BODY)))),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY)[2:-4]),
        ("identity", BODY),
        ("", BODY),
    ],
)
def test_gzip_and_deflate_are_read(http: httpx.Client, encoding: str, body: bytes) -> None:
    assert done(post(http, body, encoding)) == done(post(http, BODY))
    assert done(post(http, pieces(body, 7), encoding)) == done(post(http, BODY))


@pytest.mark.parametrize("second", ["gzip", "identity"])
def test_two_lines_of_encodings_are_a_list(http: httpx.Client, second: str) -> None:
    headers = [("Content-Encoding", "gzip"), ("Content-Encoding", second)]
    answer = http.post("/v1/models/lstm/predict", content=packed(BODY), headers=headers)
    refused(answer, "unsupported_encoding")


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "gzip, gzip", "*", "utf-8"])
def test_any_other_encoding_is_unsupported(http: httpx.Client, encoding: str) -> None:
    refused(post(http, BODY, encoding), "unsupported_encoding")
    refused(
        http.put("/v1/sessions/s/state", content=b"x", headers={"Content-Encoding": encoding}), "unsupported_encoding"
    )


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", BODY),
        ("gzip", b""),
        ("gzip", packed(BODY)[:-1]),
        ("gzip", packed(BODY) + b"x"),
        ("gzip", packed(BODY[:9]) + packed(BODY[9:])[:-1]),
        ("gzip", packed(b"") * 20_000),
        ("deflate", zlib.compress(BODY)[2:-5]),
        ("gzip", zlib.compress(BODY)),
        ("deflate", packed(BODY)),
        ("deflate", zlib.compress(BODY)[:-4]),
        ("deflate", BODY),
    ],
)
def test_a_body_that_is_not_what_its_encoding_says_is_an_invalid_request(
    http: httpx.Client, encoding: str, body: bytes
) -> None:
    refused(post(http, body, encoding), "invalid_request")


@pytest.fixture(scope="module")
def small(models: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that takes bodies of 10 000 bytes."""
    server = Server(models, tmp_path_factory.mktemp("small") / "log", max_body_bytes=10_000)  # type: ignore[arg-type]
    with httpx.Client(base_url=server.wait_until_ready().url) as client:
        yield client
    assert server.stop() == 0


def padded(size: int) -> bytes:
    return BODY + b" " * (size - len(BODY))


@pytest.mark.parametrize("sent", [lambda body: body, pieces], ids=["with its length", "chunked"])
def test_a_body_over_the_limit_is_too_large(small: httpx.Client, sent: Callable[[bytes], bytes]) -> None:
    done(post(small, sent(padded(10_000))))
    for size in (10_001, 300_000):
        refused(post(small, sent(padded(size))), "payload_too_large")
        refused(small.put("/v1/sessions/s/state", content=sent(padded(size))), "payload_too_large")
    done(post(small, BODY))


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", packed), ("deflate", zlib.compress)])
def test_a_body_is_measured_after_decompression(
    small: httpx.Client, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    done(post(small, pack(padded(10_000)), encoding))
    refused(post(small, pack(padded(10_001)), encoding), "payload_too_large")
    bomb = pack(padded(8_000_000))
    assert len(bomb) < 10_000
    refused(post(small, bomb, encoding), "payload_too_large")


def test_a_length_over_the_limit_is_refused_before_the_body_is_sent(small: httpx.Client) -> None:
    request = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    with socket.create_connection((small.base_url.host, small.base_url.port), timeout=5) as connection:
        connection.sendall(request.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_bomb_costs_no_memory(server: Server, http: httpx.Client) -> None:
    bomb = zlib.compress(bytes(400_000_000), 1)
    before = server.memory()
    for _ in range(3):
        refused(post(http, bomb, "deflate"), "payload_too_large")
    assert server.memory() - before < 140 * 2**20, "one limit of 64 MiB, twice over, and no more"


@pytest.mark.parametrize("end", ["is cut off", "is closed", "rests"])
def test_a_connection_keeps_no_body_once_it(server: Server, end: str) -> None:
    request = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n".encode() + b"x" * 4_000_000
    before = server.memory()
    with ExitStack() as resting:
        for _ in range(30):
            connection = resting.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            if end == "is cut off":
                connection.sendall(request[:-9])
            else:
                connection.sendall(request)
                assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
            if end != "rests":
                connection.close()
        until(lambda: server.memory() - before < 40 * 2**20)
