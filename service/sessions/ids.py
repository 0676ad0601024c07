"""Random ids of sessions."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterator

_BYTES = 16  # of each
_AT_ONCE = 256  # ids whose bytes are asked of the system together: to ask for each is most of an opening


def random_ids() -> Iterator[str]:
    """Ids of 128 random bits. Begin anew in another process: a fork would give the same ones."""
    while True:
        many = secrets.token_bytes(_AT_ONCE * _BYTES)
        for at in range(0, len(many), _BYTES):
            yield urlsafe_b64encode(many[at : at + _BYTES]).rstrip(b"=").decode()
