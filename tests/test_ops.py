"""Every property of every row of minicnn/cases: a new op adds a row there and no test here."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from minicnn import dispatch, gradcheck
from minicnn.cases import CASES
from minicnn.gradcheck import check_case

every_case = pytest.mark.parametrize("case", CASES.values(), ids=str)
every_sample = pytest.mark.parametrize(
    ("case", "sample"), [pytest.param(c, s, id=f"{c}-{k}") for c in CASES.values() for k, s in enumerate(c.samples)]
)
PACKAGE = Path(dispatch.__file__).parent
OPS = sorted({m for op in dispatch.OPS if (m := op.definition.__module__).startswith("minicnn.ops.")})


def make(sample, dtype="float64", seed=0):
    """The sample's inputs, read-only: an op that scribbles on its input fails loudly."""
    inputs = sample.inputs(np.random.default_rng(seed))
    inputs = {k: v.astype(dtype) if is_float(v) else v for k, v in inputs.items()}
    for v in inputs.values():
        if v is not None:
            v.flags.writeable = False
    return inputs


def is_float(v):
    return v is not None and v.dtype.kind == "f"


def call(case, inputs, sample, dy=None, seed=1):
    """(y, dy, gradients) of one call; dy is random unless given."""
    y, cache = case.op.forward(*inputs.values(), **sample.kwargs)
    if dy is None:
        dy = np.asarray(np.random.default_rng(seed).standard_normal(y.shape), y.dtype)
    return y, dy, case.op.backward(dy, cache)


def close(got, want, tolerance=1e-12):
    scale = max(np.abs(want).max(initial=0), 1e-300)
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)


@every_sample
@pytest.mark.parametrize("seed", range(3))
def test_backward_is_the_derivative_of_forward(case, sample, seed):
    report = gradcheck(case.op, tuple(make(sample, seed=seed).values()), kwargs=sample.kwargs, rtol=1e-7, seed=seed)
    assert report.max_error < 1e-7


@every_sample
def test_every_entry_of_every_gradient(case, sample):
    gradcheck(case.op, tuple(make(sample).values()), kwargs=sample.kwargs, mode="full", rtol=1e-6)


@every_case
def test_wrong_backwards_are_rejected(case):
    assert len(case.wrong) >= 2
    assert check_case(case).missed == ()


@every_sample
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_keep_dtype_and_gradients_fit_what_they_differentiate(case, sample, dtype):
    inputs = make(sample, dtype)
    y, _, gradients = call(case, inputs, sample)
    assert y.dtype == dtype
    for (name, v), g in zip(inputs.items(), gradients, strict=False):
        if v is None:
            assert g is None, name
        else:
            assert (g.shape, g.dtype) == (v.shape, v.dtype), name


@every_sample
def test_float32_is_the_rounded_float64(case, sample):
    y64, dy, g64 = call(case, make(sample), sample)
    y32, _, g32 = call(case, make(sample, "float32"), sample, dy.astype("float32"))
    for got, want in zip((y32, *g32), (y64, *g64), strict=True):
        if want is not None:
            close(got, want, 2e-5)


@every_sample
def test_strided_inputs_give_the_same_answer(case, sample):
    def strided(v):
        if v is None or not v.ndim:
            return v
        return np.flip(np.repeat(np.flip(v), 2, axis=-1)[..., ::2])

    inputs = make(sample)
    y, dy, gradients = call(case, inputs, sample)
    spread = {k: strided(v) for k, v in inputs.items()}
    y_strided, _, strided_gradients = call(case, spread, sample, strided(dy))
    for got, want in zip((y_strided, *strided_gradients), (y, *gradients), strict=True):
        if want is not None:
            close(got, want)


@every_sample
def test_nothing_given_is_changed_and_nothing_returned_is_shared(case, sample):
    inputs = make(sample)
    before = {k: None if v is None else v.copy() for k, v in inputs.items()}
    y, cache = case.op.forward(*inputs.values(), **sample.kwargs)
    dy = np.asarray(np.random.default_rng(1).standard_normal(y.shape), y.dtype)
    kept = dy.copy()
    first = case.op.backward(dy, cache)
    second = case.op.backward(dy, cache)
    assert np.array_equal(dy, kept)
    for k, v in inputs.items():
        assert v is None or np.array_equal(v, before[k]), k
    for a, b in zip(first, second, strict=True):
        assert a is None or np.array_equal(a, b), "backward changed its cache"


