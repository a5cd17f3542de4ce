"""Pairs of equal models, one of them fused, and what must be the same of them."""

import numpy as np
from subjects import normal

from minicnn import fuse


def pair(make, dtype="float64"):
    """(fused, model): two models that make() makes equal, the first of them fused."""
    fused, model = (make().astype(dtype) for _ in range(2))
    for each in (fused, model):
        for k, layer in enumerate(m for m in each.modules() if hasattr(m, "rng")):
            layer.rng = np.random.default_rng([3, k])
    return fuse(fused), model


def close(got, want, tolerance, what=""):
    assert (got is None) == (want is None), what
    if want is not None:
        assert (got.shape, got.dtype) == (want.shape, want.dtype), what
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max(initial=1e-30), err_msg=what)


def same(fused, model, x, tolerance=0.0, backward=True):
    """Raise unless a call, its backward and what they leave behind are the same."""
    y, wanted = fused(x), model(x)
    close(y, wanted, tolerance, "y")
    if backward:
        dy = normal(*y.shape, seed=5, dtype=y.dtype)
        close(fused.backward(dy), model.backward(dy), tolerance, "dx")
    for (name, p), q in zip(fused.named_parameters(), model.parameters(), strict=True):
        close(p.grad, q.grad, tolerance, name)
    for (name, a), (_, b) in zip(fused.named_buffers(), model.named_buffers(), strict=True):
        close(a, b, tolerance, name)
