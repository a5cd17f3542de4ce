"""A Sequential as steps, and any module with its parts fused."""

from collections.abc import Iterator, Sequence
from typing import Any

from minicnn import nn
from minicnn.backend import Array
from minicnn.nn import Module, Sequential
from minicnn.nn.module import BOOKKEEPING, Kind
from minicnn.nn.tape import recorded
from minicnn.plan.epilogue import take
from minicnn.plan.order import pooled_first
from minicnn.plan.products import ConvStep, LinearStep, takes_in
from minicnn.plan.step import STEPS, Named, Step, wants_gradient
from minicnn.plan.twin import twin


class Chain(Sequential):
    """Does what a Sequential does, in steps; its children are still the Sequential's layers."""

    def __init__(self, source: Module, steps: Sequence[Named]):
        self.source, self.steps = source, tuple(steps)

    def forward(self, x: Array) -> Array:
        for _, step in self.steps:
            x = step(x)
        return x

    def backward(self, dy: Array, input_gradient: bool = True) -> Array | None:
        """`Module.backward`; without input_gradient no step before the first that trains is gone through."""
        try:
            recorded(self).pop(self)
        except RuntimeError:
            return self.source.backward(dy)  # its layers may have been called one by one
        first = 0 if input_gradient else next((k for k, (_, s) in enumerate(self.steps) if _trains(s)), len(self.steps))
        for k in reversed(range(first, len(self.steps))):
            dy = backward(self.steps[k][1], dy, input_gradient or k > first)
        return dy if input_gradient else None

    def _held(self, kind: Kind) -> Iterator[tuple[str, Any]]:
        return self.source._held(kind)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)  # a layer, or what a class of the user's adds


def backward(step: Module, dy: Array, input_gradient: bool) -> Any:
    """dx of a step or any other module, which may not be wanted."""
    if isinstance(step, (Step, Chain)):
        return step.backward(dy, input_gradient)
    return step.backward(dy)


def _trains(step: Module) -> bool:
    return step.trains() if isinstance(step, Step) else wants_gradient([step])


class Builder:
    """Fuses modules, each once, so that what was shared is shared."""

    def __init__(self) -> None:
        self.made: dict[Module, Module] = {}

    def fused(self, module: Module, path: str = "") -> Module:
        """The module's stand-in, or the module itself where nothing in it can be faster."""
        if module not in self.made:
            self.made[module] = self._fused(module, path)
        return self.made[module]

    def _fused(self, module: Module, path: str) -> Module:
        if type(module) in STEPS:
            return STEPS[type(module)](path, module)
        if is_sequence(module):
            return Chain(module, list(self.steps(pooled_first(list(flattened(module, path))))))
        parts: dict[str, Any] = {}
        for name, value in vars(module).items():
            if name not in BOOKKEEPING:
                new = self._replaced(value, f"{path}.{name}" if path else name)
                parts |= {name: new} if new is not value else {}
        return twin(module, parts) if parts else module

    def _replaced(self, value: Any, path: str) -> Any:
        """value, or a list or tuple that holds it, with its modules fused; itself where there are none."""
        if isinstance(value, Module):
            return self.fused(value, path)
        if type(value) in (list, tuple):
            new = [self._replaced(v, f"{path}.{k}") for k, v in enumerate(value)]
            return type(value)(new) if any(a is not b for a, b in zip(new, value, strict=True)) else value
        return value

    def steps(self, layers: list[Named]) -> Iterator[Named]:
        """These layers, called one after the other, as (path, step)."""
        k = 0
        while k < len(layers):
            step, k = self._next(layers, k)
            yield step.path if isinstance(step, Step) else layers[k - 1][0], step

    def _next(self, layers: list[Named], k: int) -> tuple[Module, int]:
        """The step that begins with layers[k], and where the next begins."""
        path, layer = layers[k]
        if type(layer) is nn.ZeroPad2d and k + 1 < len(layers) and takes_in(layer, layers[k + 1][1]):
            after, end = take(layers, k + 2)
            return ConvStep(layers[k], layers[k + 1], after), end
        if type(layer) is nn.Conv2d:
            after, end = take(layers, k + 1)
            return ConvStep(None, layers[k], after), end
        if type(layer) is nn.Linear:
            after, end = take(layers, k + 1)
            return LinearStep(layers[k], after), end
        step, end = take(layers, k)
        return (self.fused(layer, path), k + 1) if step is None else (step, end)


def is_sequence(module: Module) -> bool:
    """Whether calling module is calling its layers in order, and nothing else."""
    kind = type(module)
    methods = ("__call__", "__iter__", "forward", "backward", "children", "named_children")
    return isinstance(module, Sequential) and all(getattr(kind, m) is getattr(Sequential, m) for m in methods)


def flattened(module: Module, path: str) -> Iterator[Named]:
    """The layers of a Sequential, and of those in it, in the order they are called."""
    for name, child in module.named_children():
        inner = f"{path}.{name}" if path else name
        if is_sequence(child) and type(child) not in STEPS:
            yield from flattened(child, inner)
        else:
            yield inner, child
