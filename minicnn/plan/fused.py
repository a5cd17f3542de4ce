"""The fused model."""

from collections.abc import Iterator
from typing import Any

from minicnn.backend import Array
from minicnn.nn import Module
from minicnn.nn.module import Kind
from minicnn.nn.tape import SPENT, recorded
from minicnn.plan.chain import Builder, backward
from minicnn.plan.table import Table, tabulate


def fuse(model: Module, input_shape: tuple[int, ...] | None = None) -> "Fused":
    """A model that gives what model gives, and its gradients, faster; it shares model's parameters, buffers and mode.

    print(fuse(model, input_shape)) shows its steps; input_shape has no batch axis, and may be left to the first call.
    Weights, modes and a layer's p, slope, eps or momentum may change afterwards.  Other sizes of a window, and a layer
    that is added, taken out or replaced, are not seen until the model is fused again.  While any layer has a forward
    hook, model itself runs.  TypeError for what is no Module.
    """
    if not isinstance(model, Module):
        raise TypeError(f"fuse: wanted a Module, got {type(model).__name__}")
    return model if isinstance(model, Fused) else Fused(model, input_shape)


class Fused(Module):
    """What `fuse` returns.  `source` is the model: state, parameters, mode and summary are the model's own."""

    def __init__(self, source: Module, input_shape: tuple[int, ...] | None = None):
        self.source, self.input_shape = source, input_shape
        self.body = Builder().fused(source)
        self._watched = tuple(source.modules())

    def forward(self, x: Array) -> tuple[Array, bool]:
        if self.input_shape is None:
            self.input_shape = x.shape[1:]
        watched = any(module._hooks for module in self._watched)
        return (self.source if watched else self.body)(x), watched

    def backward(self, dy: Array, input_gradient: bool = True) -> Array | None:
        """`Module.backward`; without input_gradient no step before the first that trains is gone through, for None."""
        tape = recorded(self)
        watched = tape.pop(self)
        dx = backward(self.source if watched else self.body, dy, input_gradient)
        if input_gradient:
            return dx
        tape.forget(SPENT)  # what the steps before it keep
        return None

    @property
    def training(self) -> bool:
        """The model's mode."""
        return self.source.training

    @training.setter
    def training(self, mode: bool) -> None:
        self.source.training = mode

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        return self.source.named_modules(prefix)

    def summary(self, input_shape: tuple[int, ...]):
        return self.source.summary(input_shape)

    def table(self) -> Table:
        """Each step, the layers it came from, its ops, its algorithm, its output and what it keeps for backward."""
        return tabulate(self)

    def __repr__(self) -> str:
        return repr(self.table())

    def _walk(self, path: str, seen: set[Module]) -> Iterator[tuple[str, Module]]:
        return self.source._walk(path, seen)

    def _held(self, kind: Kind) -> Iterator[tuple[str, Any]]:
        return self.source._held(kind)

    def __reduce__(self) -> tuple[Any, ...]:
        return fuse, (self.source, self.input_shape)
