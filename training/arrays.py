"""Types of arrays. Comments give shapes: B batch, T time, F features, E encoded, H hidden, K outputs, M answers."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
Lengths = NDArray[np.int32]  # [B]
States = dict[str, Floats]  # name → [batch, …]
