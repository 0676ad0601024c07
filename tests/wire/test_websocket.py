"""RFC 6455 as the stream keeps it: framing, fragments, UTF-8, control frames, close codes and limits."""

import socket
import struct
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.frames import PONG

from tests.wire.frames import HANDSHAKE
from tests.wire.raw import Raw, cut, dial_raw
from tests.wire.server import Server

MOST = 70_000  # bytes of a message: such a length is written in 64 bits
CONTINUATION, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9
KEY = b"\x37\xfa\x21\x3d"


@pytest.fixture(scope="module")
def small(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a small limit of a message."""
    server = Server(models, tmp_path_factory.mktemp("small") / "log", max_body_bytes=MOST).wait_until_ready()
    yield server
    assert server.stop() == 0, server.log
    assert not server.errors()


@pytest.fixture
def raw(small: Server) -> Iterator[Raw]:
    with dial_raw(small.port) as connection:
        yield connection


def frame(kind: int, content: bytes = b"", *, fin: bool = True, reserved: int = 0, key: bytes = KEY) -> bytes:
    """A frame as a client sends it, its length in as few bytes as possible."""
    size = len(content)
    wide = 0 if size < 126 else 126 if size < 2**16 else 127
    return written(kind | (fin << 7) | (reserved << 4), size, wide) + key + mask(content, key)


def written(first: int, size: int, wide: int) -> bytes:
    """A first byte and a length, written in the byte behind it, in two more (126) or in eight (127)."""
    if not wide:
        return bytes((first, 0x80 | size))
    return struct.pack(">BBH" if wide == 126 else ">BBQ", first, 0x80 | wide, size)


def mask(content: bytes, key: bytes) -> bytes:
    size = len(content)
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(content) ^ int.from_bytes(pad)).to_bytes(size)


def fragments(kind: int, pieces: Sequence[bytes], between: bytes = b"") -> bytes:
    """A message in as many frames as there are pieces, and bytes between them."""
    last = len(pieces) - 1
    sent = [frame(CONTINUATION if at else kind, piece, fin=at == last) for at, piece in enumerate(pieces)]
    return between.join(sent)


def asking(text: str, id: int = 7) -> bytes:
    """A text message whose answer tells its text: the name of a model that is none."""
    return orjson.dumps({"id": id, "open": {"model": text}})


def padded(size: int, id: int = 7) -> bytes:
    """A text message of a size, answered under its id."""
    least = orjson.dumps({"id": id, "close": {"channel": 99}})
    return least + b" " * (size - len(least))


def is_alive(raw: Raw) -> bool:
    """Whether the connection answers as if nothing had been."""
    raw.send(frame(TEXT, padded(50, id=4_000_000_000)))
    return raw.hear_text()["id"] == 4_000_000_000


# The handshake.


def refusal(server: Server, handshake: bytes) -> tuple[bytes, dict[str, Any]]:
    """The head, in small letters, and the problem that answer a handshake; then the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(handshake)
        told = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = told.partition(b"\r\n\r\n")
    head = head.lower()
    assert b"content-type: application/problem+json" in head
    assert b"x-request-id: " in head
    problem: dict[str, Any] = orjson.loads(body)
    return head, problem


@pytest.mark.parametrize("version", [b"0", b"7", b"8", b"12", b"14", b"13, 8", b""])
def test_another_version_is_told_which_one_is_spoken(small: Server, version: bytes) -> None:
    head, problem = refusal(small, HANDSHAKE.replace(b"Version: 13", b"Version: " + version))
    assert head.startswith(b"http/1.1 426 ")
    assert b"sec-websocket-version: 13" in head
    assert (problem["code"], problem["status"]) == ("invalid_request", 426)


@pytest.mark.parametrize("key", [b"", b"abc", b"AAAAAAAAAAAAAAAAAAAA", b"AAAAAAAAAAAAAAAAAAAAAAAAAAAA", b"!" * 24])
def test_a_key_that_is_none_is_an_invalid_request(small: Server, key: bytes) -> None:
    head, problem = refusal(small, HANDSHAKE.replace(b"AAAAAAAAAAAAAAAAAAAAAA==", key))
    assert head.startswith(b"http/1.1 400 ")
    assert problem["code"] == "invalid_request"


@pytest.mark.parametrize("missing", [b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n"])
def test_a_handshake_of_which_a_proxy_dropped_a_line_is_told_so(small: Server, missing: bytes) -> None:
    assert missing in HANDSHAKE
    rest = HANDSHAKE.replace(missing, b"").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    head, problem = refusal(small, rest)
    assert head.startswith(b"http/1.1 404 ")
    assert "'Connection: Upgrade' or 'Upgrade: websocket' is missing" in problem["detail"]


@pytest.mark.parametrize("path", [b"/", b"/v1/streams", b"/v1/stream/", b"/v1/models"])
def test_no_other_path_has_a_socket(small: Server, path: bytes) -> None:
    head, problem = refusal(small, HANDSHAKE.replace(b"/v1/stream", path))
    assert head.startswith(b"http/1.1 404 ")
    assert problem["code"] == "not_found"


@pytest.mark.parametrize(
    ("said", "also"),
    [
        (b"Connection: Upgrade", b"Connection: keep-alive, Upgrade"),  # Firefox
        (b"Connection: Upgrade", b"connection: upgrade"),
        (b"Connection: Upgrade", b"Connection: Upgrade\r\nConnection: keep-alive"),
        (b"Upgrade: websocket", b"Upgrade: WebSocket"),
        (b"Upgrade: websocket", b"Upgrade: h2c, websocket"),
        (b"Upgrade: websocket", b"Upgrade: websocket\r\nUpgrade: h2c"),
        (b"GET /v1", b"GET http://localhost/v1"),
        (b"Host: x", b"Host: x\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: a, b"),
        (b"Host: x", b"Host: x\r\nContent-Length: 0"),
        (b"/v1/stream", b"/v1/stream?ticket=t"),
    ],
)
def test_a_handshake_may_be_written_otherwise(small: Server, said: bytes, also: bytes) -> None:
    with dial_raw(small.port, HANDSHAKE.replace(said, also)) as raw:
        assert is_alive(raw)


@pytest.mark.parametrize(
    "cut", [1, 30, len(HANDSHAKE) - 1, len(HANDSHAKE), len(HANDSHAKE) + 1, len(HANDSHAKE) + 9, None]
)
def test_frames_that_come_with_the_handshake_are_read(small: Server, cut: int | None) -> None:
    sent = HANDSHAKE + frame(TEXT, padded(50, 1)) + frame(PING, b"p") + frame(TEXT, padded(50, 2))
    with socket.create_connection(("127.0.0.1", small.port), timeout=20) as connection:
        connection.sendall(sent[:cut])
        connection.sendall(sent[cut:] if cut else b"")
        told = b""
        while told.count(b'"id":') < 2:
            told += connection.recv(65_536)
    assert told.startswith(b"HTTP/1.1 101 ")
    assert b'"id":1,' in told and b"\x8a\x01p" in told and b'"id":2,' in told


# Frames.


@pytest.mark.parametrize("size", [40, 125, 126, 127, 128, 255, 256, 65_535, 65_536, 65_537, MOST])
def test_a_text_may_have_any_size_up_to_the_limit(raw: Raw, size: int) -> None:
    raw.send(frame(TEXT, padded(size)))
    assert raw.hear_text()["id"] == 7


@pytest.mark.parametrize("size", [0, 1, 3, 4, 7, 8, 125, 126, 127, 128, 255, 256, 65_535, 65_536, 65_537, MOST])
def test_a_binary_message_may_have_any_size_up_to_the_limit(raw: Raw, size: int) -> None:
    raw.send(frame(BINARY, b"\x05\0\0\0" + bytes(size - 4) if size >= 4 else bytes(size)))
    assert raw.hear_text()["id"] == (5 if size >= 4 else None)


@pytest.mark.parametrize("key", [bytes(4), b"\xff" * 4, b"\0\0\0\1", b"\x80\0\0\0", b"mask"])
@pytest.mark.parametrize("size", [60, 61, 62, 63, 300, 65_536])
def test_any_key_masks(raw: Raw, key: bytes, size: int) -> None:
    raw.send(frame(TEXT, padded(size), key=key))
    assert raw.hear_text()["id"] == 7


SHORT = frame(TEXT, asking("ü"))


@pytest.mark.parametrize("at", range(1, len(SHORT)))
def test_a_frame_may_be_cut_at_every_byte(raw: Raw, at: int) -> None:
    raw.send(SHORT[:at], SHORT[at:])
    assert "ü" in raw.hear_text()["error"]["detail"]


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 6, 9, 10, 12, 13, 14, 15])
def test_a_head_of_any_length_may_be_cut_at_every_byte(raw: Raw, size: int, at: int) -> None:
    sent = frame(TEXT, padded(size))
    raw.send(sent[:at], sent[at:])
    assert raw.hear_text()["id"] == 7


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11, 1_000])
def test_messages_may_be_cut_into_pieces_of_any_size(raw: Raw, size: int) -> None:
    sent = b"".join(frame(TEXT, padded(size, id)) for id, size in enumerate((40, 125, 126, 400))) + frame(PING, b"p")
    raw.send(*cut(sent + frame(CLOSE, b"\x03\xe8"), size))
    heard = [raw.hear() for _ in range(5)]
    assert [orjson.loads(content)["id"] for kind, content in heard if kind == TEXT] == [0, 1, 2, 3]
    assert (PONG, b"p") in heard
    assert raw.closed() == (1000, "")


