"""What follows a convolution or a linear layer: activation, batch norm, zero padding, pooling, dropout, in one pass.

Forward.  x is (N, H, W, C), or (N, C) where nothing is padded or pooled.  Each part may be absent, see `parts.Spec`,
and is then the identity.  With φ the activation (equation 1 of `relu`, `leaky_relu` or `prelu`), B batch norm (1-5 of
`batch_norm`, or 1-3 of `batch_norm_inference` where statistics are given), Z the zeros around an image (1 of
`zero_pad2d`), P the pooling (1-2 of `max_pool2d`, 1 of `avg_pool2d`) and s the mask of dropout (1 there):

    h = B(φ(x)) with norm "after", φ(B(x)) with norm "before"                            (1)
    y = s P(Z(h))                                                                        (2)

Backward.  The chain rule through (2) and (1); each factor is the backward of the op of that name:

    dh = Zᵀ Pᵀ (s dy)                                                                    (3)
    dx = φ'ᵀ B'ᵀ dh with norm "after", B'ᵀ φ'ᵀ dh with norm "before"                     (4)

dα is that of `prelu`, dγ and dβ those of batch norm, each for the gradient that reaches it in (4).

Memory.  The cache holds x, which exists already, the statistics of the batch, and max pooling's argmax in bytes.  h and
s are computed again in backward.  B(x) has the same bits whether its statistics are found or given.
"""

from typing import Any, NamedTuple

from minicnn.backend import Array
from minicnn.dispatch import accelerated
from minicnn.ops import (
    avg_pool2d,
    batch_norm,
    batch_norm_inference,
    checks,
    dropout,
    leaky_relu,
    max_pool2d,
    prelu,
    relu,
    zero_pad2d,
)
from minicnn.ops.parts import NOWHERE, Spec, check


class Cache(NamedTuple):
    x: Array
    alpha: Array | None
    gamma: Array | None
    beta: Array | None  # with norm "before", the sign of B(x) depends on it
    mean: Array | None
    var: Array | None  # biased
    argmax: Array | None  # max_pool2d's
    windows: Any  # the pooling's Windows, or None
    spec: Spec
    key: int
    batch_statistics: bool


@accelerated("numba")
def forward(
    x: Array, alpha=None, gamma=None, beta=None, mean=None, var=None, *, spec: Spec, key: int = 0
) -> tuple[Array, Cache]:
    """y by (1) and (2).  alpha as `prelu`'s; gamma, beta (C,) with a norm; mean, var (C,) for inference, None for the
    batch's own (then cache.mean, cache.var); key is dropout's.  ValueError where a part is unknown or lacks its arrays.
    """
    check(x, spec, alpha, mean, var, gamma=gamma, beta=beta)
    cache = Cache(x, alpha, gamma, beta, mean, var, None, None, spec, key, spec.norm != "none" and mean is None)
    y, steps = _stem(cache)  # (1)
    if found := steps.get(batch_norm):
        cache = cache._replace(mean=found.mean, var=found.var)
    if spec.margins != NOWHERE:
        y, _ = zero_pad2d.forward(y, padding=spec.margins)  # (2)
    if spec.pool == "max":
        y, pooled = max_pool2d.forward(y, **spec.pooling())  # (2)
        cache = cache._replace(argmax=pooled.argmax, windows=pooled.windows)
    elif spec.pool == "avg":
        y, pooled = avg_pool2d.forward(y, **spec.pooling())  # (2)
        cache = cache._replace(windows=pooled.windows)
    if spec.p:
        y, _ = dropout.forward(y, p=spec.p, rng=key, channelwise=spec.channelwise)  # (2)
    return y, cache


@accelerated("numba")
def backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None, Array | None, None, None]:
    """(dx, dalpha, dgamma, dbeta, None, None) from dy = ∂L/∂y; None where there was no such array."""
    x, spec, windows = cache.x, cache.spec, cache.windows
    padded = spec.padded(x.shape)
    shape = (padded[0], *windows.out, padded[3]) if windows else padded
    checks.upstream("epilogue", dy, shape)
    d = dy
    if spec.p:
        (d,) = dropout.backward(d, dropout.Cache(cache.key, float(spec.p), spec.channelwise, shape))  # (3)
    if spec.pool == "max":
        (d,) = max_pool2d.backward(d, max_pool2d.Cache(cache.argmax, windows))  # (3)
    elif spec.pool == "avg":
        (d,) = avg_pool2d.backward(d, avg_pool2d.Cache(windows, spec.count_include_pad, shape))  # (3)
    if spec.margins != NOWHERE:
        sides = spec.margins[:2], spec.margins[2:]
        (d,) = zero_pad2d.backward(d, zero_pad2d.Cache(*sides, padded, x.dtype.name))  # (3)
    found: dict[Any, Any] = {}
    for op, step in reversed(_stem(cache)[1].items()):
        d, *found[op] = op.backward(d, step)  # (4)
    (dalpha,) = found.get(prelu) or (None,)
    dgamma, dbeta = found.get(batch_norm) or found.get(batch_norm_inference) or (None, None)
    return d, dalpha, dgamma, dbeta, None, None


def _stem(c: Cache) -> tuple[Array, dict[Any, Any]]:
    """h of (1), and op -> cache of its steps, in order."""
    h, steps = c.x, {}
    for part in {"none": "a", "before": "na", "after": "an"}[c.spec.norm]:
        if part == "n" and c.mean is None:
            h, steps[batch_norm] = batch_norm.forward(h, c.gamma, c.beta, eps=c.spec.eps)
        elif part == "n":
            h, step = batch_norm_inference.forward(h, c.gamma, c.beta, c.mean, c.var, eps=c.spec.eps)
            steps |= {batch_norm: batch_norm.Cache(*step)} if c.batch_statistics else {batch_norm_inference: step}
        elif c.spec.activation == "relu":
            h, steps[relu] = relu.forward(h)
        elif c.spec.activation == "leaky_relu":
            h, steps[leaky_relu] = leaky_relu.forward(h, slope=c.spec.slope)
        elif c.spec.activation == "prelu":
            h, steps[prelu] = prelu.forward(h, c.alpha)
    return h, steps
