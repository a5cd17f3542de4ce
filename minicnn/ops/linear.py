"""The affine map y = x W + b.

Forward.  x is (N, I), w is (I, O), b is (O,):

    y[n,o] = b[o] + Σᵢ x[n,i] w[i,o]                                                     (1)

Backward.  By (1), ∂y[n,o]/∂x[n,i] = w[i,o], ∂y[n,o]/∂w[i,o] = x[n,i] and ∂y[n,o]/∂b[o] = 1, and L depends on each of
them through every y it enters:

    dx[n,i] = Σ_o dy[n,o] w[i,o],       dx = dy Wᵀ                                       (2)
    dw[i,o] = Σ_n x[n,i] dy[n,o],       dw = xᵀ dy                                       (3)
    db[o]   = Σ_n dy[n,o]                                                                (4)

A row of x never meets another, so x may be (..., I): its leading axes are the rows n.
"""

import math
from typing import NamedTuple

from minicnn.backend import Array
from minicnn.dispatch import accelerated
from minicnn.ops import checks


class Cache(NamedTuple):
    x: Array
    w: Array
    has_bias: bool


@accelerated("numba")
def forward(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Cache]:
    """y (..., O) by (1) from x (..., I), w (I, O) and b (O,) or None; ValueError where shapes do not fit."""
    _check(x, w, b)
    y = x @ w  # (1)
    return (y if b is None else y + b), Cache(x, w, b is not None)  # (1)


@accelerated("numba")
def backward(dy: Array, cache: Cache, *, input_gradient: bool = True) -> tuple[Array | None, Array, Array | None]:
    """(dx, dw, db) from dy = ∂L/∂y; db is None where there was no bias, dx without input_gradient."""
    x, w, has_bias = cache
    checks.upstream("linear", dy, (*x.shape[:-1], w.shape[1]))
    (I, O), rows = w.shape, math.prod(x.shape[:-1])
    dx = (dy @ w.T).astype(x.dtype, copy=False) if input_gradient else None  # (2)
    dw = x.reshape(rows, I).T @ dy.reshape(rows, O)  # (3)
    db = dy.reshape(rows, O).sum(0, dtype="float64").astype(w.dtype) if has_bias else None  # (4)
    return dx, dw.astype(w.dtype, copy=False), db


def _check(x: Array, w: Array, b: Array | None) -> None:
    checks.floating("linear", x=x, w=w, b=b)
    if w.ndim != 2 or x.ndim < 2 or x.shape[-1] != w.shape[0]:
        raise ValueError(f"linear: x {x.shape} (..., in) does not fit w {w.shape} (in, out)")
    if b is not None and b.shape != w.shape[1:]:
        raise ValueError(f"linear: b has shape {b.shape}, wanted {w.shape[1:]}, one for each output of w {w.shape}")
