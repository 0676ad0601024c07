"""The bytes of a WebSocket, without a socket: however they are cut, another library reads the same in them."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import CLOSE, CONT, PING, PONG, TEXT, Frame
from websockets.protocol import OPEN, Protocol, Side

from service.api import rfc6455
from service.api.rfc6455 import Control, Message, Parser, Violation

MOST = 70_000  # bytes of a message: such a length is written in 64 bits
FINAL = 0x80
Read = tuple[list[Message], int | None]  # messages, and the close code of what is none


def framed(first: int, content: bytes, *, key: bytes = b"\1\2\3\4", masked: int = 0x80, short: int = 126) -> bytes:
    """A frame; lengths below `short` are written in the first byte."""
    size = len(content)
    if size < short:
        head = bytes((first, masked | size))
    else:
        head = struct.pack(">BBH", first, masked | 126, size) if size < 2**16 else b""
        head = head or struct.pack(">BBQ", first, masked | 127, size)
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(content))


def ours(pieces: list[bytes], most: int = MOST) -> Read:
    """What the parser reads."""
    parser, messages = Parser(most), []
    try:
        for piece in pieces:
            whole = parser.whole(piece)
            messages += parser.feed(piece) if whole is None else [whole]
    except Violation as violation:
        return messages, violation.code
    return messages, None


def theirs(data: bytes) -> Read:
    """What `websockets` reads."""
    protocol = Protocol(Side.SERVER, state=OPEN, max_size=MOST)
    protocol.receive_data(data)
    messages: list[Message] = []
    kind, parts = TEXT, b""
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode in (PING, PONG, CLOSE):
            messages.append(Control(int(frame.opcode), bytes(frame.data)))
        else:
            kind, parts = kind if frame.opcode is CONT else frame.opcode, parts + frame.data
            if frame.fin:
                messages.append(parts.decode() if kind is TEXT else parts)
                parts = b""
    failed = protocol.parser_exc is not None and protocol.close_sent is not None
    return messages, int(protocol.close_sent.code) if failed and protocol.close_sent else None


contents = st.binary(max_size=300) | st.integers(120, 66_000).map(lambda size: (b"carousel" * size)[:size])
keys = st.binary(min_size=4, max_size=4)
controls = st.builds(
    lambda kind, content, key: framed(FINAL | kind, content, key=key),
    *(st.sampled_from([rfc6455.PING, rfc6455.PONG]), st.binary(max_size=125), keys),
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message in its frames, with control frames between them."""
    text = draw(st.booleans())
    content = draw(st.text(max_size=100).map(str.encode) if text else contents)
    cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=3)))
    ends = [0, *cuts, len(content)]
    sent = b""
    for index, (begin, end) in enumerate(pairwise(ends)):
        kind = 0 if index else rfc6455.TEXT if text else rfc6455.BINARY
        final = FINAL if index == len(cuts) else 0
        sent += framed(final | kind, content[begin:end], key=draw(keys)) + draw(st.just(b"") | controls)
    return sent


FAULTS = {
    "reserved bit": framed(0xC2, b"x"),
    "reserved opcode": framed(0x83, b"x"),
    "reserved control opcode": framed(0x8B, b"x"),
    "no mask": framed(0x82, b"x", masked=0),
    "long ping": framed(0x89, bytes(126)),
    "fragmented ping": framed(0x09, b""),
    "goes on from nowhere": framed(0x80, b"x"),
    "message within a message": framed(0x01, b"x") + framed(0x82, bytes(200)),
    "close of one byte": framed(0x88, b"\3"),
    "close with a code for nobody": framed(0x88, b"\3\xed"),
    "close with a code that is none": framed(0x88, b"\0\1"),
    "close with a reason that is no text": framed(0x88, b"\3\xe8\xff"),
    "too long": framed(0x82, bytes(MOST + 1)),
    "too long together": framed(0x02, bytes(MOST)) + framed(0x80, b"x"),
}
closes = st.sampled_from([framed(0x88, content) for content in (b"", b"\3\xe8", b"\3\xe9bye", b"\x0f\xa0")])


