"""What kept answers may take: one bound for all models. Knows bytes and whose they are."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.sessions.replay import Answers


class Budget:
    """The bytes that kept answers of all models may take together. Invariant: `bytes` is what they take."""

    def __init__(self, *, each: int, most_bytes: int) -> None:
        self.each, self.most_bytes = each, most_bytes  # answers of a session; bytes of all
        self.bytes = 0
        self.long: OrderedDict[tuple[Answers, int, int], None] = OrderedDict()  # (cache, row, n), oldest first

    def __repr__(self) -> str:
        return f"<Budget {self.bytes} of {self.most_bytes} B>"
