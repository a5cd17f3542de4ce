"""The kernels of `dense_block.backward`; the mathematics and the numbers are in dense_block.py.

Work is shared out by channels, not by rows: a task has all rows of its channels, so that their sums, which batch norm's
backward needs before it can go on, are complete without waiting for another task.
"""

from minicnn import simd
from minicnn.ops.dense_block_forward import MATRIX_IN, MATRIX_OUT, rectified, scales, share
from minicnn.ops.dense_products import product, product_tn
from minicnn.simd import LANES, f32, fma, i64, image_out, inner, load, store, vector_in, vector_out
from minicnn.simd.compile import f64
from minicnn.simd.move import transpose
from minicnn.simd.shared import shared

SUMS = simd.array(2, f64, writable=True)
NORM = (vector_in, vector_in, vector_in, vector_in, f32)  # gamma, beta, mean, var, eps
LAST = (i64, MATRIX_OUT, image_out, i64)  # chunk, scratch, out, threads
BOTH = (vector_out, vector_out)  # dgamma, dbeta
TASK_CHANNELS = 64
MOST_CHANNELS = TASK_CHANNELS + LANES  # of a task, where the sixteens cannot be shared out evenly


@inner
def _tasks(channels, threads):
    """(sixteens of channels, tasks): about TASK_CHANNELS in each, a multiple of `threads` where there are enough."""
    units = channels // LANES
    return units, min(units, threads * ((channels + TASK_CHANNELS * threads - 1) // (TASK_CHANNELS * threads)))


@inner
def _clear(pair, first, last):
    """Zeros in columns first..last of an array of two rows."""
    for j in range(first, last):
        pair[0, j] = 0
        pair[1, j] = 0


@inner
def _masked(S, z, e, cb, X, x, ldx, rows, mean, scale, j0, out, add):
    """dz, which is what S has at e where Z, at z, is above 0: A dz into out, or added to it (5) (6).

    Adds Σ dz and Σ dz (x − μ) of the cb channels to the beginning of S.
    """
    zero = simd.broadcast(f32(0))
    for j in range(0, cb, LANES):
        m, a, total, product = load(mean, j0 + j), load(scale, j0 + j), load(S, j), load(S, cb + j)
        for r in range(rows):
            k, i = r * cb + j, x + r * ldx + j
            dz = simd.select(simd.greater(load(S, z + k), zero), load(S, e + k), zero)
            total, product = total + dz, fma(dz, load(X, i) - m, product)
            store(out, i, fma(dz, a, load(out, i)) if add else dz * a)  # (5) (6)
        store(S, j, total)
        store(S, cb + j, product)


@inner
def _add_sums(S, cb, sums, j0):
    """The sums of `_masked`, added to sums[:, j0:] in float64 and set to zero."""
    for j in range(cb):
        sums[0, j0 + j] += S[j]
        sums[1, j0 + j] += S[cb + j]
        S[j], S[cb + j] = 0, 0


@inner
def _gradients_of_norm(sums, j0, j1, gamma, var, eps, m, dgamma, dbeta, late):
    """dγ and dβ of channels j0..j1 from Σ dz and Σ dz (x − μ), and what (5) has beside A dz: to late, for (6)."""
    for j in range(j0, j1):
        inv_std = 1.0 / (var[j] + eps) ** 0.5
        dbeta[j] = sums[0, j]
        dgamma[j] = sums[1, j] * inv_std
        late[0, j] -= gamma[j] * inv_std * sums[0, j] / m
        late[1, j] -= gamma[j] * inv_std * inv_std * dgamma[j] / m


@inner
def _weights_of_3x3(Z, z, cb, d, growth, dw, j0, width, H, W, images, side):
    """Adds to channels j0.. of dw the sums over all pixels of a tap's inputs (cb channels at z) and dy (at d)."""
    line = W * images
    for i in range(side):
        for j in range(side):
            h0, h1 = max(0, 1 - i), min(H, H + 1 - i)
            w0, w1 = max(0, 1 - j), min(W, W + 1 - j)
            if h1 > h0 and w1 > w0:
                a = z + ((h0 + i - 1) * line + (w0 + j - 1) * images) * cb
                b = d + (h0 * line + w0 * images) * growth
                c = ((i * 3 + j) * width + j0) * growth
                steps = (line * cb, line * growth)
                product_tn(
                    Z,
                    a,
                    cb,
                    Z,
                    b,
                    growth,
                    dw,
                    c,
                    growth,
                    cb,
                    growth,
                    (w1 - w0) * images,
                    h1 - h0,
                    steps[0],
                    steps[1],
                    True,
                )


@inner
def _inputs_of_3x3(Z, d, growth, T, t, e, cb, H, W, images, side):
    """At e, the gradient for cb inputs of the 3x3 convolution: the taps' dy (at d) times their weights (at t)."""
    line = W * images
    for h in range(H):
        first, last = max(0, h + 2 - H), min(3, h + 2)
        for k in range(side):
            j = (k + 1) % 3  # the middle first: its run is the whole row
            w0, w1 = max(0, j - 1), min(W, W + j - 1)
            if w1 > w0:
                a = d + ((h + 1 - first) * line + (w0 + 1 - j) * images) * growth
                b, c = t + (first * 3 + j) * growth * cb, e + (h * line + w0 * images) * cb
                product(
                    Z,
                    a,
                    growth,
                    T,
                    b,
                    cb,
                    Z,
                    c,
                    cb,
                    (w1 - w0) * images,
                    cb,
                    growth,
                    last - first,
                    -line * growth,
                    3 * growth * cb,
                    j != 1,
                )


@inner
def _second(D, U, j0, j1, mean, scale, beta, w, dw, dU, sums, H, W, N, group, S):
    """For channels j0..j1 of U and all images: dw, A ∂L/∂B²(U) into dU, and the sums of ∂L/∂B²(U) (2) (5)."""
    width, growth, cb = U.shape[1], D.shape[1], j1 - j0
    t = 2 * MOST_CHANNELS  # after the sums
    z = t + 9 * growth * cb
    side = w.shape[0] // (3 * width)  # 3: as a literal, the loops over taps would be compiled tap by tap
    for tap in range(side * side):
        transpose(w, (tap * width + j0) * growth, growth, S, t + tap * growth * cb, cb, cb, growth)
        for j in range(tap * width + j0, tap * width + j1):
            for o in range(growth):
                dw[j, o] = 0
    for n0 in range(0, N, group):
        images = min(group, N - n0)
        d = z + H * W * images * cb
        e = d + H * W * images * growth
        for p in range(H * W):
            row, k = p * N + n0, p * images
            rectified(U, row * width + j0, width, images, cb, mean, scale, beta, j0, S, z + k * cb, cb)
            for i in range(0, images * growth, LANES):
                store(S, d + k * growth + i, load(D, row * growth + i))
        _weights_of_3x3(S, z, cb, d, growth, dw, j0, width, H, W, images, side)
        _inputs_of_3x3(S, d, growth, S, t, e, cb, H, W, images, side)
        for p in range(H * W):
            u, k = (p * N + n0) * width + j0, p * images * cb
            _masked(S, z + k, e + k, cb, U, u, width, images, mean, scale, j0, dU, False)
        _add_sums(S, cb, sums, j0)


@inner
def _first(X, G, j0, j1, mean, scale, beta, w, dU, dw, sums, chunk, S):
    """For channels j0..j1 of X and all rows: dw, A ∂L/∂B¹(X) added to G, and the sums of ∂L/∂B¹(X) (1) (6)."""
    (rows, ldx), width, cb = X.shape, w.shape[1], j1 - j0
    t = 2 * MOST_CHANNELS  # after the sums
    z = t + width * cb
    e = z + chunk * cb
    transpose(w, j0 * width, width, S, t, cb, cb, width)
    for row in range(0, rows, chunk):
        R = min(chunk, rows - row)
        rectified(X, row * ldx + j0, ldx, R, cb, mean, scale, beta, j0, S, z, cb)
        product_tn(S, z, cb, dU, row * width, width, dw, j0 * width, width, cb, width, R, 1, 0, 0, row > 0)
        product(dU, row * width, width, S, t, cb, S, e, cb, R, cb, width, 1, 0, 0, False)
        _masked(S, z, e, cb, X, row * ldx + j0, ldx, R, mean, scale, j0, G, True)
        _add_sums(S, cb, sums, j0)


@inner
def _settle(dU, U, j0, j1, mean, late):
    """dU + constant + slope (u − μ), in place (5)."""
    rows, width = U.shape
    for r in range(rows):
        for j in range(j0, j1, LANES):
            k = r * width + j
            v = fma(load(U, k) - load(mean, j), load(late[1], j), load(late[0], j))
            store(dU, k, load(dU, k) + v)  # (5)


@inner
def _finish(X, G, j0, j1, f0, mean, late, N, out):
    """out = G + constant + slope (x − μ) for channels j0..j1, of which f0 is the first of out (6)."""
    (rows, ldx), W = X.shape, out.shape[2]
    sn, sh, sw = out.strides[0] // 4, out.strides[1] // 4, out.strides[2] // 4
    for row in range(rows):
        p, n = row // N, row % N
        to = n * sn + (p // W) * sh + (p % W) * sw - f0
        for j in range(j0, j1, LANES):
            k = row * ldx + j
            v = fma(load(X, k) - load(mean, j), load(late[1], j), load(late[0], j))
            store(out, to + j, load(G, k) + v)  # (6)


@shared(
    (MATRIX_IN, MATRIX_IN, *[i64] * 4, *NORM, MATRIX_IN, MATRIX_OUT, *BOTH, *[MATRIX_OUT] * 2, SUMS, MATRIX_OUT, i64)
)
def through_second(
    D, U, H, W, N, group, gamma, beta, mean, var, eps, w, dw, dgamma, dbeta, dU, work, sums, scratch, threads, t
):
    """Back through (2): from the gradient D of the new channels to dU, in tasks of some channels of U."""
    (rows, width), S = U.shape, scratch[t]
    scale, late = work[0], work[1:]
    units, tasks = _tasks(width, threads)
    for j in range(2 * MOST_CHANNELS):
        S[j] = 0
    for k in range(share(tasks, threads, t), share(tasks, threads, t + 1)):
        j0, j1 = LANES * share(units, tasks, k), LANES * share(units, tasks, k + 1)
        scales(gamma, var, eps, j0, j1, scale)
        _clear(sums, j0, j1)
        _clear(late, j0, j1)
        _second(D, U, j0, j1, mean, scale, beta, w, dw, dU, sums, H, W, N, group, S)
        _gradients_of_norm(sums, j0, j1, gamma, var, eps, rows, dgamma, dbeta, late)
        _settle(dU, U, j0, j1, mean, late)


@shared(
    (MATRIX_IN, MATRIX_OUT, i64, i64, *NORM, MATRIX_IN, MATRIX_OUT, *BOTH, MATRIX_IN, *[MATRIX_OUT] * 2, SUMS, *LAST)
)
def through_first(
    X, G, c, N, gamma, beta, mean, var, eps, w, dw, dgamma, dbeta, dU, late, work, sums, chunk, scratch, out, threads, t
):
    """Back through (1): adds to G what dU makes of the gradient of channels ..c, in tasks of some of them.

    late holds the constants and slopes of (6).  The last channels, as many as out has, are complete now, and go there.
    """
    rows, f0, S = X.shape[0], c - out.shape[3], scratch[t]
    scale = work[0]
    units, tasks = _tasks(c, threads)
    for j in range(2 * MOST_CHANNELS):
        S[j] = 0
    for k in range(share(tasks, threads, t), share(tasks, threads, t + 1)):
        j0, j1 = LANES * share(units, tasks, k), LANES * share(units, tasks, k + 1)
        scales(gamma, var, eps, j0, j1, scale)
        _clear(sums, j0, j1)
        _first(X, G, j0, j1, mean, scale, beta, w, dU, dw, sums, chunk, S)
        _gradients_of_norm(sums, j0, j1, gamma, var, eps, rows, dgamma, dbeta, late)
        if j1 > f0:
            _finish(X, G, max(j0, f0), j1, f0, mean, late, N, out)