@every_sample
def test_a_batch_is_its_rows(case, sample):
    """Batch 1 works; and where rows do not interact, the first row alone gives the first row of the batch."""
    inputs = make(sample)
    one = {k: v[:1] if k in case.batch and v is not None else v for k, v in inputs.items()}
    y, cache = case.op.forward(*one.values(), **sample.kwargs)
    gradients = case.op.backward(np.ones_like(y), cache)
    for (name, v), g in zip(one.items(), gradients, strict=False):
        assert v is None or g.shape == v.shape, name
        assert v is None or np.isfinite(g).all(), name


@every_case
def test_empty_batch(case):
    sample = case.samples[0]
    inputs = make(sample)
    empty = {k: v[:0] if k in case.batch and v is not None else v for k, v in inputs.items()}
    if case.empty is not None:
        with pytest.raises(ValueError, match=case.empty):
            case.op.forward(*empty.values(), **sample.kwargs)
        return
    full, _ = case.op.forward(*inputs.values(), **sample.kwargs)
    y, cache = case.op.forward(*empty.values(), **sample.kwargs)
    assert y.shape == (0, *full.shape[1:])
    for (name, v), g in zip(empty.items(), case.op.backward(np.zeros_like(y), cache), strict=False):
        assert v is None or (g.shape == v.shape and not g.any()), name


@pytest.mark.parametrize(
    ("case", "error"), [pytest.param(c, e, id=f"{c}-{k}") for c in CASES.values() for k, e in enumerate(c.errors)]
)
def test_error_messages(case, error):
    inputs = case.samples[0].inputs(np.random.default_rng(0))
    kwargs = dict(case.samples[0].kwargs)
    for name, value in error.overrides.items():
        (inputs if name in inputs else kwargs)[name] = value
    with pytest.raises(error.exception, match=error.message):
        case.op.forward(*inputs.values(), **kwargs)


@every_case
def test_a_cotangent_of_another_shape_is_refused(case):
    sample = case.samples[0]
    y, cache = case.op.forward(*make(sample).values(), **sample.kwargs)
    with pytest.raises(ValueError, match=rf"{case}.backward: d\w+ has shape .*, wanted"):
        case.op.backward(np.zeros((*y.shape, 2)), cache)


@every_case
def test_forward_and_backward_are_dispatched(case):
    assert case.op.forward in dispatch.OPS
    assert case.op.backward in dispatch.OPS


def test_every_op_has_a_row():
    assert {name.rpartition(".")[2] for name in OPS} == set(CASES)


@pytest.mark.parametrize("name", OPS)
def test_equation_numbers_in_code_exist_in_the_derivation(name):
    module = importlib.import_module(name)
    numbered = re.compile(r"\((\d+)\)(?:   [\w ]+)?$", re.M)
    stem = Path(module.__file__)
    for file in sorted(stem.parent.glob(f"{stem.stem}[._]*")):
        if file.stem != stem.stem and f"{stem.parent.name}.{file.stem}" in {o.partition(".")[2] for o in OPS}:
            continue  # batch_norm_inference.py is an op of its own, no sibling of batch_norm.py
        mark = "//" if file.suffix == ".cu" else "#"
        code = file.read_text(encoding="utf-8").replace(module.__doc__, "")
        cited = set(re.findall(r"\((\d+)\)", " ".join(re.findall(f"{mark}(.*)", code))))
        entry = file.stem in (stem.stem, f"{stem.stem}_numba", f"{stem.stem}_cuda") or file.suffix == ".cu"
        assert cited or not entry, f"{file.name} cites no equation"  # parts of a kernel may have nothing to cite
        own = code.split('"""')[1] if '"""' in code and not entry else ""  # and may derive more, as Winograd's do
        derived = set(numbered.findall(module.__doc__)) | set(numbered.findall(own))
        assert cited <= derived, f"{file.name} cites {sorted(cited - derived)}, which the derivation lacks"


def test_windows_cite_their_equations_too():
    windows = importlib.import_module("minicnn.ops.windows")
    cited = set(re.findall(r"# .*\((\d+)\)", Path(windows.__file__).read_text(encoding="utf-8")))
    assert cited <= set(re.findall(r"\((\d+)\)$", windows.__doc__, re.M))


@pytest.mark.parametrize("name", OPS)
def test_an_op_is_one_short_file(name):
    lines = Path(importlib.import_module(name).__file__).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 125, f"{name}: {len(lines)} lines; look for the second idea hiding in it"