@pytest.mark.parametrize("kind", [CONTINUATION, TEXT, BINARY, CLOSE, PING, int(PONG)])
@pytest.mark.parametrize("reserved", range(1, 8))
def test_a_reserved_bit_is_a_protocol_error(raw: Raw, kind: int, reserved: int) -> None:
    raw.send(frame(kind, reserved=reserved))
    assert raw.closed()[0] == 1002


@pytest.mark.parametrize("kind", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("content", [b"", b"\x03\xe8", bytes(200)])
def test_a_reserved_opcode_is_a_protocol_error(raw: Raw, kind: int, content: bytes) -> None:
    raw.send(frame(kind, content))
    assert raw.closed()[0] == 1002


@pytest.mark.parametrize("kind", [CONTINUATION, TEXT, BINARY, CLOSE, PING, int(PONG)])
@pytest.mark.parametrize("size", [0, 2, 125])
def test_a_frame_without_a_mask_is_a_protocol_error(raw: Raw, kind: int, size: int) -> None:
    raw.send(bytes((0x80 | kind, size)) + bytes(size))
    assert raw.closed()[0] == 1002


@pytest.mark.parametrize(
    ("size", "wide"), [(0, 126), (1, 126), (125, 126), (0, 127), (125, 127), (126, 127), (65_535, 127)]
)
@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_a_length_in_more_bytes_than_it_needs_is_a_protocol_error(raw: Raw, kind: int, size: int, wide: int) -> None:
    raw.send(written(0x80 | kind, size, wide) + KEY + bytes(size))
    assert raw.closed()[0] == 1002


@pytest.mark.parametrize("size", [2**63, 2**64 - 1])
def test_a_length_of_64_bits_is_a_protocol_error(raw: Raw, size: int) -> None:
    raw.send(written(0x80 | BINARY, size, 127) + KEY)
    assert raw.closed()[0] == 1002


# Limits.


@pytest.mark.parametrize("size", [MOST + 1, 2 * MOST, 2**31, 2**32, 2**62])
@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_a_frame_over_the_limit_is_refused_by_its_head(raw: Raw, kind: int, size: int) -> None:
    raw.send(written(0x80 | kind, size, 127))
    assert raw.closed()[0] == 1009


def test_the_refusal_of_a_long_frame_reaches_a_client_that_goes_on_sending(raw: Raw) -> None:
    raw.send(written(0x82, 2**24, 127) + KEY)
    for _ in range(64):
        raw.send(bytes(2**18))
    assert raw.closed()[0] == 1009


@pytest.mark.parametrize("pieces", [(MOST, 0), (0, MOST), (MOST - 1, 1), (35_000, 35_000), (1,) * 50 + (MOST - 50,)])
def test_fragments_may_add_up_to_the_limit(raw: Raw, pieces: tuple[int, ...]) -> None:
    content, at, parts = padded(MOST), 0, []
    for size in pieces:
        parts.append(content[at : at + size])
        at += size
    raw.send(fragments(TEXT, parts))
    assert raw.hear_text()["id"] == 7


@pytest.mark.parametrize("pieces", [(MOST, 1), (1, MOST), (35_000, 35_001), (30_000, 30_000, 30_000)])
@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_fragments_over_the_limit_are_refused(raw: Raw, kind: int, pieces: tuple[int, ...]) -> None:
    raw.send(fragments(kind, [b" " * size for size in pieces]))
    assert raw.closed()[0] == 1009


# Fragments.

BYTES = asking("κόσμε")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("between", [b"", frame(PING, b"x"), frame(int(PONG), b"x"), frame(PING) * 3])
def test_a_text_in_fragments_is_one_message(raw: Raw, size: int, between: bytes) -> None:
    raw.send(fragments(TEXT, [*cut(BYTES, size)], between))
    kind, content = raw.hear()
    while kind is PONG:
        kind, content = raw.hear()
    assert "κόσμε" in orjson.loads(content)["error"]["detail"]
    assert is_alive(raw)


@pytest.mark.parametrize("at", range(len(BYTES) + 1))
def test_a_text_may_be_fragmented_at_every_byte(raw: Raw, at: int) -> None:
    raw.send(fragments(TEXT, [BYTES[:at], BYTES[at:]]))
    assert "κόσμε" in raw.hear_text()["error"]["detail"]


@pytest.mark.parametrize("pieces", [(b"", b""), (b"", b"", b""), (b"", b"\1\0\0\0", b""), (b"\1", b"\0\0", b"\0")])
def test_a_binary_message_in_fragments_is_one_message(raw: Raw, pieces: tuple[bytes, ...]) -> None:
    raw.send(fragments(BINARY, pieces))
    assert raw.hear_text()["id"] == (1 if len(b"".join(pieces)) == 4 else None)
    assert is_alive(raw)


def test_many_empty_fragments_are_one_message(raw: Raw) -> None:
    raw.send(fragments(TEXT, [BYTES, *[b""] * 20_000]))
    assert "κόσμε" in raw.hear_text()["error"]["detail"]


@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("before", [b"", frame(PING), fragments(TEXT, [BYTES, b""])])
def test_a_continuation_of_nothing_is_a_protocol_error(raw: Raw, before: bytes, fin: bool) -> None:
    raw.send(before, frame(CONTINUATION, b"x", fin=fin))
    while True:
        kind, content = raw.hear()
        if kind == CLOSE:
            break
    assert content[:2] == b"\x03\xea"


@pytest.mark.parametrize(("first", "second", "fin"), [*product((TEXT, BINARY), (TEXT, BINARY), (False, True))])
def test_a_message_within_another_is_a_protocol_error(raw: Raw, first: int, second: int, fin: bool) -> None:
    raw.send(frame(first, b"{", fin=False), frame(second, b"}", fin=fin))
    assert raw.closed()[0] == 1002


# UTF-8.

VALID = [
    *("κόσμε", "\x7f", "\x80", "߿", "ࠀ", "￿", "\ufffe", "𐀀", "\U0010ffff", "\ud7ff", "\ue000", "�"),
    *("ascii", "é", "e\u0301", "日本語", "😀", "\ufeff", "\u2028"),
]
INVALID = [
    *(b"\x80", b"\xbf", b"\x80\xbf", b"\xc0", b"\xc3", b"\xe0\xa0", b"\xf0\x90\x80", b"\xfe", b"\xff", b"\xfe\xfe"),
    *(b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf"),
    *(b"\xf0\x8f\xbf\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbf\xbf"),
    *(b"\xed\xa0\x80\xed\xb0\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xfc\x80\x80\x80\x80\xaf", b"\xc3("),
]


@pytest.mark.parametrize("text", VALID, ids=ascii)
@pytest.mark.parametrize("size", [1, 2, 1_000])
def test_valid_utf8_is_read_in_whatever_fragments(raw: Raw, text: str, size: int) -> None:
    raw.send(fragments(TEXT, [*cut(asking(text), size)]))
    told = raw.hear_text()
    assert told["id"] == 7
    assert told["error"]["code"] in ("invalid_request", "model_not_found")


@pytest.mark.parametrize("content", INVALID, ids=bytes.hex)
@pytest.mark.parametrize("size", [1, 2, 1_000])
def test_invalid_utf8_is_refused_in_whatever_fragments(raw: Raw, content: bytes, size: int) -> None:
    raw.send(fragments(TEXT, [*cut(b'{"id":1,"x":"' + content + b'"}', size)]))
    assert raw.closed()[0] == 1007


@pytest.mark.parametrize("content", INVALID[:8], ids=bytes.hex)
def test_a_binary_message_need_not_be_utf8(raw: Raw, content: bytes) -> None:
    raw.send(frame(BINARY, content))
    assert raw.hear_text()["error"]["code"] == "invalid_request"
    assert is_alive(raw)


# Pings and pongs.


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xfe\0", bytes(124), b"y" * 125], ids=len)
@pytest.mark.parametrize("size", [1, 1_000])
def test_a_ping_is_answered_with_its_content(raw: Raw, content: bytes, size: int) -> None:
    raw.send(*cut(frame(PING, content), size))
    assert raw.hear() == (PONG, content)


def test_pings_are_answered_in_their_order(raw: Raw) -> None:
    raw.send(b"".join(frame(PING, b"%d" % at) for at in range(100)))
    assert [raw.hear() for _ in range(100)] == [(PONG, b"%d" % at) for at in range(100)]


@pytest.mark.parametrize("content", [b"", b"x", bytes(125)], ids=len)
def test_a_pong_that_was_not_asked_for_is_ignored(raw: Raw, content: bytes) -> None:
    raw.send(frame(int(PONG), content), frame(int(PONG), content) + frame(PING, b"still"))
    assert raw.hear() == (PONG, b"still")


@pytest.mark.parametrize("kind", [PING, int(PONG), CLOSE])
@pytest.mark.parametrize("size", [126, 127, 65_536])
def test_a_control_frame_of_over_125_bytes_is_a_protocol_error(raw: Raw, kind: int, size: int) -> None:
    raw.send(frame(kind, b"\x03\xe8" + bytes(size - 2)))
    assert raw.closed()[0] == 1002


@pytest.mark.parametrize("kind", [PING, int(PONG), CLOSE])
@pytest.mark.parametrize("content", [b"", b"\x03\xe8"])
def test_a_control_frame_in_fragments_is_a_protocol_error(raw: Raw, kind: int, content: bytes) -> None:
    raw.send(frame(kind, content, fin=False))
    assert raw.closed()[0] == 1002


# Closing.


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
@pytest.mark.parametrize("reason", ["", "bye", "κόσμε", "x" * 123])
def test_a_close_is_answered_with_its_code_and_reason(raw: Raw, code: int, reason: str) -> None:
    raw.send(frame(CLOSE, code.to_bytes(2) + reason.encode()))
    assert raw.closed() == (code, reason)


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
@pytest.mark.parametrize("reason", [b"", b"bye"])
def test_a_code_that_no_close_may_have_is_a_protocol_error(raw: Raw, code: int, reason: bytes) -> None:
    raw.send(frame(CLOSE, code.to_bytes(2) + reason))
    assert raw.closed()[0] == 1002


def test_a_close_without_a_code_is_answered_without_one(raw: Raw) -> None:
    raw.send(frame(CLOSE))
    assert raw.hear() == (CLOSE, b"")
    assert raw.connection.recv(1) == b""


def test_a_close_of_one_byte_is_a_protocol_error(raw: Raw) -> None:
    raw.send(frame(CLOSE, b"\3"))
    assert raw.closed()[0] == 1002


@pytest.mark.parametrize("content", INVALID[:12], ids=bytes.hex)
def test_a_reason_that_is_not_utf8_is_refused(raw: Raw, content: bytes) -> None:
    raw.send(frame(CLOSE, b"\x03\xe8" + content))
    assert raw.closed()[0] == 1007


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_close_may_be_cut_at_every_byte(raw: Raw, size: int) -> None:
    raw.send(*cut(frame(CLOSE, b"\x03\xe8good bye"), size))
    assert raw.closed() == (1000, "good bye")


@pytest.mark.parametrize("after", [frame(PING, b"x"), frame(TEXT, padded(50)), frame(BINARY, bytes(9))])
def test_nothing_is_answered_behind_a_close(raw: Raw, after: bytes) -> None:
    raw.send(frame(CLOSE, b"\x03\xe8") + after)
    assert raw.closed() == (1000, "")


@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_close_between_fragments_closes(raw: Raw, at: int) -> None:
    raw.send(frame(TEXT, BYTES, fin=False) + frame(CONTINUATION, b"", fin=False) * at + frame(CLOSE, b"\x03\xe8"))
    assert raw.closed() == (1000, "")


@pytest.mark.parametrize("count", [0, 1, 30])
def test_messages_before_a_close_are_answered_before_it(raw: Raw, count: int) -> None:
    raw.send(b"".join(frame(TEXT, padded(50, id)) for id in range(count)) + frame(CLOSE, b"\x03\xe8"))
    assert [raw.hear_text()["id"] for _ in range(count)] == [*range(count)]
    assert raw.closed() == (1000, "")
