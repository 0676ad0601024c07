"""The checks that every answer of the service passes, over HTTP and on the stream: JSON, problem documents, outputs.

The client trusts nothing that it receives. What does not fit is a ForeignAnswer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias, TypedDict, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from carousel_client.errors import BY_CODE, CarouselError, ForeignAnswer
from carousel_client.sequences import Encoded, S

T = TypeVar("T")
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Rows: TypeAlias = list[list[float] | dict[str, float]]  # the outputs of a sequence: one entry a step

LONGEST_TEXT = 2000  # characters of the service's words in an error
LONGEST_WAIT = 86_400.0  # seconds that the service may ask to wait


class Problem(TypedDict, total=False):
    """What is read of a problem document; `code` must be there."""

    code: str
    title: str
    detail: str
    status: Annotated[int, Meta(ge=100, le=999)]
    retry_after_ms: float
    expected_step: Count
    applied: bool
    snapshots: list[Count]


def read(content: bytes | str, shape: type[T]) -> T:
    """JSON of this shape. Raises ForeignAnswer."""
    try:
        return msgspec.json.decode(content, type=shape)
    except (ValueError, RecursionError, OverflowError) as error:  # of msgspec and of Unicode: kinds of ValueError
        raise ForeignAnswer(f"not the JSON of this answer: {clean(str(error))}") from None


def check(right: bool, why: str) -> None:
    """Raise ForeignAnswer unless `right`."""
    if not right:
        raise ForeignAnswer(why)


def clean(text: str) -> str:
    """Words of the service for people and logs: of bounded length, without control characters."""
    return "".join(one if one.isprintable() else " " for one in text[:LONGEST_TEXT])


def problem_error(problem: Any, **known: Any) -> CarouselError:
    """The error that a problem document means; an unknown code gives a plain CarouselError. Raises ForeignAnswer."""
    try:
        told = msgspec.convert(problem, Problem)
    except (ValueError, RecursionError, OverflowError) as error:
        raise ForeignAnswer(f"not a problem document: {clean(str(error))}", **known) from None
    if "code" not in told:
        raise ForeignAnswer("not a problem document: no code", **known)
    kind = BY_CODE.get(told["code"], CarouselError)
    if known.get("status") is None:
        known["status"] = told.get("status", kind.wire_status)
    if "retry_after_ms" in told:
        known["retry_after"] = seconds(told["retry_after_ms"] / 1000)
    detail = clean(told.get("detail") or told.get("title") or "")
    return kind(detail, problem={**problem, "code": clean(told["code"])}, **known)


def seconds(wait: float) -> float:
    """How long the service asks to wait, within reason."""
    return min(max(wait, 0.0), LONGEST_WAIT)


def outputs_of(told: list[Rows], inputs: Sequence[Encoded[S]], *, last: bool = False) -> list[S]:
    """The outputs of sequences, each in the style of its inputs. `last`: of the last step only."""
    check(len(told) == len(inputs), f"outputs of {len(told)} sequences, not of {len(inputs)}")
    arrays = [_array(rows, one, 1 if last else len(one.steps)) for rows, one in zip(told, inputs, strict=True)]
    check(len({array.shape[1] for array in arrays}) <= 1, "outputs of different widths")
    given = zip(told, arrays, inputs, strict=True)
    return [one.decode(array if one.array else rows) for rows, array, one in given]


def _array(rows: Rows, inputs: Encoded[Any], count: int) -> NDArray[np.float32]:
    """The outputs [time, output] of a sequence: so many rows, in the style of the inputs, all finite float32."""
    check(len(rows) == count, f"{len(rows)} outputs for {len(inputs.steps)} steps")
    named = [row for row in rows if isinstance(row, dict)]
    check(len(named) == (len(rows) if inputs.named else 0), "outputs in another style than the inputs")
    check(all(row.keys() == named[0].keys() for row in named), "outputs of different names")
    try:
        with np.errstate(over="ignore"):  # larger than any float32: becomes infinite, and is refused
            array = np.array([[*row.values()] if isinstance(row, dict) else row for row in rows], np.float32)
    except ValueError:  # ragged
        raise ForeignAnswer("outputs of different widths") from None
    check(array.ndim == 2 and array.shape[1] > 0, "no outputs")
    check(bool(np.isfinite(array).all()), "an output that is no finite float32")
    return array
