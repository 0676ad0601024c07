"""What is right: a whole-sequence run of the file, in an ONNX Runtime session that the service knows nothing of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from tests.wire.expect import Array


class Oracle:
    """One file. `twin`: the plain RNN node computes a lone row in another order, so the row is run beside a twin."""

    def __init__(self, path: Path, *, twin: bool = False) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._shapes = {node.name: node.shape for node in self._session.get_inputs()}
        self.features = int(self._shapes["input"][2])
        self._rows = 2 if twin else 1
        told = self._session.get_modelmeta().custom_metadata_map.get("carousel", "{}")
        self._metadata: dict[str, Any] = json.loads(told)

    def whole(self, inputs: Array) -> Array:
        """Inputs [T, F] → outputs [T, K], from the zero state."""
        feeds: dict[str, Any] = {
            name: np.zeros((self._rows, *shape[1:]), np.float32)
            for name, shape in self._shapes.items()
            if name.startswith("state.")
        }
        feeds["input"] = np.stack([inputs] * self._rows)
        feeds["lengths"] = np.full(self._rows, len(inputs), np.int32)
        (outputs,) = self._session.run(["output"], feeds)
        return np.asarray(outputs[0])

    def inputs(self, rng: np.random.Generator, steps: int) -> Array:
        """Random inputs [T, F] that the model takes: codes where it wants codes."""
        values = rng.normal(0, 2, (steps, self.features)).astype(np.float32)
        categories = self._metadata.get("categories", {})
        for column, feature in enumerate(self._metadata.get("features", [])):
            if feature["name"] in categories:
                values[:, column] = rng.choice(categories[feature["name"]]["codes"], steps)
        return values
