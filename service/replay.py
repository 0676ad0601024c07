"""Kept answers: what makes a retry after a lost answer safe. Knows sessions only as owners of a list."""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from service.rows import Array

_OLDER_BYTES = 64 * 2**10  # of all but a session's newest answer
RECORD_BYTES = 400  # about what keeping an answer costs beside its numbers


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """An applied call: where it began, what it was asked and what was answered."""

    start: int
    steps: int
    digest: bytes
    outputs: Array  # [T, K]


class Owner(Protocol):
    """Whoever keeps answers, oldest first."""

    kept: list[Kept]


def digest_of(inputs: Array) -> bytes:
    """What stands for the float32 bits of inputs [T, F] (128 bits: a collision is not to be met)."""
    return blake2b(inputs.tobytes(), digest_size=16).digest()


class Replays:
    """All kept answers, within a number for each session and a number of bytes for all of them."""

    def __init__(self, *, each: int, most_bytes: int) -> None:
        self.each, self._most_bytes = each, most_bytes
        self._order: OrderedDict[Kept, Owner] = OrderedDict()  # oldest first, over all sessions
        self.bytes = 0

    def __repr__(self) -> str:
        return f"<Replays {len(self._order)} answers, {self.bytes} B>"

    def keep(self, owner: Owner, answer: Kept) -> None:
        """Keep one more answer, and drop those for which there is no room now, oldest first."""
        owner.kept.append(answer)
        self._order[answer] = owner
        self.bytes += RECORD_BYTES + answer.outputs.nbytes
        older = sum(one.outputs.nbytes for one in owner.kept[:-1])
        while len(owner.kept) > self.each or older > _OLDER_BYTES:
            older -= owner.kept[0].outputs.nbytes
            self._drop(owner.kept[0])
        while self.bytes > self._most_bytes:
            self._drop(next(iter(self._order)))

    def forget(self, owner: Owner) -> None:
        """Drop all answers of one session."""
        for answer in owner.kept.copy():
            self._drop(answer)

    def _drop(self, answer: Kept) -> None:
        self._order.pop(answer).kept.remove(answer)
        self.bytes -= RECORD_BYTES + answer.outputs.nbytes