@given(
    st.lists(messages() | controls, max_size=5), st.just(b"") | closes | st.sampled_from([*FAULTS.values()]), st.data()
)
def test_another_library_reads_the_same_however_the_bytes_are_cut(
    sent: list[bytes], end: bytes, data: st.DataObject
) -> None:
    content = b"".join(sent) + end
    cuts = data.draw(
        st.just([sum(map(len, sent[:n])) for n in range(1, len(sent) + 1)])
        | st.lists(st.integers(0, len(content)), max_size=9)
    )
    pieces = [content[begin:end] for begin, end in pairwise([0, *sorted(cuts), len(content)])]
    assert ours(pieces) == theirs(content)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_message_is_known_byte_by_byte(fault: str) -> None:
    sent = FAULTS[fault]
    code = 1009 if fault.startswith("too long") else 1007 if fault.endswith("no text") else 1002
    assert ours([bytes((byte,)) for byte in sent])[1] == theirs(sent)[1] == code


def test_a_message_is_as_long_as_it_may_be_and_refused_by_its_head_if_it_is_longer() -> None:
    content = bytes(130)
    assert ours([framed(0x82, content)] * 3, most=130) == ([content] * 3, None)
    assert ours([framed(0x02, content), framed(0x80, b"")] * 3, most=130) == ([content] * 3, None)
    assert ours([framed(0x82, content)[:8]], most=129) == ([], 1009)
    assert ours([framed(0x82, content)], most=129) == ([], 1009)


def test_bytes_that_look_like_a_message_are_none_within_another() -> None:
    inner = framed(0x82, bytes(200))
    assert ours([framed(0x01, b"x"), inner]) == ([], 1002)
    assert ours([framed(0x82, inner, key=bytes(4))[:8], inner]) == ([inner], None)
    cut = bytes((0x82, 0x82, 0xFE, 0, 200)) + bytes(204)  # from its second byte on
    assert ours([cut[:1], cut[1:]]) == theirs(cut)


@pytest.mark.parametrize("content", [b"\xc3(", "ü".encode()[:1]])
def test_a_text_that_is_no_text_is_refused_also_when_each_of_its_frames_could_be_one(content: bytes) -> None:
    assert ours([framed(0x81, content)]) == ([], 1007)
    assert ours([framed(0x01, content[:1]), framed(0x80, content[1:])]) == ([], 1007)
    assert ours([framed(0x01, "ü".encode()[:1]), framed(0x80, "ü".encode()[1:])]) == (["ü"], None)


@pytest.mark.parametrize("short, content", [(0, b"x" * 125), (126, b"")])
def test_a_length_that_is_written_too_long_is_refused(short: int, content: bytes) -> None:
    wide = framed(0x82, content, short=short) if short == 0 else struct.pack(">BBQ", 0x82, 0xFF, 65_535) + bytes(4)
    assert ours([wide]) == ([], 1002)


def test_a_close_between_the_frames_of_a_message_is_a_close() -> None:
    assert ours([framed(0x01, b"x") + framed(0x88, b"\3\xe8")]) == ([Control(8, b"\3\xe8")], None)


@given(st.sampled_from([rfc6455.TEXT, rfc6455.BINARY, rfc6455.PONG]), contents)
def test_a_client_reads_what_was_framed(kind: int, content: bytes) -> None:
    content = content[:125] if kind == rfc6455.PONG else content
    client = Protocol(Side.CLIENT, state=OPEN, max_size=None)
    client.receive_data(rfc6455.frame(kind, content))
    [frame] = client.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, bytes(frame.data), frame.fin) == (kind, content, True)


def test_a_client_reads_why_it_is_closed() -> None:
    client = Protocol(Side.CLIENT, state=OPEN)
    client.receive_data(rfc6455.closing(1009, "x" * 200))
    assert client.close_rcvd is not None
    assert (client.close_rcvd.code, client.close_rcvd.reason) == (1009, "x" * 123)
