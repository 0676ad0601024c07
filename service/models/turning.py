"""Between arrays of the Model protocol and of a graph: axes turned, values cast, states carried in float32. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from service.models.signature import Port

EXACT = 2**24  # float32 has all whole numbers below
_PARTS = 3  # numbers of float32 that hold one of 64 bits
AnyArray = NDArray[Any]
Array = NDArray[np.float32]


class Turn:
    """Turns arrays of one input or output: [B, T, width] here, sizes and axes as the graph has them there."""

    def __init__(self, port: Port) -> None:
        axes = [axis for axis in (port.batch, port.time) if axis is not None]
        order = [*axes, *(axis for axis in range(len(axes) + len(port.shape)) if axis not in axes)]
        self.port, self.width, self._shape = port, port.width, port.shape
        self._rows, self._steps = port.batch is not None, port.time is not None
        self._outward = None if order == sorted(order) else order
        self._inward = None if self._outward is None else np.argsort(order).tolist()
        self._kind = np.dtype(port.kind)

    @property
    def straight(self) -> bool:
        """Whether rows and steps lead, in this order: to turn an array is to reshape it."""
        return self._outward is None

    def inward(self, array: AnyArray, rows: int, steps: int) -> AnyArray:
        """Rows and steps as the graph has them; the first row where it has no axis for them."""
        if not self._rows:
            array = array[:1]
        if array.dtype != self._kind:
            array = held(array, self.port)
        lead = ((rows,) if self._rows else ()) + ((steps,) if self._steps else ())
        array = array.reshape(lead + self._shape)
        return array if self._inward is None else np.ascontiguousarray(array.transpose(self._inward))

    def outward(self, array: AnyArray, rows: int, steps: int) -> AnyArray:
        """Undo `inward` → [B, T, width]. An answer without time stands for every step."""
        if self._outward is not None:
            array = array.transpose(self._outward)
        if self._steps or steps == 1:
            return array.reshape(rows, steps, self.width)
        return np.broadcast_to(array.reshape(rows, 1, self.width), (rows, steps, self.width))


def filled(value: Any, port: Port) -> AnyArray:
    """A value in the shape and type of one row of a state or constant.

    Raises:
        ValueError: it has another shape, or the type cannot hold it.

    """
    array = np.asarray(value, np.float64)
    if array.shape not in ((), port.shape):
        raise ValueError(f"shape {list(array.shape)}, the model has {list(port.shape)}")
    return np.broadcast_to(held(array, port), port.shape)


def held(values: AnyArray, port: Port) -> AnyArray:
    """Values in the type of an input; ValueError if it, or `carried`, cannot hold one."""
    if port.kind == values.dtype.name != "float64":
        return values
    kind = np.dtype(port.kind)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(kind)
        bad = ~np.isfinite(cast.astype(np.float32)) if kind.kind == "f" else cast.astype(np.float64) != values
    if kind.kind in "iu":  # beyond the range, a cast may give anything
        bad |= (values < np.iinfo(kind).min) | (values >= float(np.iinfo(kind).max) + 1)
    if bad.any():
        told = port.kind.replace("float64", "float32")
        raise ValueError(f"{port.name}: {values[bad].item(0):g} is no {told}")
    if values.dtype == np.float32 and kind.kind in "iu" and (np.abs(values) >= EXACT).any():
        raise ValueError(f"{port.name}: a whole number of {EXACT} or more may have lost digits: steps are float32")
    return cast


def carried(array: AnyArray) -> Array:
    """Numbers [B, …] as float32, exactly: [B, …], or [B, …, 3] where they have more digits."""
    if array.dtype.itemsize <= 2 or array.dtype == np.float32:
        return array.astype(np.float32, copy=False)
    parts = np.empty((*array.shape, _PARTS), np.float32)
    if array.dtype.kind == "f":
        rest = array
        with np.errstate(over="ignore", invalid="ignore"):
            for part in range(_PARTS):
                parts[..., part] = rest
                rest = rest - parts[..., part]
    else:
        whole = array.astype(np.uint64).view(np.int64)  # the same bits
        parts[..., 0], parts[..., 1], parts[..., 2] = whole >> 48, whole >> 24 & 0xFFFFFF, whole & 0xFFFFFF
    return parts


def uncarried(array: Array, port: Port) -> AnyArray:
    """Undo `carried`."""
    kind = np.dtype(port.kind)
    if kind.itemsize <= 2 or kind == np.float32:
        return array.astype(kind, copy=False)
    if kind.kind == "f":
        return array[..., 0].astype(np.float64) + array[..., 1] + array[..., 2]
    high, middle, low = (array[..., part].astype(np.int64) for part in range(_PARTS))
    return ((high << 48) | (middle << 24) | low).astype(kind)
