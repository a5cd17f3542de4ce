"""The losses: `loss(prediction, target)` is a number, `loss.backward()` the gradient of the last one."""

from types import ModuleType
from typing import Any

from minicnn.backend import Array
from minicnn.ops import binary_cross_entropy, cross_entropy, mse


class Loss:
    """Calls `op` with `options`, and keeps the cache of its last call."""

    op: ModuleType

    def __init__(self, **options: Any):
        self.options, self._cache = options, None

    def __call__(self, prediction: Array, target: Array) -> Any:
        """The loss as a float; an array (N,) with reduction "none"."""
        loss, self._cache = self.op.forward(prediction, target, **self.options)
        return loss if loss.ndim else float(loss)

    def backward(self, dloss: Any = 1.0) -> Array:
        """∂L/∂prediction of the last call, times dloss; RuntimeError before the first."""
        if self._cache is None:
            raise RuntimeError(f"{type(self).__name__}.backward: call the loss on a prediction and a target first")
        return self.op.backward(dloss, self._cache)[0]

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.options.items() if v is not None)
        return f"{type(self).__name__}({shown})"


class CrossEntropyLoss(Loss):
    """`ops.cross_entropy` of logits (N, K) and classes (N,) or distributions (N, K)."""

    op = cross_entropy

    def __init__(self, weight: Array | None = None, label_smoothing: float = 0.0, reduction: str = "mean"):
        super().__init__(weight=weight, label_smoothing=label_smoothing, reduction=reduction)


class MSELoss(Loss):
    """`ops.mse`: the mean squared error."""

    op = mse

    def __init__(self, reduction: str = "mean"):
        super().__init__(reduction=reduction)


class BCEWithLogitsLoss(Loss):
    """`ops.binary_cross_entropy` of logits and probabilities of the same shape."""

    op = binary_cross_entropy

    def __init__(self, reduction: str = "mean"):
        super().__init__(reduction=reduction)
