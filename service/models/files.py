"""Read model files that are not trusted: regular files only, external data from the model's own folder only.

Knows the file system and where an ONNX file names external data; not what a model computes.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from service.errors import ModelUnusable

_POINTER = b"version https://git-lfs"
MOST_BYTES = 2**31 - 1  # of a model with its external data: protobuf holds no more in one message


def size(path: Path) -> int:
    """Bytes of the regular files in the folder of a model file, at most MOST_BYTES; 0 if the folder cannot be read."""
    total = 0
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            with suppress(OSError):  # a link that leads to itself, say
                total += entry.stat().st_size if entry.is_file() else 0
    return min(MOST_BYTES, total)


def read(path: Path) -> tuple[bytes, str]:
    """Read a model file and move its external data inside → content, SHA-256 of all the bytes that were read.

    The digest of a file without external data is the SHA-256 of the file.

    Raises:
        ModelUnusable: a file is not a regular file, is too large, lies outside the folder, or is not readable.

    """
    content = _read_regular(path, path.name)
    digest = hashlib.sha256(content)
    if b"location" in content:  # the key without which ONNX Runtime takes no external data
        content = _with_external_data(content, path.parent, digest)
    return content, digest.hexdigest()


def declared(path: Path, digest: str) -> tuple[bytes, str]:
    """Read the `model.toml` beside a model file → its content, and the digest of both; b"" and the same without one."""
    beside = path.with_name("model.toml")
    if not os.path.lexists(beside):
        return b"", digest
    content = _read_regular(beside, beside.name)
    return content, hashlib.sha256(digest.encode() + content).hexdigest()


def _read_regular(path: Path, name: str) -> bytes:
    """Read a regular file. Other kinds may block, never end, or act on being read."""
    try:
        with open(path, "rb", opener=lambda file, flags: os.open(file, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelUnusable(f"{name} is not a regular file")
            if status.st_size > MOST_BYTES:
                raise ModelUnusable(f"{name} has {status.st_size} bytes, more than {MOST_BYTES}")
            content = file.read(status.st_size)
    except OSError as error:
        raise ModelUnusable(f"{name}: {error.strerror}") from error
    if content.startswith(_POINTER):
        raise ModelUnusable(f"{name} is a pointer of Git LFS, not the file itself: run `git lfs pull`")
    return content


def _with_external_data(content: bytes, folder: Path, digest: Any) -> bytes:
    """Replace each reference to external data by the data; add the bytes of their files to the digest."""
    import onnx  # here, since few files need it: 0.3 s and 25 MB
    from google.protobuf.message import Error as ProtobufError

    data: dict[str, bytes] = {}
    try:
        model = onnx.ModelProto.FromString(content)
        for tensor in _external_tensors(model, onnx.TensorProto):
            told = {entry.key: entry.value for entry in tensor.external_data}
            location = told["location"]
            if location not in data:
                data[location] = _read_regular(_inside(folder, location), location)
                digest.update(data[location])
            start = int(told.get("offset", 0))
            end = start + int(told.get("length", len(data[location]) - start))
            if not 0 <= start <= end <= len(data[location]):
                raise ModelUnusable(f"external data {start} to {end} of {location}, which has {len(data[location])}")
            tensor.raw_data = data[location][start:end]
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
        return model.SerializeToString() if data else content
    except (ValueError, KeyError, ProtobufError) as error:
        raise ModelUnusable(f"external data cannot be read: {error}") from error


def _external_tensors(message: Any, kind: Any) -> Iterator[Any]:
    """All tensors with external data, wherever they stand: initializers, attributes, subgraphs, functions."""
    if isinstance(message, kind):
        if message.data_location == kind.EXTERNAL:
            yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if field.is_repeated else [value]:
                yield from _external_tensors(one, kind)


def _inside(folder: Path, location: str) -> Path:
    """The file that external data lies in. Links are followed while they stay in the folder (Kubernetes makes such)."""
    path = Path(os.path.realpath(folder / location))
    if Path(location).is_absolute() or ".." in Path(location).parts or not path.is_relative_to(folder.resolve()):
        raise ModelUnusable(f"external data {location!r} is not in the model's own folder")
    return path
