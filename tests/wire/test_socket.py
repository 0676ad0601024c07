"""The bytes of a stream's connection: however they are cut, and what ends it."""

from collections.abc import Iterator

import numpy as np
import orjson
import pytest
from websockets.frames import PONG

from tests.wire.binary import Item, answer, request
from tests.wire.frames import BINARY, PING, TEXT, masked
from tests.wire.frames import CLOSE as CLOSING
from tests.wire.raw import Raw, cut, dial_raw
from tests.wire.server import Server

ONE = np.ones((9, 3), np.float32)


@pytest.fixture
def raw(server: Server) -> Iterator[Raw]:
    with dial_raw(server.port) as connection:
        yield connection


@pytest.mark.parametrize("size", [1, 7, 200, 100_000])
def test_messages_are_the_same_however_their_bytes_are_cut(raw: Raw, name: str, size: int) -> None:
    opening = masked(orjson.dumps({"id": 1, "open": {"model": "lstm", "session": f"{name}-{size}"}}), TEXT)
    frames = [masked(request(id, [Item(1, ONE, 9 * id)]), BINARY) for id in range(3)]
    first, rest = masked(request(3, [Item(1, ONE, 27)])[:50], 0), request(3, [Item(1, ONE, 27)])[50:]
    fragments = bytes((BINARY,)) + first[1:] + masked(b"between", PING) + masked(rest, 0)
    raw.send(*cut(opening + b"".join(frames) + fragments, size))
    heard = [raw.hear() for _ in range(6)]
    assert {orjson.loads(content)["opened"]["channel"] for kind, content in heard if kind == TEXT} == {1}
    assert [content for kind, content in heard if kind is PONG] == [b"between"]
    answers = [answer(content) for kind, content in heard if kind == BINARY]
    assert [(one.id, one.steps) for one in answers] == [(id, {1: 9 * id + 9}) for id in range(4)]
    raw.send(masked(b"\x03\xe8bye", CLOSING))
    assert raw.closed() == (1000, "bye")


@pytest.mark.parametrize(
    "code, sent",
    [
        (1002, masked(b"x", 0)),  # goes on from nowhere
        (1002, b"\x82\x01x"),  # not masked
        (1002, b"\xc2" + masked(b"x", BINARY)[1:]),
        (1002, masked(b"x", 3)),
        (1002, masked(bytes(126), PING)),
        (1002, masked(b"\x03\xed", CLOSING)),  # nobody may tell 1005
        (1007, masked(b"\xff", TEXT)),
    ],
)
def test_what_is_no_message_ends_the_connection_and_says_why_though_more_is_sent(
    raw: Raw, code: int, sent: bytes
) -> None:
    raw.send(sent + masked(b"{}", TEXT) * 1_000)
    assert raw.closed()[0] == code
