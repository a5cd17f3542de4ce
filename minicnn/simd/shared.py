"""Kernels that all threads run, each its share, at the compile time of a plain function.

    @shared((image_in, vector_in, image_out, i64))
    def add_bias(x, b, y, threads, t):              what thread t of them does

    add_bias(x, b, y, threads)

Numba's own `prange` compiles a kernel's body six times over, one for each layer of what it wraps it in.  Here the loop
over threads is compiled once for all kernels: `_launch` takes the address of a function and of its arguments, and calls
it for each t.  A kernel is then a function that puts its arguments into memory and calls `_launch`.
"""

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from minicnn.simd.compile import OPTIONS, Kernel, _stamp, i64, inner, machine_code

_POINTER, _I64 = ir.IntType(8).as_pointer(), ir.IntType(64)
_BODY = ir.FunctionType(ir.VoidType(), [_POINTER, _I64])  # (arguments, t)
_LAUNCH = ir.FunctionType(ir.VoidType(), [_I64, _I64, _I64])  # (address of a body, of its arguments, how many t)


def _call_body(context, body, arguments, t):
    def generate(context, builder, sig, args):
        function = builder.inttoptr(args[0], _BODY.as_pointer())
        builder.call(function, [builder.inttoptr(args[1], _POINTER), args[2]])
        return context.get_dummy_value()

    return types.void(i64, i64, i64), generate


_call: Any = intrinsic(_call_body)
_parallel_loop: Any = None  # _loop, once it is compiled


def _loop(body, arguments, count):
    for t in numba.prange(count):
        _call(body, arguments, np.int64(t))


def _launch(body, arguments, count):
    _parallel_loop(body, arguments, count)


class Shared(Kernel):
    """A function of fixed argument types, the last of which is a number of threads; called without its last, t."""

    launch: Any = 0  # the address of `_launch`, once it is compiled

    @np.errstate(all="ignore")
    def _as_python(self, *args: Any) -> None:
        for t in range(args[-1]):
            self.function(*args, t)

    def compiled(self) -> Callable[..., None]:
        """As `Kernel.compiled`."""
        with self._lock:
            if self._ready is None:
                made = machine_code(self._entry(), (i64, *self.arguments), _stamp(self.function))
                self._ready = functools.partial(made, _address_of_launch())
        return self._ready

    def _entry(self) -> Callable[..., None]:
        """entry(launch, *arguments), under this kernel's name and place, for they name its file in the cache."""
        names = ", ".join(f"a{i}" for i in range(len(self.arguments)))
        scope: dict[str, Any] = {"share": _make_share(inner(self.function))}
        exec(f"def entry(launch, {names}):\n    share(launch, ({names},), a{len(self.arguments) - 1})\n", scope)
        entry, code = scope["entry"], self.function.__code__
        entry.__code__ = entry.__code__.replace(co_filename=code.co_filename, co_firstlineno=code.co_firstlineno)
        entry.__module__, entry.__qualname__ = self.function.__module__, self.function.__qualname__
        return entry


def shared(arguments: tuple[Any, ...]) -> Callable[[Callable[..., None]], Shared]:
    """Decorate a function of these argument types and t, the number of a thread, as a Shared kernel."""
    return lambda function: Shared(function, arguments)


def _make_share(part: Any) -> Any:
    """share(launch, arguments, count): part(*arguments, t) for t = 0..count-1, on all threads."""

    def share(context, launch, arguments, count):
        takes = (*arguments.types, i64)
        part.compile(takes)
        compiled = part.overloads[takes]

        def generate(context, builder, sig, args):
            body = _write_body(context, builder.module, compiled, takes, args[1].type)
            context.active_code_library.add_linking_library(compiled.library)
            where = cgutils.alloca_once_value(builder, args[1])
            launch = builder.inttoptr(args[0], _LAUNCH.as_pointer())
            builder.call(launch, [builder.ptrtoint(body, _I64), builder.ptrtoint(where, _I64), args[2]])
            return context.get_dummy_value()

        return types.void(i64, arguments, i64), generate

    return intrinsic(share)


def _write_body(context, module, compiled, takes, kind) -> Any:
    """A function of type _BODY that calls a compiled function with the arguments it finds in memory."""
    body = ir.Function(module, _BODY, name=module.get_unique_name("body"))
    body.linkage = "internal"
    builder = ir.IRBuilder(body.append_basic_block())
    arguments = builder.load(builder.bitcast(body.args[0], kind.as_pointer()))
    values = [builder.extract_value(arguments, i) for i in range(len(takes) - 1)]
    function = context.declare_function(module, compiled.fndesc)
    context.call_conv.call_function(builder, function, types.void, takes, [*values, body.args[1]])
    builder.ret_void()
    return body


def _address_of_launch() -> int:
    """Compile the loop over threads, once a process, or load it."""
    global _parallel_loop
    if not Shared.launch:
        signature, options = types.void(i64, i64, i64), OPTIONS | {"parallel": True}
        try:
            _parallel_loop = numba.njit(signature, cache=True, **options)(_loop)
            Shared.launch = numba.cfunc(signature, cache=True)(_launch).address
        except RuntimeError:  # no folder can be written
            _parallel_loop = numba.njit(signature, **options)(_loop)
            Shared.launch = numba.cfunc(signature)(_launch).address
    return Shared.launch
