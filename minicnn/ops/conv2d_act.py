"""Convolution, a scale and a shift for each output channel, and a rectifier, in one pass.

Forward.  With q = x * w the convolution without bias, (1) of `conv2d`, s (O,) or absent (1), b (O,) or absent (0), and
φ the identity, `relu` or `leaky_relu` with a slope a > 0:

    z[n,u,v,o] = s[o] q[n,u,v,o] + b[o]                                                  (1)
    y = φ(z)                                                                             (2)

s and b serve inference: batch norm with given statistics is affine, so after a convolution with bias c it is (1) with

    s = γ r,   b = β + (c − μ) s,   r = (σ² + ε)^(−1/2)                                  (3)

Backward.  As a > 0, y > 0 exactly where z > 0, so y tells φ' and z may go:

    dz = dy where y > 0, else 0, a dy or, without φ, dy                                  (4)

b enters z as it does in `conv2d`, and s w stands there for w.  Let G = Xᵀ dZ be what (5) of `conv2d` makes of dz.  With
z = X W s, where X does not depend on w and s:

    dw[k,o] = s[o] G[k,o]                                                                (5)
    ds[o]   = Σ_m dz[m,o] Σ_k X[m,k] W[k,o] = Σ_k W[k,o] G[k,o]                          (6)
    db[o]   = Σ_m dz[m,o],   dx = col2im(dZ (W s)ᵀ)                                      (7)
"""

from typing import Any, NamedTuple

from minicnn.backend import Array
from minicnn.dispatch import accelerated
from minicnn.ops import checks, conv2d, leaky_relu, relu

ACTIVATIONS = ("none", "relu", "leaky_relu")


class Cache(NamedTuple):
    conv: Any  # conv2d's Cache
    scale: Array | None
    y: Array
    activation: str
    slope: float


@accelerated("numba")
def forward(
    x: Array,
    w: Array,
    b: Array | None = None,
    scale: Array | None = None,
    *,
    activation: str = "none",
    slope: float = 0.01,
    stride: checks.Size = 1,
    padding: checks.Size = 0,
    dilation: checks.Size = 1,
    groups: int = 1,
) -> tuple[Array, Cache]:
    """y by (1) and (2) from x, w, b as `conv2d` takes them and scale (O,) or None; activation is "none", "relu" or
    "leaky_relu".  ValueError for another one, for slope <= 0, and where shapes do not fit."""
    check(w, scale, activation, slope)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y, conv = conv2d.forward(x, w if scale is None else w * scale, b, **options)  # (1)
    if activation == "relu":
        y, _ = relu.forward(y)  # (2)
    elif activation == "leaky_relu":
        y, _ = leaky_relu.forward(y, slope=slope)  # (2)
    return y, Cache(conv._replace(w=w), scale, y, activation, float(slope))


@accelerated("numba")
def backward(
    dy: Array, cache: Cache, *, input_gradient: bool = True
) -> tuple[Array | None, Array, Array | None, Array | None]:
    """(dx, dw, db, dscale) from dy = ∂L/∂y; None where there was no such array, dx also without input_gradient."""
    conv, scale, y, activation, slope = cache
    checks.upstream("conv2d_act", dy, y.shape)
    dz = dy
    if activation == "relu":
        (dz,) = relu.backward(dy, relu.Cache(y))  # (4)
    elif activation == "leaky_relu":
        (dz,) = leaky_relu.backward(dy, leaky_relu.Cache(y, slope))  # (4)
    w = conv.w
    scaled = conv if scale is None else conv._replace(w=w * scale)
    dx, G, db = conv2d.backward(dz, scaled, input_gradient=input_gradient)  # (7)
    if scale is None:
        return dx, G, db, None
    dscale = (w * G).sum((0, 1, 2), dtype="float64").astype(scale.dtype)  # (6)
    return dx, (G * scale).astype(w.dtype, copy=False), db, dscale  # (5)


def check(w: Array, scale: Array | None, activation: str, slope: float) -> None:
    """The activation is known, and there is a scale for each channel of y."""
    if activation not in ACTIVATIONS or (activation == "leaky_relu" and not slope > 0):
        raise ValueError(
            f"conv2d_act: activation is {activation!r} with slope {slope}, wanted one of {', '.join(ACTIVATIONS)} and "
            "a slope above 0"
        )
    checks.floating("conv2d_act", scale=scale)
    if scale is not None and scale.shape != w.shape[3:]:
        raise ValueError(f"conv2d_act: scale has shape {scale.shape}, wanted {w.shape[3:]}, one for each channel of y")
