"""Convolution and linear layers, each with the epilogue that follows it."""

import functools
import sys
from typing import Any, NamedTuple

from minicnn import nn
from minicnn.backend import Array
from minicnn.dispatch import fast
from minicnn.nn import Module
from minicnn.ops import checks, conv2d, conv2d_act, linear
from minicnn.ops.epilogue import Spec
from minicnn.ops.zero_pad2d import margins
from minicnn.plan.epilogue import EpilogueStep, does_no_more_than_activate, is_identity, named
from minicnn.plan.step import Named, Step


def takes_in(pad: Any, conv: Module) -> bool:
    """Whether the zeros that pad puts around an image may be the convolution's own padding."""
    (top, bottom), (left, right) = margins(pad.options["padding"])
    return type(conv) is nn.Conv2d and top == bottom and left == right


class LinearStep(Step):
    """A linear layer and an epilogue, if one follows."""

    def __init__(self, layer: Named, after: EpilogueStep | None):
        super().__init__([layer, *(after.layers if after else ())])
        self.linear: Any = layer[1]
        self.after = after

    def forward(self, x: Array) -> tuple[Array, Any]:
        bias = self.linear.bias
        y, cache = linear.forward(x, self.linear.weight.data, bias and bias.data)
        y, rest = self.after.forward(y) if self.after else (y, None)
        return y, [cache, rest]

    def gradient(self, dy: Array, cache: Any, input_gradient: bool = True) -> Array | None:
        rest: Any = cache.pop()  # which may go before the product's own backward needs memory
        d: Any = self.after.gradient(dy, rest) if self.after else dy
        del rest
        dx, dw, db = linear.backward(d, cache.pop(), input_gradient=input_gradient)
        self.linear.weight.accumulate(dw)
        if self.linear.bias:
            self.linear.bias.accumulate(db)
        return dx

    def computes(self) -> str:
        spec = self.after.spec() if self.after else Spec()
        return "linear" if is_identity(spec) else f"linear + {named(spec)}"


class Fold(NamedTuple):
    """A batch norm with given statistics as the scale and shift of `conv2d_act`, by (3) there:

        s = γ r,   b = β + (c − μ) s                                                     (1)

    with c the convolution's own bias.  From ds and db, which that op gives, the chain rule makes

        dγ = r (ds + (c − μ) db),   dβ = db,   dc = s db                                 (2)
    """

    inv_std: Array  # r
    deviation: Array  # c − μ
    scale: Array
    shift: Array

    @classmethod
    def of(cls, norm: Any, bias: Any) -> "Fold":
        """That of norm after a convolution with this bias or None."""
        inv_std = (norm.running_var + float(norm.eps)) ** -0.5
        deviation = (bias.data if bias else 0) - norm.running_mean
        scale = norm.weight.data * inv_std  # (1)
        return cls(inv_std, deviation, scale, norm.bias.data + deviation * scale)  # (1)


class Share(NamedTuple):
    """What a convolution computes of the epilogue behind it, and what it leaves."""

    activation: str
    folds: bool  # the batch norm
    rest: Spec

    @classmethod
    @functools.lru_cache(1024)
    def of(cls, spec: Spec, folds: bool) -> "Share":
        """That of an epilogue, whose batch norm folds."""
        rest = spec._replace(norm="none") if folds else spec
        takes = rest.activation == "relu" or (rest.activation == "leaky_relu" and rest.slope > 0)
        if takes and does_no_more_than_activate(rest):
            return cls(rest.activation, folds, rest._replace(activation="none"))
        return cls("none", folds, rest)


class ConvStep(Step):
    """Zero padding, if it is even, a convolution, and an epilogue, if one follows.

    A rectifier with nothing behind it is computed with the convolution, and so is a batch norm with given statistics.
    """

    def __init__(self, pad: Named | None, layer: Named, after: EpilogueStep | None):
        super().__init__([*([pad] if pad else ()), layer, *(after.layers if after else ())])
        self.conv: Any = layer[1]
        self.pad: Any = pad and pad[1]
        self.after = after

    def options(self) -> dict[str, Any]:
        """The keyword arguments of conv2d, the zero-pad layer's margins among the padding."""
        options = self.conv.options
        if self.pad is None:
            return options
        ph, pw = checks.pair("conv2d", "padding", options["padding"], least=0)
        (top, _), (left, _) = margins(self.pad.options["padding"])
        return options | {"padding": (ph + top, pw + left)}

    def share(self) -> Share:
        """In the mode the layers are in."""
        if self.after is None:
            return Share("none", False, Spec())
        spec, norm = self.after.spec(), self.after.parts.norm
        return Share.of(spec, spec.norm == "before" and type(norm) is nn.BatchNorm2d and not norm.training)

    def forward(self, x: Array) -> tuple[Array, Any]:
        share = self.share()
        weight, bias = self.conv.weight.data, self.conv.bias and self.conv.bias.data
        fold = Fold.of(self.after.parts.norm, self.conv.bias) if self.after and share.folds else None
        if fold is None and share.activation == "none":
            y, cache = conv2d.forward(x, weight, bias, **self.options())
        else:
            scale, bias = (fold.scale, fold.shift) if fold else (None, bias)
            parts = {"activation": share.activation, "slope": share.rest.slope}
            y, cache = conv2d_act.forward(x, weight, bias, scale, **parts, **self.options())
        y, rest = self.after.run(y, share.rest) if self.after else (y, None)
        return y, [cache, fold, rest]

    def gradient(self, dy: Array, cache: Any, input_gradient: bool = True) -> Array | None:
        rest: Any = cache.pop()  # which may go before the convolution's own backward needs memory
        d: Any = self.after.gradient(dy, rest) if self.after else dy
        del rest
        conv, fold = cache
        cache.clear()
        if isinstance(conv, conv2d.Cache):
            dx, dw, db = conv2d.backward(d, conv, input_gradient=input_gradient)
        else:
            dx, dw, db, dscale = conv2d_act.backward(d, conv, input_gradient=input_gradient)
            db = self._unfold(fold, db, dscale) if fold else db
        self.conv.weight.accumulate(dw)
        if self.conv.bias:
            self.conv.bias.accumulate(db)
        return dx

    def _unfold(self, fold: Fold, db: Any, dscale: Any) -> Array:
        """The gradient of the convolution's bias; adds to those of the batch norm's parameters."""
        norm: Any = self.after and self.after.parts.norm
        norm.weight.accumulate(fold.inv_std * (dscale + fold.deviation * db))  # (2)
        norm.bias.accumulate(db)  # (2)
        return fold.scale * db  # (2)

    def computes(self) -> str:
        share = self.share()
        parts = [*(["scale"] if share.folds else ()), *([share.activation] if share.activation != "none" else ())]
        product = f"conv2d_act({', '.join(parts)})" if parts else "conv2d"
        return product if is_identity(share.rest) else f"{product} + {named(share.rest)}"

    def algorithm(self, x_shape: tuple[int, ...]) -> str:
        """That of the forward pass, of dx and of dw; one word where all are the same."""
        if "numba" not in conv2d.forward.kinds or not fast():
            return "im2col"
        explain = getattr(sys.modules[conv2d.forward.sibling("numba").__module__], "explain", None)
        found = explain(x_shape, self.conv.weight.shape, **self.options()) if explain else {}
        return " / ".join(found.values() if len({*found.values()}) > 1 else {*found.values()})
