"""Which layers in a row are one `ops.epilogue`, and the step that calls it.

That op knows one order: batch norm and activation, either first; zero padding; pooling; dropout.  Other orders of the
same parts come down to it.  For s >= 0 that is constant over a map z of one channel,

    max_ij s z_ij = s max_ij z_ij,   max(s z, 0) = s max(z, 0)                           (1)
    max(max_ij z_ij, 0) = max_ij max(z_ij, 0)                                            (2)

so dropout of channels moves behind max pooling, the rectifier in front of any dropout and of max pooling, and zeros
around the image change nothing in either.  Gradients stay the same: where s > 0 and the maximum is positive, the same
first tap attains it on both sides; elsewhere both are 0.  (Where s is no power of 2, rounding may make a tie of two
taps that lie an ulp apart.)  The mask stays the same, for it depends on the key, the batch and the channels alone.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from minicnn import nn
from minicnn.backend import Array
from minicnn.nn import Module
from minicnn.ops import checks, epilogue
from minicnn.ops.dropout import draw_key
from minicnn.ops.epilogue import Spec
from minicnn.ops.zero_pad2d import margins
from minicnn.plan.step import Named, Step

ACTIVATIONS = {nn.ReLU: "relu", nn.LeakyReLU: "leaky_relu", nn.PReLU: "prelu"}
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
POOLS = {nn.MaxPool2d: "max", nn.AvgPool2d: "avg"}
DROPOUTS = (nn.Dropout, nn.Dropout2d)


class Parts(NamedTuple):
    """The layers of one epilogue, by what they are; None where there is none."""

    activation: Any = None
    norm: Any = None
    pad: Any = None
    pool: Any = None
    dropout: Any = None
    norm_first: bool = False

    def taking(self, layer: Module, following: Module | None) -> "Parts | None":
        """These parts and layer after them, as one epilogue; None where that is not one."""
        kind = type(layer)
        begun = self.pad or self.pool or self.dropout
        of_channels = type(self.dropout) is nn.Dropout2d
        if kind in ACTIVATIONS and not self.activation:
            behind = kind is nn.ReLU and type(self.pool) is not nn.AvgPool2d  # (1) (2)
            return self._replace(activation=layer, norm_first=bool(self.norm)) if behind or not begun else None
        if kind in NORMS and not self.norm and not begun:
            return self._replace(norm=layer, norm_first=not self.activation)
        if kind is nn.ZeroPad2d and not self.pad and not self.pool and type(following) in POOLS:
            fits = not self.dropout or (of_channels and type(following) is nn.MaxPool2d)  # (1)
            return self._replace(pad=layer) if fits else None
        if kind in POOLS and not self.pool:
            fits = not self.dropout or (of_channels and kind is nn.MaxPool2d)  # (1)
            return self._replace(pool=layer) if fits else None
        if kind in DROPOUTS and not self.dropout:
            return self._replace(dropout=layer)
        return None

    def spec(self) -> Spec:
        """What the op computes, but for the numbers slope, eps and p."""
        spec = Spec(activation=ACTIVATIONS.get(type(self.activation), "none"))
        if self.norm:
            spec = spec._replace(norm="before" if self.norm_first else "after")
        if self.pad:
            rows, columns = margins(self.pad.options["padding"])
            spec = spec._replace(margins=(*rows, *columns))
        if self.dropout:
            spec = spec._replace(channelwise=self.dropout.channelwise)
        return _pooling(spec, POOLS[type(self.pool)], self.pool.options) if self.pool else spec


def _pooling(spec: Spec, pool: str, options: dict[str, Any]) -> Spec:
    op = f"{pool}_pool2d"
    kernel = checks.pair(op, "kernel_size", options["kernel_size"], least=1)
    stride = kernel if options["stride"] is None else checks.pair(op, "stride", options["stride"], least=1)
    return spec._replace(
        pool=pool,
        kernel=kernel,
        stride=stride,
        padding=checks.pair(op, "padding", options["padding"], least=0),
        ceil_mode=bool(options["ceil_mode"]),
        count_include_pad=options.get("count_include_pad", True),
    )


def take(layers: Sequence[Named], start: int) -> tuple["EpilogueStep | None", int]:
    """The longest epilogue that begins at layers[start], None where there is none, and where the next step begins."""
    parts, end = Parts(), start
    while end < len(layers):
        following = layers[end + 1][1] if end + 1 < len(layers) else None
        more = parts.taking(layers[end][1], following)
        if more is None:
            break
        parts, end = more, end + 1
    return (EpilogueStep(layers[start:end], parts) if end > start else None), end


def is_identity(spec: Spec) -> bool:
    """Whether nothing is left to do."""
    return does_no_more_than_activate(spec) and spec.activation == "none"


def does_no_more_than_activate(spec: Spec) -> bool:
    """Whether there is an activation at most."""
    return (spec.norm, spec.pool, spec.p, any(spec.margins)) == ("none", "none", 0, False)


class EpilogueStep(Step):
    """Activation, batch norm, zero padding, pooling, dropout, or some of them, by `ops.epilogue`."""

    def __init__(self, layers: Sequence[Named], parts: Parts):
        super().__init__(layers)
        self.parts, self._spec = parts, parts.spec()

    def spec(self) -> Spec:
        """What the op computes now: the layers' numbers may change, and dropout ends with training."""
        activation, norm, dropout = self.parts.activation, self.parts.norm, self.parts.dropout
        slope = float(activation.options["slope"]) if self._spec.activation == "leaky_relu" else 0.0
        eps = float(norm.eps) if norm else 0.0
        p = float(dropout.p) if dropout and dropout.training else 0.0
        return _with_numbers(self._spec, slope, eps, p)

    def forward(self, x: Array) -> tuple[Array, Any]:
        return self.run(x, self.spec())

    def run(self, x: Array, spec: Spec) -> tuple[Array, Any]:
        """(y, cache) of what spec leaves to do of it."""
        if is_identity(spec):
            return x, None
        alpha = self.parts.activation.weight.data if spec.activation == "prelu" else None
        norm: Any = self.parts.norm if spec.norm != "none" else None
        if norm is not None and x.ndim not in norm.ndims:
            norm.forward(x)  # says so
        scale, shift = (norm.weight.data, norm.bias.data) if norm is not None else (None, None)
        given = norm is not None and not norm.training
        statistics = (norm.running_mean, norm.running_var) if given else (None, None)
        key = draw_key(self.parts.dropout.rng) if spec.p else 0
        y, cache = epilogue.forward(x, alpha, scale, shift, *statistics, spec=spec, key=key)
        if norm is not None and not given:
            norm.observe(cache.mean, cache.var, x.size // x.shape[-1])
        return y, cache

    def gradient(self, dy: Array, cache: Any, input_gradient: bool = True) -> Array | None:
        if cache is None:
            return dy
        dx, dalpha, dgamma, dbeta, _, _ = epilogue.backward(dy, cache)
        for owner, name, gradient in (
            (self.parts.activation, "weight", dalpha),
            (self.parts.norm, "weight", dgamma),
            (self.parts.norm, "bias", dbeta),
        ):
            if gradient is not None:
                getattr(owner, name).accumulate(gradient)
        return dx

    def computes(self) -> str:
        return named(self.spec())


@functools.lru_cache(1024)
def _with_numbers(spec: Spec, slope: float, eps: float, p: float) -> Spec:
    return spec._replace(slope=slope, eps=eps, p=p)


def named(spec: Spec) -> str:
    """The op and its parts in the order they are computed."""
    stem = [spec.activation]
    stem.insert(0 if spec.norm == "before" else 1, "batch_norm" if spec.norm != "none" else "none")
    pool = f"{spec.pool}_pool2d {spec.kernel[0]}x{spec.kernel[1]}" if spec.pool != "none" else "none"
    pad = "zero_pad2d" if any(spec.margins) else "none"
    drop = "none" if not spec.p else "dropout of channels" if spec.channelwise else "dropout"
    parts = [part for part in (*stem, pad, pool, drop) if part != "none"]
    return f"epilogue({', '.join(parts)})" if parts else "nothing"
