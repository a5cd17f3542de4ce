"""The kernels of `dense_block.forward`; the mathematics and the numbers are in dense_block.py.

The values of a block lie in one buffer of rows (H, W, N): row p N + n is pixel p of image n.  For a tap of the 3x3
convolution, a row of an image is then a run of whole rows of the buffer, and where a tap meets only zeros, the run is
empty.
"""

from minicnn import simd
from minicnn.ops.dense_products import product
from minicnn.simd import LANES, f32, fma, i64, image_in, inner, kernel, load, maximum, store, vector_in, vector_out
from minicnn.simd.compile import f64
from minicnn.simd.shared import shared

MATRIX_IN, MATRIX_OUT = simd.array(2), simd.array(2, writable=True)


@inner
def share(total, parts, k):
    """Where part k of `total` things begins."""
    return total * k // parts


@inner
def scales(gamma, var, eps, j0, j1, scale):
    """gamma / sqrt(var + eps) of channels j0..j1: the A of (5)."""
    for j in range(j0, j1):
        scale[j] = gamma[j] / (var[j] + eps) ** f32(0.5)


@inner
def rectified(X, x, ldx, rows, columns, mean, scale, beta, j0, Z, z, ldz):
    """Z = max(0, (X - mean) scale + beta) of a block whose first column is channel j0: φ(B(X)) of (1) and (2)."""
    zero = simd.broadcast(f32(0))
    for r in range(rows):
        for j in range(0, columns, LANES):
            v = load(X, x + r * ldx + j) - load(mean, j0 + j)
            store(Z, z + r * ldz + j, maximum(zero, fma(v, load(scale, j0 + j), load(beta, j0 + j))))


@inner
def moments(X, x, ldx, rows, columns, part, at):
    """Mean and sum of squared deviations of each column of a block, into part[at:] and part[at + columns:]."""
    for j in range(0, columns, LANES):
        total = simd.broadcast(f32(0))
        for r in range(rows):
            total = total + load(X, x + r * ldx + j)
        mean = total / simd.broadcast(f32(rows))
        squares = simd.broadcast(f32(0))
        for r in range(rows):
            v = load(X, x + r * ldx + j) - mean
            squares = fma(v, v, squares)
        store(part, at + j, mean)
        store(part, at + columns + j, squares)


@kernel((vector_in, simd.array(1, i64), i64, simd.array(2, f64, writable=True), vector_out, vector_out, i64))
def merge(part, counts, columns, sums, mean, var, first):
    """Mean and variance of channels first.. over all rows, from the moments of blocks of counts[k] rows, in float64."""
    rows = 0
    for j in range(columns):
        sums[0, j], sums[1, j] = 0.0, 0.0
    for k in range(counts.size):
        rows += counts[k]
        for j in range(columns):
            sums[0, j] += counts[k] * part[2 * k * columns + j]
    for j in range(columns):
        sums[0, j] /= rows
    for k in range(counts.size):
        for j in range(columns):
            d = part[2 * k * columns + j] - sums[0, j]
            sums[1, j] += part[(2 * k + 1) * columns + j] + counts[k] * d * d
    for j in range(columns):
        mean[first + j], var[first + j] = sums[0, j], sums[1, j] / rows


