"""The state of a training in one file: what was put in comes out, or an error does."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainings import linear

from minicnn import files, models
from minicnn.train import checkpoint

KEYS = st.one_of(st.text(max_size=5), st.integers())
DTYPES = ["float32", "float64", "int64", "uint8", "bool", "float16"]
ARRAYS = st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)).map(
    lambda t: np.arange(np.prod(t[1], dtype=int)).reshape(t[1]).astype(t[0])
)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
STATES = st.recursive(
    PLAIN | ARRAYS, lambda s: st.lists(s, max_size=3) | st.dictionaries(KEYS, s, max_size=4), max_leaves=12
)


def same(got, want):
    """Raise unless two states are equal, types and bits included; a tuple comes back as a list."""
    if isinstance(want, np.ndarray):
        assert (got.dtype, got.shape, got.tobytes()) == (want.dtype, want.shape, want.tobytes())
    elif isinstance(want, dict):
        assert isinstance(got, dict)
        assert list(got) == list(want)
        for key in want:
            same(got[key], want[key])
    elif isinstance(want, (list, tuple)):
        assert isinstance(got, list)
        for g, w in zip(got, want, strict=True):
            same(g, w)
    else:
        assert (type(got), repr(got)) == (type(want), repr(want))


def round_trip(folder, state):
    checkpoint.write(folder / "state.safetensors", state)
    return checkpoint.read(folder / "state.safetensors")


@settings(max_examples=60, deadline=None)
@given(state=st.dictionaries(KEYS, STATES, max_size=4))
def test_what_was_written_is_read(state, tmp_path_factory):
    same(round_trip(tmp_path_factory.getbasetemp(), state), state)


@pytest.mark.parametrize(
    "state",
    [
        {1: np.ones(2), "1": np.zeros(2)},
        {"a/b": np.ones(2), "a": {"b": np.zeros(2)}},
        {"a": [np.ones(1), np.zeros(1)], "a/1": np.full(1, 7)},
        {"array": "/x", "dict": {"array": np.ones(1)}},
        {"transposed": np.arange(6.0).reshape(2, 3).T, "strided": np.arange(9)[::-2], "scalar": np.array(3.0)},
        {"best": -math.inf, "loss": math.nan, "pair": (0.9, 0.999), "bits": 2**127 - 1},
        {},
    ],
    ids=["number and text", "slash", "list and slash", "our own words", "strides", "plain", "empty"],
)
def test_nothing_is_mistaken_for_another(state, tmp_path):
    same(round_trip(tmp_path, state), state)


def test_numpy_scalars_come_back_as_python_numbers(tmp_path):
    state = {"a": np.float32(0.1), "b": np.int64(3), "c": np.bool_(True)}
    same(round_trip(tmp_path, state), {"a": float(np.float32(0.1)), "b": 3, "c": True})


def test_what_cannot_be_written_is_named_and_the_old_file_stays(tmp_path):
    path = tmp_path / "state.safetensors"
    checkpoint.write(path, {"a": 1})
    with pytest.raises(TypeError, match=r"checkpoint: /callbacks/1/f is a function, which cannot be written down"):
        checkpoint.write(path, {"callbacks": [{}, {"f": same}]})
    assert checkpoint.read(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_that_would_not_come_back_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"checkpoint: /a has the key \(1, 2\), wanted text or an integer"):
        checkpoint.write(tmp_path / "state.safetensors", {"a": {(1, 2): 3}})


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.safetensors: no such file"):
        checkpoint.read(tmp_path / "none.safetensors")


def test_other_files_are_told_apart(tmp_path):
    models.save(linear(), tmp_path / "model.safetensors")
    files.write_arrays(tmp_path / "other.safetensors", {"a": np.ones(2)})
    for name, found in (("model", "minicnn 1"), ("other", "no minicnn metadata")):
        with pytest.raises(
            ValueError, match=rf"{name}.safetensors: not a checkpoint of a training \({found}, wanted 'mi"
        ):
            checkpoint.read(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, -1])
def test_a_cut_file(keep, tmp_path):
    path = tmp_path / "state.safetensors"
    checkpoint.write(path, {"a": np.arange(50)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"state.safetensors: not a whole safetensors file"):
        checkpoint.read(path)


def test_no_flipped_bit_goes_by_unnoticed(tmp_path):
    path, state = tmp_path / "state.safetensors", {"a": np.arange(5), "b": [1.5, {"c": np.ones(3, "float32")}]}
    checkpoint.write(path, state)
    whole, noticed = path.read_bytes(), 0
    for k in range(len(whole)):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1 :])
        try:
            same(checkpoint.read(path), state)  # the name under which the checksum stands says nothing of the state
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
            noticed += 1
    assert noticed >= len(whole) - 20


def test_equal_states_and_models_are_equal_bytes(tmp_path):
    path, metadata = tmp_path / "a.safetensors", {name: "1" for name in "zyxwvu"}
    states, saved = set(), set()
    for _ in range(8):
        checkpoint.write(path, {"a": np.ones(2), "é": [1, "ü\n"]})
        states.add(path.read_bytes())
        models.save(linear(), path, metadata)
        saved.add(path.read_bytes())
    assert (len(states), len(saved)) == (1, 1)
    assert files.read_metadata(path).items() >= metadata.items()
