"""A block of densely connected layers: each sees the channels of all before it, and adds some of its own.

Forward (Huang et al. 2017, arXiv:1608.06993, equation 2, with bottleneck).  x₀ = x is (N, H, W, C).  For layers
k = 1..K with B¹, B² batch norm (1-5 of `batch_norm`, or `batch_norm_inference` where statistics are given), φ `relu`
and * the convolution (1) of `conv2d`, V one pixel large, W three by three with a margin of one zero:

    uₖ = φ(B¹ₖ(xₖ₋₁)) * Vₖ                                                               (1)
    fₖ = φ(B²ₖ(uₖ)) * Wₖ                                                                 (2)
    xₖ = [xₖ₋₁, fₖ],   y = x_K                                                           (3)

Backward.  Let dxₖ = ∂L/∂xₖ, so dx_K = dy.  By (3) its last channels are dfₖ, which go back through (2) and (1) with the
backwards of those ops, giving dz = ∂L/∂B¹ₖ(xₖ₋₁); the others reach xₖ₋₁ directly:

    dxₖ₋₁ = [dxₖ without its last channels] + (B¹ₖ)ᵀ dz                                  (4)

The kernel.  All xₖ are the first channels of y: one buffer, nothing is copied.  A channel's mean μ and variance σ² do
not depend on the layer that normalises it, so they are found once.  With A = γ r and B = −A r dγ/m of layer k, (13) of
`batch_norm` makes of the last term in (4)

    (B¹ₖ)ᵀ dz = A dz − A dβ/m + B (x − μ)                                                (5)

whose dγ and dβ are known only after all dz.  As x − μ is the same in each layer, a kernel adds A dz at once, the rest
when the channel's gradient is used, with sums over the layers k after the one that made it:

    dx = Σₖ Aₖ dzₖ − Σₖ Aₖ dβₖ/m + (x − μ) Σₖ Bₖ                                         (6)

Memory.  The cache holds y, the uₖ and the statistics; normalised and rectified values are computed again in backward.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from minicnn.backend import Array, array_module
from minicnn.dispatch import accelerated
from minicnn.ops import batch_norm, batch_norm_inference, checks, concat, conv2d, relu
from minicnn.ops.dense_parameters import check


class Cache(NamedTuple):
    y: Array
    parameters: tuple[Array, ...]
    hidden: tuple[Array, ...]  # the uₖ
    mean: Array  # (channels of y,): of the batch, as those that follow; var is biased
    var: Array
    hidden_mean: Array  # (layers, channels of uₖ)
    hidden_var: Array
    statistics: tuple[Array, ...] | None
    eps: float


@accelerated("numba")
def forward(
    x: Array, *parameters: Array, statistics: Sequence[Array] | None = None, eps: float = 1e-5
) -> tuple[Array, Cache]:
    """y (N, H, W, C + layers·growth) by (1)-(3) from x (N, H, W, C) and, layer by layer, gamma1, beta1 (channels so
    far,), w1 (1, 1, channels so far, width), gamma2, beta2 (width,), w2 (3, 3, width, growth).

    statistics: mean1, var1, mean2, var2 of each layer for inference, None for those of the batch, which are then in the
    cache.  ValueError where shapes do not fit, or a channel has fewer than 2 values to take a variance of.
    """
    layers, statistics = check(x, parameters, statistics)
    hidden, y, eps = [], x, float(eps)  # a NumPy float64 would make float32 arrays float64
    for k in range(layers):
        u, new, _ = _layer(y, parameters[6 * k : 6 * k + 6], statistics and statistics[4 * k : 4 * k + 4], eps)
        hidden.append(u)
        y, _ = concat.forward(y, new, axis=-1)  # (3)
    mean, var = _moments(y)
    means, variances = map(array_module(x).stack, zip(*map(_moments, hidden), strict=True))
    return y, Cache(y, parameters, tuple(hidden), mean, var, means, variances, statistics, eps)


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array, ...]:
    """(dx, and a gradient for each of the parameters) from dy = ∂L/∂y."""
    y, parameters, statistics, eps = cache.y, cache.parameters, cache.statistics, cache.eps
    checks.upstream("dense_block", dy, y.shape)
    gradients: list[Array] = []
    for k in reversed(range(len(parameters) // 6)):
        p = parameters[6 * k : 6 * k + 6]
        C = p[0].shape[0]
        _, _, caches = _layer(y[..., :C], p, statistics and statistics[4 * k : 4 * k + 4], eps)
        past, d = dy[..., :C], dy[..., C:]
        of_layer: list[Array] = []
        for op, step in reversed(caches):
            d, *more = op.backward(d, step)
            of_layer = [g for g in more if g is not None] + of_layer
        gradients = of_layer + gradients
        dy = past + d  # (4)
    return dy, *gradients


def _layer(x: Array, parameters: Sequence[Array], statistics: Sequence[Array] | None, eps: float):
    """u by (1), f by (2), and the (op, cache) of every step."""
    gamma1, beta1, w1, gamma2, beta2, w2 = parameters
    norm: Any = batch_norm_inference if statistics else batch_norm
    s1, s2 = (statistics[:2], statistics[2:]) if statistics else ((), ())
    z, a = norm.forward(x, gamma1, beta1, *s1, eps=eps)
    z, b = relu.forward(z)
    u, c = conv2d.forward(z, w1)  # (1)
    z, d = norm.forward(u, gamma2, beta2, *s2, eps=eps)
    z, e = relu.forward(z)
    f, g = conv2d.forward(z, w2, padding=1)  # (2)
    return u, f, [(norm, a), (relu, b), (conv2d, c), (norm, d), (relu, e), (conv2d, g)]


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel."""
    mean = x.mean((0, 1, 2), dtype="float64").astype(x.dtype)
    return mean, ((x - mean) ** 2).mean((0, 1, 2), dtype="float64").astype(x.dtype)