@shared((image_in, MATRIX_OUT, i64, vector_out, i64))
def enter(x, X, chunk, part, threads, t):
    """Put x (N, H, W, C) into the first channels of the buffer X, and moments of its rows into part if it has room."""
    N, W, C = x.shape[0], x.shape[2], x.shape[3]
    sn, sh, sw = x.strides[0] // 4, x.strides[1] // 4, x.strides[2] // 4
    rows, ldx = X.shape
    chunks = (rows + chunk - 1) // chunk
    for k in range(share(chunks, threads, t), share(chunks, threads, t + 1)):
        row0, row1 = k * chunk, min(rows, (k + 1) * chunk)
        for row in range(row0, row1):
            p, n = row // N, row % N
            at = n * sn + (p // W) * sh + (p % W) * sw
            for j in range(0, C, LANES):
                store(X, row * ldx + j, load(x, at + j))  # x₀ of (3)
        if part.size:
            moments(X, row0 * ldx, ldx, row1 - row0, C, part, 2 * k * C)


@shared((MATRIX_IN, i64, *[vector_in] * 4, f32, MATRIX_IN, MATRIX_OUT, i64, i64, MATRIX_OUT, vector_out, i64))
def bottleneck(X, c, gamma, beta, mean, var, eps, w, U, chunk, halves, scratch, part, threads, t):
    """U by (1), in tasks of `chunk` rows and a share of the columns; moments of U if part has room."""
    (rows, ldx), width = X.shape, U.shape[1]
    scale, Z = scratch[t][:c], scratch[t][c:]
    scales(gamma, var, eps, 0, c, scale)
    tasks = (rows + chunk - 1) // chunk * halves
    for k in range(share(tasks, threads, t), share(tasks, threads, t + 1)):
        row0 = k // halves * chunk
        j0 = LANES * share(width // LANES, halves, k % halves)
        j1 = LANES * share(width // LANES, halves, k % halves + 1)
        R = min(chunk, rows - row0)
        rectified(X, row0 * ldx, ldx, R, c, mean, scale, beta, 0, Z, 0, c)
        product(Z, 0, c, w, j0, width, U, row0 * width + j0, width, R, j1 - j0, c, 1, 0, 0, False)  # (1)
        if part.size:
            moments(U, row0 * width, width, R, width, part, 2 * k * width)


@inner
def _convolve_row(Z, w, growth, h, H, W, images, y):
    """Row h of the image at y: its taps, those of one column of w together (2)."""
    line, width = W * images, w.shape[0] // 9
    first, last = max(0, 1 - h), min(3, H + 1 - h)
    for k in range(w.shape[0] // (3 * width)):  # 3: as a literal, the body would be compiled three times
        j = (k + 1) % 3  # the middle first: its run is the whole row
        w0, w1 = max(0, 1 - j), min(W, W + 1 - j)
        if w1 > w0:
            a = ((h + first - 1) * line + (w0 + j - 1) * images) * width
            b, c = (first * 3 + j) * width * growth, y + w0 * images * growth
            rows, H_step, w_step = (w1 - w0) * images, line * width, 3 * width * growth
            product(Z, a, width, w, b, growth, Z, c, growth, rows, growth, width, last - first, H_step, w_step, j != 1)


@shared((MATRIX_IN, *[vector_in] * 4, f32, MATRIX_IN, MATRIX_OUT, i64, i64, i64, i64, i64, MATRIX_OUT, vector_out, i64))
def grow(U, gamma, beta, mean, var, eps, w, X, c, H, W, N, group, scratch, part, threads, t):
    """Channels c.. of X by (2), in tasks of `group` images; moments of their rows of pixels if part has room."""
    width, growth, ldx = U.shape[1], w.shape[1], X.shape[1]
    scale, Z = scratch[t][:width], scratch[t][width:]
    scales(gamma, var, eps, 0, width, scale)
    tasks = (N + group - 1) // group
    for k in range(share(tasks, threads, t), share(tasks, threads, t + 1)):
        n0, images = k * group, min(group, N - k * group)
        y = H * W * images * width
        for p in range(H * W):
            z = p * images * width
            rectified(U, (p * N + n0) * width, width, images, width, mean, scale, beta, 0, Z, z, width)
        for h in range(H):
            _convolve_row(Z, w, growth, h, H, W, images, y)
            for q in range(W):
                row = (h * W + q) * N + n0
                for r in range(images):
                    for j in range(0, growth, LANES):
                        store(X, (row + r) * ldx + c + j, load(Z, y + (q * images + r) * growth + j))
            if part.size:
                moments(Z, y, growth, W * images, growth, part, 2 * (k * H + h) * growth)
