"""A process that reads and writes large JSON, so that the loop need not. It ends when whoever started it does."""

import os
import signal
import socket
from contextlib import suppress
from pickle import PickleBuffer
from typing import Any

from service.api.parcels import packed, unpacking
from service.api.texts import dump, parse
from service.errors import CarouselError

_NICE = 10  # on a core that both share, steps beside large predicts are a fifth more and sooner than at 0


def answered(job: tuple[str, Any]) -> Any:
    """What `("parse", text)` or `("dump", content)` leads to, an error of the wire among it."""
    what, given = job
    try:
        return parse(bytes(given)) if what == "parse" else PickleBuffer(dump(given))
    except CarouselError as error:
        return error


def serve(connection: socket.socket) -> None:
    """Answer what comes, in its order, until nobody sends any more."""

    def answer(job: Any) -> None:
        connection.sendall(b"".join(packed(answered(job))))

    receiving = unpacking(answer)
    size = next(receiving)
    while (piece := _received(connection, size)) is not None:
        size = receiving.send(piece)


def _received(connection: socket.socket, size: int) -> bytearray | None:
    piece = bytearray(size)
    room = memoryview(piece)
    while room:
        count = connection.recv_into(room)
        if not count:
            return None
        room = room[count:]
    return piece


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a terminal tells all of a group; the service decides when it ends
    os.nice(_NICE)
    with suppress(ConnectionError):  # it was killed while it was answered
        serve(socket.socket(fileno=0))
