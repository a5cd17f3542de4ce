"""The body of an op is its definition; its siblings are only faster.

`@accelerated("numba", "cuda")` on `forward` in `ops/batch_norm.py` promises functions of the same name and signature
in `ops/batch_norm_numba.py` and `ops/batch_norm_cuda.py`.  The sibling for the array's device is imported at the first
call.  A sibling may return `NotImplemented` to decline (an odd dtype, a negative stride); the definition then runs.
The definition never imports a sibling, so there is no cycle.
"""

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from minicnn import backend, threads

OPS: list["Op"] = []  # every dispatched function, in import order: tests and benchmarks walk this list
MODES = ("fast", "reference", "strict")
HOST = frozenset({np.ndarray, int, float, str, bool, type(None)})  # types of arguments that are on no device
_mode: ContextVar[str] = ContextVar("minicnn.dispatch.mode", default="fast")


@contextlib.contextmanager
def using(mode: str) -> Iterator[None]:
    """Choose what runs inside the block, in this thread.

    "fast" (the default) runs an op's kernel where there is one, "reference" its definition, and "strict" raises
    RuntimeError where a promised kernel does not run.  ValueError for any other word.
    """
    if mode not in MODES:
        raise ValueError(f"using: mode {mode!r} is none of {', '.join(MODES)}")
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)


def fast() -> bool:
    """Whether kernels run in this thread: in the modes "fast" and "strict"."""
    return _mode.get() != "reference"


def one_pool() -> contextlib.AbstractContextManager[None]:
    """`threads.one_pool()`, for a block that calls ops; nothing where no kernels run."""
    return threads.one_pool() if fast() else contextlib.nullcontext()


def in_one_pool(function: Callable[..., Any]) -> Callable[..., Any]:
    """function, its calls inside `one_pool()`."""

    @functools.wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with one_pool():
            return function(*args, **kwargs)

    return inside


class Op:
    """A definition and the siblings that may stand in for it; called like the definition."""

    __qualname__: str  # these two are the definition's
    __module__: str

    def __init__(self, definition: Callable[..., Any], kinds: tuple[str, ...]):
        functools.update_wrapper(self, definition)
        self.definition, self.kinds = definition, kinds
        self.name = f"{definition.__module__.rpartition('.')[2]}.{definition.__name__}"

    def __repr__(self) -> str:
        return f"<op {self.name}, kernels: {', '.join(self.kinds) or 'none'}>"

    def __reduce__(self) -> str:
        return self.__qualname__  # a module-level name: pickled by reference, like a function

    @functools.cache  # noqa: B019 - an op lives as long as its module
    def sibling(self, kind: str) -> Callable[..., Any]:
        """The function of the same name in the module beside the definition, imported at the first call."""
        return getattr(importlib.import_module(f"{self.definition.__module__}_{kind}"), self.definition.__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mode = _mode.get()
        if mode == "reference" or not self.kinds:
            return self.definition(*args, **kwargs)
        kind = "numba" if backend.host_only() else _kind(args) or _kind(kwargs.values()) or "numba"
        if kind in self.kinds:
            sibling = self.sibling(kind)
            result = threads.run(sibling, *args, **kwargs) if kind == "numba" else sibling(*args, **kwargs)
            if result is not NotImplemented:
                return result
            if mode == "strict":
                why = "this process was forked after kernels had run" if threads.lost() else "kernels take float32"
                given = ", ".join(map(_describe, [*args, *kwargs.values()]))
                raise RuntimeError(f"{self.name}: the {kind} kernel declined {given}; {why}")
        return self.definition(*args, **kwargs)


def accelerated(*kinds: str) -> Callable[[Callable[..., Any]], Op]:
    """Decorate a definition: kernels of these kinds ("numba", "cuda") stand beside it under the same name."""

    def decorate(definition: Callable[..., Any]) -> Op:
        OPS.append(Op(definition, kinds))
        return OPS[-1]

    return decorate


def _kind(arguments: Iterable[Any]) -> str | None:
    """The accelerator of the first argument that is on a device, or that is a tuple (a Cache) holding one that is."""
    for a in arguments:
        if type(a) in HOST:
            continue
        kind = _kind(a) if isinstance(a, tuple) else backend.kind(a)
        if kind not in (None, "numba"):
            return kind
    return None


def _describe(x: object) -> str:
    return f"{getattr(x, 'dtype', type(x).__name__)} {getattr(x, 'shape', '')}".rstrip()
