"""Which parts an `epilogue` has, and what shapes follow from them."""

from typing import Any, NamedTuple

from minicnn.backend import Array
from minicnn.ops import checks
from minicnn.ops.windows import Pair

NOWHERE = (0, 0, 0, 0)
CHOICES = {
    "activation": ("none", "relu", "leaky_relu", "prelu"),
    "norm": ("none", "before", "after"),
    "pool": ("none", "max", "avg"),
}


class Spec(NamedTuple):
    """What stands between x and y; by default nothing."""

    activation: str = "none"  # "relu", "leaky_relu", "prelu"
    slope: float = 0.01  # of leaky_relu
    norm: str = "none"  # batch norm "before" or "after" the activation
    eps: float = 1e-5
    margins: tuple[int, int, int, int] = NOWHERE  # zeros at the top, bottom, left, right: pooling sees values in them
    pool: str = "none"  # "max", "avg"
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)  # the pooling op's own
    ceil_mode: bool = False
    count_include_pad: bool = True
    p: float = 0.0  # of dropout; 0 is none
    channelwise: bool = False

    def pooling(self) -> dict[str, Any]:
        """The keyword arguments of the pooling op."""
        options = {
            "kernel_size": self.kernel,
            "stride": self.stride,
            "padding": self.padding,
            "ceil_mode": self.ceil_mode,
        }
        return options | ({"count_include_pad": self.count_include_pad} if self.pool == "avg" else {})

    def padded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of x with its margins."""
        if self.margins == NOWHERE:
            return shape
        (N, H, W, C), (top, bottom, left, right) = shape, self.margins
        return N, top + H + bottom, left + W + right, C


def check(x: Array, spec: Spec, alpha: Array | None, mean: Array | None, var: Array | None, **norm: Any) -> None:
    """Every part is known, and has the arrays it needs and no others; of norm, that is gamma and beta."""
    checks.floating("epilogue", x=x)
    for name, known in CHOICES.items():
        if getattr(spec, name) not in known:
            raise ValueError(f"epilogue: {name} is {getattr(spec, name)!r}, wanted one of {', '.join(known)}")
    wanted = {"alpha": (alpha, spec.activation == "prelu")} | {k: (v, spec.norm != "none") for k, v in norm.items()}
    for name, (value, needed) in wanted.items():
        if needed != (value is not None):
            came, want = ("None", "an array") if needed else ("given", "None")
            raise ValueError(f"epilogue: {name} is {came}, wanted {want} with {spec}")
    if (mean is None) != (var is None) or (mean is not None and spec.norm == "none"):
        raise ValueError("epilogue: mean and var go together, and with a norm")
