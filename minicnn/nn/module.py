"""State, which the pure functions in `ops` lack: a Module owns parameters, a mode and the cache of its last call.

A layer defines `forward(x) -> (y, cache)` and `gradient(dy, cache) -> dx`, which adds to its parameters' gradients.  A
module made of others defines `forward(x) -> y`, calling them, and `backward(dy) -> dx`, calling their backwards in
reverse.  Either way the caller writes `y = module(x)` and `dx = module.backward(dy)`.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from minicnn import backend
from minicnn.backend import Array
from minicnn.dispatch import in_one_pool
from minicnn.nn.parameter import Parameter
from minicnn.nn.tape import Tape, active, recorded

Kind = type | tuple[type, ...]
BOOKKEEPING = ("_arguments", "_hooks", "_tape")  # attributes of a Module that are no part of it


class LoadedKeys(NamedTuple):
    """What `load_state_dict` found only in the model, and only in the state."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def _instances(kind: Kind, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) if value is a kind, or those in value if it is a list or a tuple."""
    if isinstance(value, kind):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, v in enumerate(value):
            yield from _instances(kind, f"{name}.{i}", v)


class Module:
    """The base of every layer and model."""

    training: bool = True
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    _hooks: list[Callable[["Module", Array, Array], Any]]
    _tape: Tape | None
    buffers: tuple[str, ...] = ()  # names of arrays that belong to the state but are not trained
    _registry: ClassVar[dict[str, type["Module"]]] = {}  # every subclass by name, for minicnn.load

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        Module._registry[cls._registered_name()] = cls
        if "backward" in vars(cls):
            cls.backward = in_one_pool(cls.backward)  # type: ignore[method-assign]
        own = inspect.signature(cls.__init__)  # what help() shows; without this it would be __new__'s
        cls.__signature__ = own.replace(parameters=list(own.parameters.values())[1:])  # type: ignore[attr-defined]

    @classmethod
    def _registered_name(cls) -> str:
        """The class's name in a saved file; a colon keeps a user's Conv2d apart from the library's."""
        return cls.__name__ if cls._of_library() else f":{cls.__name__}"

    @classmethod
    def _of_library(cls) -> bool:
        return cls.__module__.partition(".")[0] == __name__.partition(".")[0]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._arguments = (args, kwargs)  # what config() tells of a library layer
        self._hooks, self._tape = [], None
        return self

    def __init__(self) -> None:
        """Nothing to do: a subclass need not call this."""

    def forward(self, x: Array) -> Any:
        """(y, cache) of a layer, or y of a module made of others."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def gradient(self, dy: Array, cache: Any) -> Array:
        """dx from dy and the cache of one call; adds to the parameters' gradients."""
        raise NotImplementedError(f"{type(self).__name__} defines neither gradient(dy, cache) nor backward(dy)")

    def __call__(self, x: Array) -> Array:
        """forward(x), keeping what backward needs in `train()` or under `record()`.  ValueError names the layer."""
        with active(self) as tape:
            tape.enter(self)
            result = self.forward(x)
            y, cache = result if isinstance(result, tuple) else (result, None)
            tape.leave(self, x, y, cache)
            for hook in list(self._hooks):  # a hook may remove itself
                hook(self, x, y)
            return y

    @in_one_pool  # as the tape's calls are, and every backward of a subclass
    def backward(self, dy: Array) -> Array:
        """Take ∂L/∂y, add to every parameter's gradient, return ∂L/∂x.  Each call of the module allows one backward."""
        return self.gradient(dy, recorded(self).pop(self))

    def config(self) -> dict[str, Any]:
        """The constructor's arguments by name, as the attributes of the same name now stand, without those that are
        their defaults.  A Module of your own returns its own, to be saved with minicnn.save."""
        if not self._of_library():
            raise TypeError(
                f"{type(self).__name__} has no config(): define one that returns the constructor's arguments by name"
            )
        args, kwargs = self._arguments
        signature = inspect.signature(type(self))
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        now = vars(self) | getattr(self, "options", {})
        arguments = {k: now.get(k, v) for k, v in bound.arguments.items()}
        arguments = {k: True if isinstance(v, Parameter) else v for k, v in arguments.items()}  # bias
        arguments.pop("rng", None)  # how the weights came about is not what the layer is
        return {k: v for k, v in arguments.items() if v != signature.parameters[k].default}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Module":
        """The module that `config` describes, with fresh weights."""
        kinds = inspect.signature(cls).parameters.values()
        star = next((p.name for p in kinds if p.kind is p.VAR_POSITIONAL), "")
        return cls(*config.get(star, ()), **{k: v for k, v in config.items() if k != star})

    # what it is made of

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """(name, module) of the modules held as attributes, or in lists and tuples that are attributes."""
        return self._held(Module)

    def children(self) -> Iterator["Module"]:
        """The modules held directly."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """(path, module): this one under "", then all below it, depth first; a shared one once."""
        return self._walk(prefix, set())

    def _walk(self, path: str, seen: set["Module"]) -> Iterator[tuple[str, "Module"]]:
        if self not in seen:
            seen.add(self)
            yield path, self
            for name, child in self.named_children():
                yield from child._walk(f"{path}.{name}" if path else name, seen)

    def modules(self) -> Iterator["Module"]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter) in PyTorch's order; a shared one once."""
        seen = set()
        for path, module in self.named_modules():
            for name, value in module._own():
                if value not in seen:
                    seen.add(value)
                    yield f"{path}.{name}" if path else name, value

    def own_parameters(self) -> Iterator[Parameter]:
        """The parameters held by this module itself, as attributes or in lists and tuples that are attributes."""
        return (parameter for _, parameter in self._own())

    def _own(self) -> Iterator[tuple[str, Parameter]]:
        return self._held(Parameter)

    def _held(self, kind: Kind) -> Iterator[tuple[str, Any]]:
        may_hold = (kind, list, tuple)
        held = [(n, v) for n, v in vars(self).items() if isinstance(v, may_hold) and n not in BOOKKEEPING]
        for name, value in held:
            yield from _instances(kind, name, value)

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """(path, array) of what belongs to the state but is not trained."""
        for path, module in self.named_modules():
            for name in module.buffers:
                yield f"{path}.{name}" if path else name, getattr(module, name)

    # its state

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter and buffer under PyTorch's keys ("0.weight", "1.running_mean")."""
        return {key: getattr(owner, name).copy() for key, (owner, name) in self._state().items()}

    def load_state_dict(self, state: dict[str, Array], strict: bool = True) -> LoadedKeys:
        """Copy a state in.  ValueError names every key that is missing or unexpected (strict) or has another shape."""
        slots = self._state()
        keys = LoadedKeys([k for k in slots if k not in state], [k for k in state if k not in slots])
        problems = [f"{k}: missing" for k in keys.missing_keys] + [f"{k}: unexpected" for k in keys.unexpected_keys]
        problems = problems if strict else []
        for key in slots.keys() & state.keys():
            came, wanted = tuple(np.shape(state[key])), getattr(*slots[key]).shape
            if came != wanted:
                problems.append(f"{key}: has shape {came}, wanted {wanted}")
        if problems:
            raise ValueError(f"{type(self).__name__}.load_state_dict: " + "; ".join(sorted(problems)))
        for key in slots.keys() & state.keys():
            owner, name = slots[key]
            old = getattr(owner, name)
            setattr(owner, name, backend.array_module(old).array(state[key], dtype=old.dtype))
        return keys

    def _state(self) -> dict[str, tuple[Any, str]]:
        """key -> (object, attribute) of every array of the state, module by module as PyTorch orders them."""
        slots: dict[str, tuple[Any, str]] = {}
        for path, module in self.named_modules():
            dot = f"{path}." if path else ""
            slots |= {dot + n: (p, "data") for n, p in module._own()}
            slots |= {dot + n: (module, n) for n in module.buffers}
        return slots

    def _each_array(self, change: Callable[[Array], Array]) -> Self:
        for owner, name in self._state().values():
            setattr(owner, name, change(getattr(owner, name)))
            if isinstance(owner, Parameter) and owner.grad is not None:
                owner.grad = change(owner.grad)
        return self

    def astype(self, dtype: Any) -> Self:
        """Convert every floating-point parameter and buffer, in place; returns self.  TypeError for another dtype."""
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"astype: {np.dtype(dtype)} is not a floating-point dtype")
        return self._each_array(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a)

    def to(self, device: str) -> Self:
        """Move every parameter and buffer to "cpu", "cuda" or "cuda:1", in place; returns self."""
        return self._each_array(lambda a: backend.to_device(a, device))

    def train(self, mode: bool = True) -> Self:
        """Train from now on: batch statistics, dropout, caches for backward."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Evaluate from now on: stored statistics, no dropout, no caches (but under `minicnn.record()`)."""
        return self.train(False)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """In evaluation mode inside the block; afterwards each module is in the mode it was in."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    def zero_grad(self) -> None:
        """Forget every parameter's gradient."""
        todo, seen = [self], set()
        while todo:  # not over parameters(), which makes up a path for each: every step comes by here
            if (module := todo.pop()) not in seen:
                seen.add(module)
                for _, value in module._held((Module, Parameter)):
                    if isinstance(value, Parameter):
                        value.grad = None
                    else:
                        todo.append(value)

    def register_forward_hook(self, hook: Callable[["Module", Array, Array], Any]) -> Callable[[], None]:
        """Call hook(module, x, y) after every call of this module; returns a function that removes it."""
        self._hooks.append(hook)
        return lambda: self._hooks.remove(hook) if hook in self._hooks else None

    def summary(self, input_shape: tuple[int, ...]):
        """A table of layers, output shapes, parameters and multiply-adds; input_shape has no batch axis."""
        from minicnn.nn.summary import summarize

        return summarize(self, input_shape)

    def multiply_adds(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """How many products this layer itself adds up for these shapes."""
        return 0

    # how it shows and travels

    def extra_repr(self) -> str:
        """What stands between the parentheses of a layer's repr: the arguments it was made with."""
        args, kwargs = self._arguments
        shown = [repr(a) for a in args] + [f"{k}={v!r}" for k, v in kwargs.items() if k != "rng"]
        return ", ".join(shown)

    def one_line(self) -> str:
        """The layer's name and arguments, without what it holds."""
        return f"{type(self).__name__}({'' if any(True for _ in self.children()) else self.extra_repr()})"

    def __repr__(self) -> str:
        children = list(self.named_children())
        if not children:
            return self.one_line()
        lines = [f"({name}): {child!r}" for name, child in children]
        return f"{type(self).__name__}(\n  " + "\n".join(lines).replace("\n", "\n  ") + "\n)"

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_tape": None, "_hooks": []}
