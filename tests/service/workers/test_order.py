"""The first thing that a worker reads from the supervisor."""

import socket

import pytest

from service.settings import Settings
from service.workers.channel import Order


def test_what_follows_an_order_is_left_for_the_channel() -> None:
    """A supervisor that asks a worker while that one starts has an answer."""
    sent = Order(Settings(), 2, late=True, lock=None)
    ours, its = socket.socketpair()
    with ours, its:
        sent.send(ours)
        ours.sendall(b"asked")
        assert Order.receive(its) == sent
        assert its.recv(100) == b"asked"


def test_half_an_order_is_none() -> None:
    ours, its = socket.socketpair()
    with its:
        with ours:
            Order(Settings(), 1, late=False, lock=None).send(ours)
        assert its.recv(1)
        with pytest.raises((EOFError, OSError)):
            Order.receive(its)
