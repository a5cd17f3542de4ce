"""The CPU kernels of `layer_norm` and `group_norm`: numbers (N, P, G, D) are normalised within each (n, g).

A row of layer_norm is a set with N = rows, P = G = 1, D = C; one of group_norm has P positions and D = C/G channels.
The steps are those that both derivations number alike: (1)-(5) forward, (6)-(8) and (11) backward.
"""

import numpy as np

from minicnn import simd, threads
from minicnn.backend import Array, empty
from minicnn.simd import array, f32, i64, inner, vector_in
from minicnn.simd.compile import f64

SHARE = 1 << 13  # elements that are worth a thread

sets_in, sets_out = array(4), array(4, writable=True)
moments_in, moments_out, sums_out = array(2), array(2, writable=True), array(2, f64, writable=True)


def declined(*arrays: Array) -> bool:
    """Whether these are not all float32."""
    return any(a.dtype != "float32" for a in arrays)


def normalise(x: Array, gamma: Array, beta: Array, eps: float, sizes: tuple[int, int, int, int]) -> tuple[Array, ...]:
    """(y, mean, var): y like x, the moments (N, G), for the sets of x taken as `sizes` (N, P, G, D)."""
    N, _, G, _ = sizes
    y, mean, var = empty(x.shape), empty((N, G)), empty((N, G))
    arrays = np.ascontiguousarray(x).reshape(sizes), np.ascontiguousarray(gamma), np.ascontiguousarray(beta)
    _normalise(*arrays, y.reshape(sizes), mean, var, eps, _parts(x, N * G))
    return y, mean, var


def gradients(
    dy: Array, x: Array, gamma: Array, mean: Array, var: Array, eps: float, sizes: tuple[int, int, int, int]
) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta)."""
    N, _, G, _ = sizes
    dx, parts = empty(x.shape), max(_parts(x, N * G), 1)
    arrays = [np.ascontiguousarray(a).reshape(sizes) for a in (dy, x)]
    moments = [np.ascontiguousarray(a).reshape(N, G) for a in (mean, var)]
    dgamma, dbeta = np.zeros((parts, *gamma.shape)), np.zeros((parts, *gamma.shape))
    _gradients(*arrays, np.ascontiguousarray(gamma), *moments, dx.reshape(sizes), dgamma, dbeta, eps, parts)
    return dx, dgamma.sum(0).astype("float32"), dbeta.sum(0).astype("float32")


def _parts(x: Array, sets: int) -> int:
    return min(threads.count(), sets, -(-x.size // SHARE))


@simd.shared((sets_in, vector_in, vector_in, sets_out, moments_out, moments_out, f32, i64))
def _normalise(x, gamma, beta, y, mean, var, eps, parts, t):
    for s in range(t * mean.size // parts, (t + 1) * mean.size // parts):
        _normalise_set(x, gamma, beta, y, mean, var, eps, s // mean.shape[1], s % mean.shape[1])


@inner
def _normalise_set(x, gamma, beta, y, mean, var, eps, n, g):
    _, P, _, D = x.shape
    total = 0.0
    for p in range(P):
        for d in range(D):
            total += x[n, p, g, d]
    m = f32(total / (P * D))  # (1)
    total = 0.0
    for p in range(P):
        for d in range(D):
            total += (x[n, p, g, d] - m) * (x[n, p, g, d] - m)
    mean[n, g], var[n, g] = m, f32(total / (P * D))  # (2)
    r = _inverse_std(var[n, g], eps)
    for p in range(P):
        for d in range(D):
            y[n, p, g, d] = gamma[g * D + d] * ((x[n, p, g, d] - m) * r) + beta[g * D + d]  # (4) (5)


@inner
def _inverse_std(var, eps):
    return f32(1) / np.sqrt(var + eps)  # (3)


@simd.shared((sets_in, sets_in, vector_in, moments_in, moments_in, sets_out, sums_out, sums_out, f32, i64))
def _gradients(dy, x, gamma, mean, var, dx, dgamma, dbeta, eps, parts, t):
    for s in range(t * mean.size // parts, (t + 1) * mean.size // parts):
        n, g = s // mean.shape[1], s % mean.shape[1]
        r = _inverse_std(var[n, g], eps)
        _gradients_of_set(dy, x, gamma, mean[n, g], r, dx, dgamma, dbeta, t, n, g)


@inner
def _gradients_of_set(dy, x, gamma, m, r, dx, dgamma, dbeta, t, n, g):
    _, P, _, D = x.shape
    sum_g = sum_gx = 0.0
    for p in range(P):
        for d in range(D):
            c, x_hat, upstream = g * D + d, (x[n, p, g, d] - m) * r, dy[n, p, g, d]  # (4)
            dgamma[t, c] += upstream * x_hat  # (6)
            dbeta[t, c] += upstream  # (7)
            sum_g += gamma[c] * upstream  # (8)
            sum_gx += gamma[c] * upstream * x_hat
    mean_g, mean_gx = f32(sum_g / (P * D)), f32(sum_gx / (P * D))
    for p in range(P):
        for d in range(D):
            x_hat = (x[n, p, g, d] - m) * r
            dx[n, p, g, d] = r * (gamma[g * D + d] * dy[n, p, g, d] - mean_g - x_hat * mean_gx)  # (11)
