"""A module made of others, with its parts fused: its own class, on its own attributes, calling faster parts."""

import functools
import types
from collections.abc import Iterator
from typing import Any

from minicnn.backend import Array
from minicnn.nn import Module
from minicnn.nn.module import BOOKKEEPING, Kind, _instances
from minicnn.nn.tape import active

OWN = (*BOOKKEEPING, "_twin_of")


class Twin(Module):
    """Stands in for the module `_twin_of`: reads and writes that module's attributes, but for the parts it was given.

    `twin` derives a class from this one and the module's own, whose forward and backward then run on the twin.
    """

    _twin_of: Module

    def __init_subclass__(cls, **kwargs: Any):
        """Nothing: a file names the module's own class."""

    def __call__(self, x: Array) -> Array:
        with active(self) as tape:
            so_far = len(tape.trail)
            try:
                return super().__call__(x)
            except (ValueError, TypeError):
                del tape.trail[so_far:]
                self._twin_of(x)  # which says where in the model it is
                raise

    def __getattribute__(self, name: str) -> Any:
        own = object.__getattribute__(self, "__dict__")
        if name not in own and name in vars(own["_twin_of"]):
            return vars(own["_twin_of"])[name]
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._twin_of, name, value)

    def _held(self, kind: Kind) -> Iterator[tuple[str, Any]]:
        parts = {name: value for name, value in vars(self).items() if name not in OWN}
        for name, value in (vars(self._twin_of) | parts).items():
            if name not in BOOKKEEPING:
                yield from _instances(kind, name, value)


def twin(source: Module, parts: dict[str, Any]) -> Module:
    """source with these attributes in place of its own."""
    kind: Any = type(source)
    self = object.__new__(_kind(kind))
    own = object.__getattribute__(self, "__dict__")
    own |= {"_twin_of": source, "_arguments": ((), {}), "_hooks": [], "_tape": None} | parts
    return self


def replaced(self: Twin) -> Iterator[tuple[str, Module]]:
    """The modules that stand in for parts of another, by name; no method, for the other may have one of that name."""
    old = set(self._twin_of.children())
    return ((name, module) for name, module in self.named_children() if module not in old)


@functools.cache
def _kind(kind: Any) -> Any:
    return types.new_class(kind.__name__, (Twin, kind))
