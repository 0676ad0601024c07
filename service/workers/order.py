"""What a worker is told before anything else."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from service.settings import Settings

_LENGTH = struct.Struct("<I")


class Order(NamedTuple):
    """What the supervisor tells a worker, ahead of the messages of their channel."""

    settings: Settings
    number: int  # from 1
    late: bool  # it takes connections once it is ready: others have them until then
    lock: int | None  # the descriptor of the lock of their store, if there is one

    def send(self, to: socket.socket) -> None:
        """Send it. Blocks."""
        content = pickle.dumps(self)
        to.sendall(_LENGTH.pack(len(content)) + content)


def receive(end: socket.socket) -> Order:
    """The order that was sent; what follows it is not read. Blocks.

    Raises:
        EOFError: the supervisor has ended.

    """
    (length,) = _LENGTH.unpack(_exactly(end, _LENGTH.size))
    return cast("Order", pickle.loads(_exactly(end, length)))


def _exactly(end: socket.socket, count: int) -> bytes:
    content = end.recv(count, socket.MSG_WAITALL)
    if len(content) < count:
        raise EOFError("the supervisor has ended")
    return content
