"""Parts of kernels, compiled into each kernel that uses them, and nowhere else.

Numba by itself takes every function all the way, through LLVM's optimiser to machine code, and only then links it into
its caller, with which it is optimised and translated again.  A part of a part of a kernel goes that way three times,
and all but the last are thrown away.  Parts stop before: they are LLVM's language until a kernel links them.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import numba
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher


class Part(CPUDispatcher):
    """A function for kernels and other parts to call, compiled for the types of arguments they have for it."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]):
        options = options | {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        super().__init__(function, {}, options, pipeline_class=_PartCompiler)

    def __call__(self, *args: Any) -> Any:
        raise TypeError(f"{self.py_func.__qualname__} is a part of kernels, and can be called by kernels alone")

    def compile(self, sig: tuple[Any, ...]) -> Any:
        """As Numba's, but once for all integers, where Numba would compile f(x, 1) and f(x, 2) each for its number."""
        return super().compile(tuple(map(types.unliteral, sig)))


class _PartCompiler(Compiler):
    """Numba's compiler, with another end."""

    def __init__(self, typing_context, target_context, library, *rest):
        super().__init__(typing_context, target_context, _Unfinished(target_context.codegen(), "part"), *rest)


class _Unfinished(JITCodeLibrary):
    """Code that waits to be linked into other code."""

    def finalize(self) -> None:
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        """What Numba tells the place of the function's constants in machine code; there is none."""
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Nothing to tell."""


def inner_with(options: dict[str, Any]) -> Callable[[Callable[..., Any]], Any]:
    """The decorator of parts of kernels that have these options."""
    return (lambda function: function) if numba.config.DISABLE_JIT else lambda function: Part(function, options)


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """While compiling, which makes millions of objects that stay: looking through them again and again takes long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
