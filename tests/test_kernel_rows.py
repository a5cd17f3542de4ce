"""Every row of minicnn/cases in float32, on the kernels and nothing else, against its float64 definition.

Continuous integration runs this file again with one thread, for a lesser processor, with another threading layer, with
no folder to keep machine code in, and as plain Python (NUMBA_DISABLE_JIT=1).
"""

import numpy as np
import pytest

import minicnn
from minicnn.cases import CASES

ELSEWHERE = ("dense_block",)  # its kernel takes channels in sixteens, more than a row has: test_dense_block.py
ROWS = [
    pytest.param(c, s, id=f"{c}-{k}")
    for c in CASES.values()
    if str(c) not in ELSEWHERE
    for k, s in enumerate(c.samples)
]


def run(case, sample, dtype, mode):
    """y and the gradients of one call."""
    inputs = sample.inputs(np.random.default_rng(0))
    inputs = {k: v.astype(dtype) if v is not None and v.dtype.kind == "f" else v for k, v in inputs.items()}
    with minicnn.using(mode):
        y, cache = case.op.forward(*inputs.values(), **sample.kwargs)
        dy = np.asarray(np.random.default_rng(1).standard_normal(y.shape), y.dtype)
        return y, *case.op.backward(dy, cache)


@pytest.mark.parametrize(("case", "sample"), ROWS)
def test_kernels_compute_what_is_defined(case, sample):
    got, want = run(case, sample, "float32", "strict"), run(case, sample, "float64", "reference")
    for a, b in zip(got, want, strict=True):
        if b is None:
            assert a is None
        else:
            assert a.dtype == "float32"
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(np.abs(b).max(initial=0), 1e-30))
