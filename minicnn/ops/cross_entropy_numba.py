"""The CPU kernel of `cross_entropy`: one launch, on one thread, for logits are few."""

import numpy as np

from minicnn import simd
from minicnn.backend import FLOAT32, Array, empty
from minicnn.ops import cross_entropy
from minicnn.ops.cross_entropy import Cache
from minicnn.ops.rows_of_scores import log_of_softmax
from minicnn.simd import array, f32, i64, vector_in, vector_out
from minicnn.simd.compile import f64


def forward(
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> tuple[Array, Cache]:
    """See `cross_entropy.forward`."""
    cross_entropy._check(logits, target, weight, label_smoothing, reduction)
    if logits.dtype != FLOAT32:
        return NotImplemented
    (N, K), hard = logits.shape, target.ndim == 1
    labels = np.ascontiguousarray(target, "int64") if hard else np.empty(0, "int64")
    soft = np.ascontiguousarray(target.reshape(-1), "float32") if not hard else np.empty(0, "float32")
    w = np.ones(K, "float32") if weight is None else np.ascontiguousarray(weight, "float32")
    log_p, q, losses, sums = empty((N, K)), empty((N, K)), empty((N,)), np.zeros(2)
    z = np.ascontiguousarray(logits).reshape(-1)
    _forward(z, labels, soft, w, label_smoothing, K, log_p.reshape(-1), q.reshape(-1), losses, sums)
    divisor = 1.0
    if reduction == "mean":
        divisor = sums[1].astype("float32") if hard else float(N)  # (4)
    return losses if reduction == "none" else sums[0].astype("float32") / divisor, Cache(log_p, q, divisor)  # (4)


@simd.kernel(
    (vector_in, array(1, i64), vector_in, vector_in, f32, i64, *[vector_out] * 3, array(1, f64, writable=True))
)
def _forward(z, labels, soft, w, smoothing, K, log_p, q, losses, sums):
    for n in range(len(losses)):
        log_of_softmax(z, log_p, n * K, K)  # (1)
        loss = np.float32(0)
        for i in range(n * K, (n + 1) * K):
            k = i - n * K
            t = soft[i] if len(soft) else np.float32(labels[n] == k)
            q[i] = w[k] * ((np.float32(1) - smoothing) * t + smoothing / np.float32(K))  # (2)
            loss -= q[i] * log_p[i]  # (3)
        losses[n] = loss
        sums[0] += loss
        sums[1] += w[labels[n]] if len(labels) else 0.0
