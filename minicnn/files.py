"""Whole-or-nothing, pickle-free files.

A file written here is either the old one or the new one, whatever happens in between: the bytes go to a temporary file
in the same folder, reach the disk (fsync), and take the name in one step (rename).
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy

Arrays = Mapping[str, np.ndarray]
CHECKSUM = "minicnn.sha256"
UNFINISHED = re.compile(r"\..+\.\d+\.[0-9a-f]{8}\.tmp")  # the temporary names of `atomic`
RESERVED = "__metadata__"  # what safetensors calls the metadata among the arrays
DTYPES = ("bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)), *(f"float{n}" for n in (16, 32, 64)))


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """`with atomic(path) as f:` write bytes to f; path appears, whole, when the block ends without an exception."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_unfinished(folder: str | os.PathLike[str]) -> None:
    """Remove what `atomic` was writing in this folder (not below it) when its process was killed, and nothing else."""
    for path in Path(folder).glob(".*.tmp"):
        if UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write data to path, whole or not at all."""
    with atomic(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text to path in UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write value as JSON that reads well in a diff: indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file; ValueError names the file where it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error


def write_arrays(path: str | os.PathLike[str], arrays: Arrays, metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays as one safetensors file.  metadata is text to text; a checksum of everything joins it.

    TypeError names an array that does not hold bools, integers or floats; ValueError refuses the name "__metadata__".
    """
    whole = {name: _native(path, name, np.asarray(a)) for name, a in arrays.items()}
    if RESERVED in whole:
        raise ValueError(f"{path}: an array cannot be named {RESERVED!r}")
    metadata = dict(metadata or {})
    metadata[CHECKSUM] = _checksum(whole, metadata)
    write_bytes(path, _sorted_metadata(safetensors.numpy.save(whole, metadata)))


def read_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, metadata) of a safetensors file; ValueError names the file where it is not one or is damaged."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            metadata = dict(file.metadata() or {})
    except (safetensors.SafetensorError, TypeError, AttributeError) as error:  # these two: a dtype that NumPy lacks
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from error
    wanted = metadata.pop(CHECKSUM, None)  # files of others have none
    if wanted is not None and wanted != _checksum(arrays, metadata):
        raise ValueError(f"{path}: damaged: its contents do not fit its checksum")
    return arrays, metadata


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a safetensors file alone, unchecked; ValueError names the file where it is not one."""
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            return dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from error


def _native(path: str | os.PathLike[str], name: str, a: np.ndarray) -> np.ndarray:
    """a in the machine's byte order and in C order, for safetensors ignores strides."""
    if a.dtype.name not in DTYPES:
        raise TypeError(f"{path}: array {name!r} is {a.dtype}, wanted one of {', '.join(DTYPES)}")
    return np.array(a, a.dtype.newbyteorder("="), order="C", copy=None)


def _sorted_metadata(data: bytes) -> bytes:
    """A safetensors file with its metadata in order: safetensors writes them in that of a hash table, ever another."""
    end = 8 + int.from_bytes(data[:8], "little")  # of the header, which is JSON padded to a multiple of 8 bytes
    header = json.loads(data[8:end])
    header[RESERVED] = dict(sorted(header[RESERVED].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def _checksum(arrays: Arrays, metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(arrays):
        a = arrays[name]
        digest.update(f"{name} {a.dtype} {a.shape}".encode())
        digest.update(np.ascontiguousarray(a).reshape(-1).view("uint8").data)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
