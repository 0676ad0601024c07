"""The client of another server, as it is: `tritonclient`, asked in one line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

Array = NDArray[Any]
START = "must specify the START flag on the first request of the sequence"


def tensor(values: Any, name: str = "input", kind: Any = np.float32, *, binary: bool = True) -> Any:
    array = np.asarray(values, kind)
    given = triton.InferInput(name, [*array.shape], {"f": "FP32", "i": f"INT{8 * array.itemsize}"}[array.dtype.kind])
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def infer(client: Any, model: str, values: Any, *, binary: bool = True, **how: Any) -> Array:
    """The output of a request."""
    answer = client.infer(model, [tensor(values, binary=binary)], **how)
    output: Array = answer.as_numpy("output")
    return output


def refused(ask: Callable[[], Any]) -> tuple[str, int]:
    """The message and the status of an error, as the client tells them."""
    try:
        got = ask()
    except InferenceServerException as error:
        return error.message(), int(error.status())
    raise AssertionError(f"not refused: {got}")
