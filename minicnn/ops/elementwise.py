"""The CPU kernels of the activations made of exponentials: one for all values, one for all gradients.

The equations are those of the op a branch is named after.  All exponents are at most 0.
"""

import math

import numpy as np

from minicnn import simd, threads
from minicnn.backend import FLOAT32, Array, empty
from minicnn.simd import (
    LANES,
    broadcast,
    f32,
    fma,
    greater,
    i64,
    inner,
    maximum,
    minimum,
    select,
    vector_in,
    vector_out,
)
from minicnn.simd.compile import Kernel
from minicnn.simd.functions import error_function_complement, exp, exp_minus_1, log_of_1_plus, magnitude

ELU, GELU, GELU_TANH, SIGMOID, SILU, SOFTPLUS, TANH = range(7)
KAPPA, ROOT = 0.044715, math.sqrt(2 / math.pi)  # of gelu
DENSITY, ROOT_HALF = 1 / math.sqrt(2 * math.pi), math.sqrt(0.5)
SHARE = 1 << 13  # elements that are worth a thread


def values(kind: int, x: Array, alpha: float = 0.0) -> Array:
    """y of x, or NotImplemented where x is not float32."""
    return _run(_values, kind, alpha, x)


def gradients(kind: int, dy: Array, saved: Array, alpha: float = 0.0) -> Array:
    """dx of dy and of what forward saved: y for sigmoid and tanh, x for the others."""
    return _run(_gradients, kind, alpha, dy, saved)


def _run(kernel: Kernel, kind: int, alpha: float, *arrays: Array) -> Array:
    if any(a.dtype != FLOAT32 for a in arrays):
        return NotImplemented
    result, flat = empty(arrays[0].shape), [np.ascontiguousarray(a).reshape(-1) for a in arrays]
    parts = min(threads.count(), -(-result.size // SHARE))
    kernel(*flat, result.reshape(-1), kind, alpha, parts)
    return result


@simd.shared((vector_in, vector_out, i64, f32, i64))
def _values(x, y, kind, alpha, parts, t):
    i, end = _share(len(x), t, parts)
    while i < end:
        n = min(LANES, end - i)
        _put(y, i, _value(kind, _get(x, i, n), broadcast(alpha)), n)
        i += LANES


@simd.shared((vector_in, vector_in, vector_out, i64, f32, i64))
def _gradients(dy, saved, dx, kind, alpha, parts, t):
    i, end = _share(len(dy), t, parts)
    while i < end:
        n = min(LANES, end - i)
        slope = _slope(kind, _get(saved, i, n), broadcast(alpha))
        _put(dx, i, _get(dy, i, n) * slope, n)
        i += LANES


@inner
def _get(x, i, n):
    return simd.load(x, i) if n == LANES else simd.load_part(x, i, n)


@inner
def _put(x, i, v, n):
    if n == LANES:
        simd.store(x, i, v)
    else:
        simd.store_part(x, i, v, n)


@inner
def _share(size, t, parts):
    """Where part t of so many begins and ends: at whole vectors."""
    vectors = -(-size // LANES)
    return t * vectors // parts * LANES, min(size, (t + 1) * vectors // parts * LANES)


@inner
def _value(kind, x, alpha):
    zero, one = broadcast(0), broadcast(1)
    if kind == ELU:
        return select(greater(x, zero), x, alpha * exp_minus_1(minimum(zero, x)))
    if kind == GELU:
        return x * _phi(x, exp(broadcast(-0.5) * x * x))
    if kind == GELU_TANH:
        return broadcast(0.5) * x * (one + _tanh(_argument(x)))
    if kind == SIGMOID:
        return _sigma(x)
    if kind == SILU:
        return x * _sigma(x)
    if kind == SOFTPLUS:
        return maximum(x, zero) + log_of_1_plus(exp(zero - magnitude(x)))
    return _tanh(x)


@inner
def _slope(kind, saved, alpha):
    """∂y/∂x."""
    zero, one, half = broadcast(0), broadcast(1), broadcast(0.5)
    if kind == ELU:
        return select(greater(saved, zero), one, alpha * exp(minimum(zero, saved)))
    if kind == GELU:
        normal = exp(broadcast(-0.5) * saved * saved)
        return fma(saved, broadcast(DENSITY) * normal, _phi(saved, normal))
    if kind == GELU_TANH:
        t = _tanh(_argument(saved))
        dt = (one - t * t) * (broadcast(ROOT) * fma(broadcast(3 * KAPPA) * saved, saved, one))
        return half * (one + t) + half * saved * dt
    if kind == SIGMOID:
        return saved * (one - saved)
    if kind == SILU:
        sigma = _sigma(saved)
        return sigma * fma(saved, one - sigma, one)
    if kind == SOFTPLUS:
        return _sigma(saved)
    return one - saved * saved


@inner
def _sigma(x):
    e = exp(broadcast(0) - magnitude(x))
    return select(greater(broadcast(0), x), e, broadcast(1)) / (broadcast(1) + e)


@inner
def _tanh(x):
    """With m = exp(-2 |x|) - 1, tanh |x| = -m/(m + 2), which keeps all digits near 0."""
    m = exp_minus_1(broadcast(-2) * magnitude(x))
    t = m / (m + broadcast(2))
    return select(greater(x, broadcast(0)), broadcast(0) - t, t)


@inner
def _phi(x, normal):
    """Φ(x), given exp(-x²/2)."""
    tail = broadcast(0.5) * error_function_complement(magnitude(x) * broadcast(ROOT_HALF), normal)
    return select(greater(x, broadcast(0)), broadcast(1) - tail, tail)


@inner
def _argument(x):
    return broadcast(ROOT) * fma(broadcast(KAPPA) * x, x * x, x)
