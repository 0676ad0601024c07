"""One port for many processes: each has a socket of its own, and the system spreads connections over those that listen.

With one socket that all of them listen on, the first one that wakes takes what is there: 64 of 64 connections.
"""

import socket


def bound(host: str, port: int, *, first: bool = False) -> list[socket.socket]:
    """Sockets bound to an address, one for each that a name stands for. Only the `first` process is refused if others
    have the port.

    Raises:
        OSError: it cannot be bound.

    """
    found: list[socket.socket] = []
    stands_for = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in stands_for:
        one = socket.socket(family, kind, protocol)
        found.append(one)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, not first)
        one.bind((address[0], port, *address[2:]))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        port = one.getsockname()[1]  # 0 asks for any
    return found
