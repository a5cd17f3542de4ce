"""Files are whole or absent, whatever interrupts the writing; arrays come back as they were, or not at all."""

import json
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy

from minicnn import files

# writing


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "below").mkdir()
    kept = (".mine.tmp", "a.7.0a1b2c3d.tmp", ".a.7.0a1b2c3d.tmp~", ".a.x.0a1b2c3d.tmp", "below/.a.7.0a1b2c3d.tmp")
    for name in (*kept, ".a.7.0a1b2c3d.tmp"):
        (tmp_path / name).touch()
    with files.atomic(tmp_path / "b"):
        (unfinished,) = (p.name for p in tmp_path.glob(".b.*"))
    (tmp_path / unfinished).touch()  # the name that atomic itself gives
    files.remove_unfinished(tmp_path)
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == {*kept, "b"}


def test_nothing_appears_before_the_block_ends(tmp_path):
    path = tmp_path / "a"
    with files.atomic(path) as file:
        file.write(b"new")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_leaves_what_was_there(tmp_path, old, error):
    path = tmp_path / "a"
    if old is not None:
        path.write_bytes(old)

    def interrupted():
        with files.atomic(path) as file:
            file.write(b"new" * 10_000)
            raise error("stop")

    with pytest.raises(error, match="stop"):
        interrupted()
    assert (path.read_bytes() if path.exists() else None) == old
    assert os.listdir(tmp_path) == ([] if old is None else ["a"]), "a temporary file is left"


def test_a_writer_of_the_same_file_at_the_same_time_is_harmless(tmp_path):
    path = tmp_path / "a"
    with files.atomic(path) as outer:
        outer.write(b"outer")
        files.write_text(path, "inner")
        assert path.read_text() == "inner"
    assert path.read_text() == "outer"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_disk_that_fails(tmp_path, monkeypatch, failing):
    def fail(*args):
        raise OSError("disk full")

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_the_bytes_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace

    def note(kind, real):
        return lambda *args: (events.append(kind), real(*args))[1]

    monkeypatch.setattr(os, "fsync", note("sync", fsync))
    monkeypatch.setattr(os, "replace", note("rename", replace))
    files.write_bytes(tmp_path / "a", b"x")
    assert events == ["sync", "rename", "sync"]  # the file, its name, the folder


KILLED = """
import sys, time
from minicnn import files
with files.atomic(sys.argv[1]) as file:
    file.write(b"new" * 1000)
    file.flush()
    print("half way", flush=True)
    time.sleep(60)
"""


def test_sigkill_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"half way\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.read_bytes() == b"old"
    files.write_bytes(path, b"newer")  # what the killed one left is in nobody's way
    assert path.read_bytes() == b"newer"


REWRITING = """
import sys, numpy as np
from minicnn import files
k = 0
while True:
    files.write_arrays(sys.argv[1], {"a": np.full(50_000, k % 100, "float32"), "k": np.array(k)})
    if k == 0:
        print("written", flush=True)
    k += 1
"""


