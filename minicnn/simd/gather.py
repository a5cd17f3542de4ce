"""Reading sixteen numbers from places that do not lie side by side.

    gather(a, i, k)     a[i + k[0]], a[i + k[1]], ..., a[i + k[15]], counted in elements from a's first
    floor(x)            lane by lane, the largest whole number that is not above x

k holds whole numbers as float32, which are exact below 2²⁴.  Every lane is read, so every place must exist.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types

from minicnn.simd import plain
from minicnn.simd.vector import _BITS, _FLOATS, _I32, _I64, _INTS, FLOATS, LANES, _call, constant, pointer, repeat

_LONGS, _POINTERS = ir.VectorType(_I64, LANES), ir.VectorType(_FLOATS.element.as_pointer(), LANES)


def _read(context, builder, kinds, values) -> Any:
    """The sixteen places as addresses, then LLVM's own gather of them."""
    first = builder.ptrtoint(pointer(context, builder, kinds[0], values[0], values[1]), _I64)
    steps = builder.zext(builder.fptosi(values[2], _INTS), _LONGS)
    bytes_apart = builder.shl(steps, ir.Constant(_LONGS, [2] * LANES))
    places = builder.inttoptr(builder.add(repeat(builder, first, _LONGS), bytes_apart), _POINTERS)
    every, nothing = ir.Constant(_BITS, [1] * LANES), constant(0)
    args = [places, ir.Constant(_I32, 4), every, nothing]
    return _call(builder, "llvm.masked.gather.v16f32.v16p0", _FLOATS, args)


if numba.config.DISABLE_JIT:

    def gather(a, i, k):
        return np.array([plain.elements(a, i + int(step), 1)[0] for step in k], "float32")

    floor: Any = np.floor
else:
    from minicnn.simd.vector import _define, _elementwise

    gather = _define(
        "gather",
        lambda a, i, k: (FLOATS, (a, types.int64, FLOATS)) if k is FLOATS else None,
        _read,
    )
    floor = _elementwise("floor", FLOATS, 1, lambda b, x: _call(b, "llvm.floor.v16f32", _FLOATS, [x]))
