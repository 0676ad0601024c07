"""The peer: the service that people write today. FastAPI, ONNX Runtime, a dict of states, one run a request."""

import sys

import numpy as np
import onnxruntime as ort
import orjson
import uvicorn
from fastapi import FastAPI, Response
from numpy.typing import NDArray
from pydantic import BaseModel

Array = NDArray[np.float32]


class Opening(BaseModel):
    """The session that a caller wants."""

    id: str


class Steps(BaseModel):
    """[T, F]."""

    inputs: list[list[float]]


class Sequences(BaseModel):
    """N × [T, F]."""

    sequences: list[list[list[float]]]


options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
network = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
shapes = {node.name: node.shape[1:] for node in network.get_inputs() if node.name.startswith("state.")}
names = ["output", *(f"next_{name}" for name in shapes)]
zero = {name: np.zeros((1, *shape), np.float32) for name, shape in shapes.items()}
states: dict[str, dict[str, Array]] = {}
app = FastAPI()


def run(inputs: list[list[float]], state: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """Outputs [T, K] and the state after them."""
    rows = np.array([inputs], np.float32)
    output, *after = network.run(names, {"input": rows, "lengths": np.array([rows.shape[1]], np.int32), **state})
    return output[0], dict(zip(shapes, after, strict=True))


def answer(content: object) -> Response:
    """Answer JSON."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


@app.post("/v1/models/{model}/sessions")
async def begin(model: str, opening: Opening) -> Response:
    """A new session."""
    states[opening.id] = zero
    return answer({"id": opening.id})


@app.post("/v1/sessions/{id}/steps")
async def steps(id: str, given: Steps) -> Response:
    """Advance a session."""
    output, states[id] = run(given.inputs, states[id])
    return answer({"outputs": output})


@app.post("/v1/models/{model}/predict")
async def predict(model: str, given: Sequences) -> Response:
    """Whole sequences."""
    return answer({"outputs": [run(sequence, zero)[0] for sequence in given.sequences]})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), loop="uvloop", http="httptools", log_level="error", access_log=False)
