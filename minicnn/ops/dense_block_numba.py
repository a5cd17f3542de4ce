"""`dense_block` on the CPU: the buffers and the calls of its kernels; the mathematics is in dense_block.py."""

import numpy as np

from minicnn import backend, threads
from minicnn.backend import Array
from minicnn.ops import checks
from minicnn.ops import dense_block_backward as backward_kernels
from minicnn.ops import dense_block_forward as kernels
from minicnn.ops.dense_block import Cache
from minicnn.ops.dense_parameters import check
from minicnn.ops.dense_products import ROWS
from minicnn.simd import LANES

CHUNK = 12 * ROWS  # rows of a task: its normalised values stay in the second cache
BACK_CHUNK = 36 * ROWS  # as CHUNK, in backward
IMAGES_BYTES = 1 << 19  # of the normalised values that a task convolves


def forward(x: Array, *parameters: Array, statistics=None, eps: float = 1e-5):
    """As the definition; float32, of multiples of sixteen channels."""
    layers, statistics = check(x, parameters, statistics)
    (N, H, W, C), width, growth = x.shape, parameters[3].shape[0], parameters[5].shape[3]
    training, rows, channels, count = statistics is None, H * W * N, C + layers * growth, threads.count()
    if not _suits(x, parameters, width, growth) or rows < 1 + training:
        return NotImplemented
    x = x if x.strides[3] == 4 else np.ascontiguousarray(x)
    p = tuple(map(np.ascontiguousarray, parameters))
    chunk = min(CHUNK, -(-rows // (count * ROWS)) * ROWS)
    group = images_of_task(N, H * W * width * 4, count)
    of_rows, of_images = _blocks(rows, chunk), np.repeat(_blocks(N, group) * W, H)
    halves = 1 if training or len(of_rows) >= count else min(count, width // LANES)
    X = backend.empty((rows, channels))
    hidden = [backend.empty((rows, width)) for _ in range(layers if training else 1)]
    scratch = backend.empty((count, max((chunk + 1) * channels, (group * H * W + 1) * width + group * W * growth)))
    part = backend.empty((2 * max(len(of_rows) * max(C, width), len(of_images) * growth) * training,))
    mean, var = np.empty((2, channels), "float32")
    means, variances = np.empty((2, layers, width), "float32")
    sums = np.empty((2, max(C, width, growth)))
    kernels.enter(x, X, chunk, part, count)
    if training:
        kernels.merge(part, of_rows, C, sums, mean, var, 0)
    for k in range(layers):
        gamma1, beta1, w1, gamma2, beta2, w2 = p[6 * k : 6 * k + 6]
        s1, s2 = (mean, var), (means[k], variances[k])
        if statistics:
            s1, s2 = statistics[4 * k : 4 * k + 2], statistics[4 * k + 2 : 4 * k + 4]
        U = hidden[k if training else 0]
        c, w1, w2 = C + k * growth, w1.reshape(-1, width), w2.reshape(-1, growth)
        kernels.bottleneck(X, c, gamma1, beta1, *s1, eps, w1, U, chunk, halves, scratch, part, count)
        if training:
            kernels.merge(part, of_rows, width, sums, *s2, 0)
        kernels.grow(U, gamma2, beta2, *s2, eps, w2, X, c, H, W, N, group, scratch, part, count)
        if training:
            kernels.merge(part, of_images, growth, sums, mean, var, c)
    y, us = _images(X, N, H, W), tuple(_images(u, N, H, W) for u in hidden if training)  # (3), (1)
    return y, Cache(y, parameters, us, mean, var, means, variances, statistics, float(eps))


def _blocks(total: int, size: int) -> np.ndarray:
    """The sizes of the blocks of `total` things."""
    starts = np.arange(0, total, size)
    return np.minimum(size, total - starts)


def images_of_task(N: int, size: int, count: int) -> int:
    """How many images of so many bytes a task takes: as fit into its cache, in a multiple of `count` tasks."""
    tasks = -(-N // max(1, IMAGES_BYTES // size))
    return -(-N // (-(-tasks // count) * count))


def _suits(x, parameters, width: int, growth: int) -> bool:
    same = all(p.shape[-1] in (width, growth) or p.ndim == 1 for p in parameters)
    floats = all(a.dtype == "float32" for a in (x, *parameters))
    return same and floats and not (x.shape[3] % LANES or width % LANES or growth % LANES)


def _images(X: Array, N: int, H: int, W: int) -> Array:
    """The rows (H, W, N) of a buffer as images (N, H, W, channels), without a copy."""
    return X.reshape(H, W, N, -1).transpose(2, 0, 1, 3)


def backward(dy: Array, cache: Cache):
    """As the definition, after a call that took the statistics of the batch."""
    y, parameters, hidden, mean, var, means, variances, statistics, eps = cache
    checks.upstream("dense_block", dy, y.shape)
    (N, H, W, channels), width, growth = y.shape, parameters[3].shape[0], parameters[5].shape[3]
    C = channels - growth * len(hidden)
    if statistics or dy.dtype != "float32" or not _suits(y[..., :C], parameters, width, growth):
        return NotImplemented
    dy = dy if dy.strides[3] == 4 else np.ascontiguousarray(dy)
    p, count, rows = tuple(map(np.ascontiguousarray, parameters)), threads.count(), H * W * N
    group, chunk = images_of_task(N, H * W * width * 4, 1), min(rows, BACK_CHUNK)
    pixels, most = H * W * group, backward_kernels.MOST_CHANNELS
    scratch = backend.empty((count, most * (2 + max(9 * growth + 2 * pixels, width + 2 * chunk)) + pixels * growth))
    X, dU, D, G = _rows(y), *(backend.empty((rows, n)) for n in (width, growth, channels))
    D[:] = _rows(dy[..., -growth:])
    kernels.enter(dy, G, CHUNK, np.empty(0, "float32"), count)
    late, sums = np.zeros((2, channels), "float32"), np.empty((2, max(channels, width)))
    work = np.empty((3, max(channels, width)), "float32")
    gradients: list[Array] = []
    for k in reversed(range(len(hidden))):
        gamma1, beta1, w1, gamma2, beta2, w2 = p[6 * k : 6 * k + 6]
        of_layer = [backend.empty(a.shape) for a in p[6 * k : 6 * k + 6]]
        dgamma1, dbeta1, dw1, dgamma2, dbeta2, dw2 = of_layer
        out = _images(D, N, H, W) if k else backend.empty((N, H, W, C))
        w1, dw1, w2, dw2 = (a.reshape(-1, a.shape[3]) for a in (w1, dw1, w2, dw2))
        backward_kernels.through_second(
            D, _rows(hidden[k]), H, W, N, group, gamma2, beta2, means[k], variances[k], eps, w2, dw2, dgamma2, dbeta2,
            dU, work, sums, scratch, count,
        )  # fmt: skip
        backward_kernels.through_first(
            X, G, C + k * growth, N, gamma1, beta1, mean, var, eps, w1, dw1, dgamma1, dbeta1, dU, late, work, sums,
            chunk, scratch, out, count,
        )  # fmt: skip
        gradients = of_layer + gradients  # (6)
    return out, *gradients


def _rows(x: Array) -> Array:
    """Images as rows (H, W, N), contiguous; a copy unless they lie so already."""
    return np.ascontiguousarray(x.transpose(1, 2, 0, 3)).reshape(-1, x.shape[3])