@pytest.mark.parametrize("after", [0.02, 0.05, 0.1])
def test_sigkill_at_any_time_leaves_one_whole_file(tmp_path, after):
    path = tmp_path / "a"
    with subprocess.Popen([sys.executable, "-c", REWRITING, path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        time.sleep(after)
        process.kill()
        process.wait()
    arrays, _ = files.read_arrays(path)
    assert np.array_equal(arrays["a"], np.full(50_000, arrays["k"] % 100, "float32"))


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        files.write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask


def test_text_and_json(tmp_path):
    files.write_text(tmp_path / "t", "σ² é\n")
    assert (tmp_path / "t").read_bytes() == "σ² é\n".encode()
    value = {"b": [1, 2.5, None, True], "a": "σ", "c": {}}
    files.write_json(tmp_path / "j", value)
    assert files.read_json(tmp_path / "j") == value
    text = (tmp_path / "j").read_text(encoding="utf-8")
    assert list(json.loads(text)) == ["b", "a", "c"]
    assert "σ" in text
    assert text.endswith("}\n")


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    files.write_json(tmp_path / "j", 1)
    with pytest.raises(TypeError, match="not JSON serializable"):
        files.write_json(tmp_path / "j", {"a": object()})
    assert files.read_json(tmp_path / "j") == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{'a': 1}"])
def test_what_is_no_json(tmp_path, content):
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(ValueError, match=r"j: not a JSON file \("):
        files.read_json(tmp_path / "j")


# arrays

BASE = np.arange(24.0).reshape(4, 6)
ARRAYS = {
    "C order": BASE,
    "Fortran order": np.asfortranarray(BASE),
    "every second": BASE[::2, 1::2],
    "reversed": BASE[::-1, ::-1],
    "transposed": BASE.T,
    "broadcast": np.broadcast_to(BASE[0], (3, 6)),
    "moved axes": np.moveaxis(np.arange(24).reshape(2, 3, 4), 0, 2),
    "0-d": np.array(2.5),
    "scalar": np.float32(2.5),
    "empty": np.zeros((0, 3)),
    "empty, transposed": np.zeros((3, 0, 2)).T,
    "read-only": np.frombuffer(b"\x01\x02", "uint8"),
    "big-endian": np.arange(3, dtype=">f4"),
    "nan, inf, -0": np.array([np.nan, np.inf, -0.0]),
    "bool": np.array([[True], [False]]),
    **{d: np.arange(3).astype(d) for d in files.DTYPES},
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_as_they_were(tmp_path, name):
    a = ARRAYS[name]
    files.write_arrays(tmp_path / "a", {"x": a, "other": np.ones(2)})
    b = files.read_arrays(tmp_path / "a")[0]["x"]
    assert (b.shape, b.dtype) == (a.shape, a.dtype.newbyteorder("="))
    assert b.tobytes() == a.astype(b.dtype).tobytes()
    assert safetensors.numpy.load_file(tmp_path / "a")["x"].tobytes() == b.tobytes(), "other readers agree"


@pytest.mark.parametrize("names", [[], ["a"], ["b", "a"], ["1.running_mean", "é σ", "with space", 'quote"', ""]])
@pytest.mark.parametrize("metadata", [None, {}, {"k": "v"}, {"z": "σ\n", "a": '{"json": []}', "": ""}])
def test_names_and_metadata(tmp_path, names, metadata):
    files.write_arrays(tmp_path / "a", {n: np.full(k, k) for k, n in enumerate(names)}, metadata)
    arrays, got = files.read_arrays(tmp_path / "a")
    assert arrays.keys() == set(names)
    assert all(np.array_equal(arrays[n], np.full(k, k)) for k, n in enumerate(names))
    assert got == (metadata or {})
    assert (metadata or {}).items() <= files.read_metadata(tmp_path / "a").items()


def test_equal_contents_are_equal_bytes(tmp_path):
    for name in "ab":
        files.write_arrays(tmp_path / name, {"x": np.ones(3), "y": np.zeros(2)}, {"k": "v", "l": "w"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


REFUSED = [
    ({"x": np.array(["a"])}, None, TypeError, r"array 'x' is <U1, wanted one of bool, int8"),
    ({"x": np.array([object()])}, None, TypeError, r"array 'x' is object, wanted"),
    ({"x": np.ones(2, "complex64")}, None, TypeError, r"array 'x' is complex64, wanted"),
    ({"x": np.ones(2, "longdouble")}, None, TypeError, r"array 'x' is .*, wanted"),
    ({"__metadata__": np.ones(2)}, None, ValueError, r"an array cannot be named '__metadata__'"),
    ({"x": np.ones(2)}, {"k": 1}, TypeError, r"metadata"),
]


@pytest.mark.parametrize(("arrays", "metadata", "error", "message"), REFUSED)
def test_what_cannot_be_written(tmp_path, arrays, metadata, error, message):
    files.write_arrays(tmp_path / "a", {"old": np.ones(1)})
    with pytest.raises(error, match=message):
        files.write_arrays(tmp_path / "a", arrays, metadata)
    assert list(files.read_arrays(tmp_path / "a")[0]) == ["old"]


def test_a_file_of_others_has_no_checksum(tmp_path):
    (tmp_path / "a").write_bytes(safetensors.numpy.save({"x": np.ones(2)}, {"format": "np"}))
    arrays, metadata = files.read_arrays(tmp_path / "a")
    assert np.array_equal(arrays["x"], np.ones(2))
    assert metadata == files.read_metadata(tmp_path / "a") == {"format": "np"}


# damage


@pytest.fixture
def small(tmp_path):
    """A small file with arrays of several kinds, and its bytes."""
    arrays = {"w": np.arange(3, dtype="float16"), "n": np.array(7), "b": np.array([True, False])}
    files.write_arrays(tmp_path / "a", arrays, {"k": "v"})
    return tmp_path / "a", arrays, (tmp_path / "a").read_bytes()


@pytest.mark.parametrize("flip", [0x01, 0x04, 0x20, 0x80, 0xFF])
def test_a_flipped_byte_is_found_or_does_no_harm(small, flip):
    path, arrays, whole = small
    harmless = []
    for k in range(len(whole)):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ flip]) + whole[k + 1 :])
        try:
            got, _ = files.read_arrays(path)
        except ValueError:
            continue
        harmless.append(k)
        assert got.keys() == arrays.keys()
        for name, a in arrays.items():
            assert (got[name].dtype, got[name].shape, got[name].tobytes()) == (a.dtype, a.shape, a.tobytes())
    name_of_checksum = whole.index(files.CHECKSUM.encode())  # without its name, it is metadata like any other
    name = range(name_of_checksum, name_of_checksum + len(files.CHECKSUM))
    assert all(k in name or whole[k : k + 1] in (b" ", b"\x00") for k in harmless), harmless


def test_a_truncated_file_is_refused_at_every_length(small):
    path, _, whole = small
    for k in range(len(whole)):
        path.write_bytes(whole[:k])
        for read in (files.read_arrays, files.read_metadata):
            with pytest.raises(ValueError, match=r"a: not a whole safetensors file \("):
                read(path)


def of_dtype(name, size):
    """A file of others with a dtype that NumPy lacks."""
    header = json.dumps({"a": {"dtype": name, "shape": [1], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


DAMAGED = {
    "empty": b"",
    "text": b"emotion,pixels,Usage\n" * 20,
    "zip": b"PK\x03\x04" + bytes(100),
    "longer": None,
    "header too long": struct.pack("<Q", 2**60) + b"{}",
    "bfloat16": of_dtype("BF16", 2),
    "float8": of_dtype("F8_E4M3", 1),
    "an unknown dtype": of_dtype("Q7", 1),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_no_safetensors_file(small, kind):
    path, _, whole = small
    path.write_bytes(whole + b"x" if DAMAGED[kind] is None else DAMAGED[kind])
    with pytest.raises(ValueError, match=r"a: not a whole safetensors file \("):
        files.read_arrays(path)


@pytest.mark.parametrize("change", ["an array", "its name", "its dtype", "its shape", "metadata", "one more"])
def test_the_checksum_covers_everything(small, change):
    path, arrays, _ = small
    arrays, metadata = dict(arrays), files.read_metadata(path)
    if change == "metadata":
        metadata["k"] = "w"
    else:
        arrays |= {
            "an array": {"w": np.arange(1, 4, dtype="float16")},
            "its name": {"v": arrays.pop("w") if change == "its name" else None},
            "its dtype": {"w": arrays.get("w", BASE).view("int16") if change == "its dtype" else None},
            "its shape": {"w": np.arange(3, dtype="float16").reshape(3, 1)},
            "one more": {"z": np.zeros(0)},
        }[change]
    path.write_bytes(safetensors.numpy.save(arrays, metadata))
    with pytest.raises(ValueError, match=r"a: damaged: its contents do not fit its checksum"):
        files.read_arrays(path)


@pytest.mark.parametrize("read", [files.read_arrays, files.read_metadata, files.read_json])
def test_a_file_that_is_not_there(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file"):
        files.read_arrays(tmp_path)
