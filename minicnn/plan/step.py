"""One or more neighbouring layers as one step."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minicnn.backend import Array
from minicnn.nn import Module
from minicnn.nn.module import Kind
from minicnn.nn.tape import recorded

Named = tuple[str, Module]  # a layer and its path in the model

# layers that are one step by themselves: type -> (path, layer) -> step
STEPS: dict[type[Module], Callable[[str, Module], "Step"]] = {}


class Step(Module):
    """Does what its layers do one after the other, on their parameters and buffers and in their modes.

    It owns nothing: the layers are not its children, and their numbers (p, eps, weights, mode) are read at each call.
    A subclass defines `forward(x) -> (y, cache)` and `gradient(dy, cache, input_gradient) -> dx`.
    """

    def __init__(self, layers: Sequence[Named]):
        self.layers = tuple(layers)

    @property
    def path(self) -> str:
        """The paths of its layers."""
        return ", ".join(path for path, _ in self.layers)

    def __call__(self, x: Array) -> Array:
        try:
            return super().__call__(x)
        except (ValueError, TypeError):
            for _, layer in self.layers:  # the one that fails says which it is
                x = layer(x)
            raise

    def gradient(self, dy: Array, cache: Any, input_gradient: bool = True) -> Array | None:
        """dx, or None without input_gradient; adds to the parameters' gradients."""
        raise NotImplementedError(f"{type(self).__name__} defines no gradient")

    def backward(self, dy: Array, input_gradient: bool = True) -> Array | None:
        """`Module.backward`; without input_gradient dx is not computed, and is None."""
        return self.gradient(dy, recorded(self).pop(self), input_gradient)

    def trains(self) -> bool:
        """Whether a gradient of a parameter is wanted."""
        return wants_gradient(layer for _, layer in self.layers)

    def computes(self) -> str:
        """The ops that run, in the mode the layers are in."""
        return " + ".join(type(layer).__name__ for _, layer in self.layers)

    def algorithm(self, x_shape: tuple[int, ...]) -> str:
        """How it is computed for inputs of this shape, where there is a choice."""
        return ""

    def one_line(self) -> str:
        return ", ".join(layer.one_line() for _, layer in self.layers)

    def _held(self, kind: Kind) -> Iterator[tuple[str, Any]]:
        return iter(())


def wants_gradient(modules: Any) -> bool:
    """Whether any of these has a parameter that is not frozen."""
    return any(p.requires_grad for module in modules for p in module.parameters())
