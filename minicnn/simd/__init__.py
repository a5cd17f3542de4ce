"""The SIMD room: what a kernel of the CPU is made of.  Nothing outside kernels (`*_numba.py`) needs it.

Numba compiles a loop over array elements to scalar or modest vector code.  The hot loops here want to say more: hold
sixteen floats in one register, keep a block of a matrix product in registers.  So this room gives Numba a vector type.

    compile.py   @kernel: one compiled function, its argument types written down, cached on disk;  @inner: its parts
    parts.py     how parts are compiled: within the kernels that use them, and not by themselves before
    shared.py    @shared: a kernel that all threads run, each its part
    vector.py    the type of sixteen float32 (and sixteen int32), its arithmetic, loads and stores
    tile.py      the matrix product of one block in registers, and the walk over a matrix in such blocks
    plain.py     the same meanings in NumPy, for a reader, and for runs with NUMBA_DISABLE_JIT=1

LLVM, the compiler below Numba, has vectors as values: `<16 x float>` can be added, multiplied, loaded and stored like a
float.  It maps them to what the processor has: one register with AVX-512, two with AVX2, four with NEON or SSE.  An
"intrinsic" of Numba is a function that, instead of running, writes LLVM instructions into its caller.  That is all the
magic: no C, no assembler, and the same source is right on every processor.
"""

from minicnn.simd.compile import array, f32, i64, image_in, image_out, inner, kernel, u8, vector_in, vector_out
from minicnn.simd.shared import shared
from minicnn.simd.tile import TILE_COLUMNS, TILE_ROWS, multiply_nn, multiply_tn
from minicnn.simd.vector import (
    LANES,
    address,
    both,
    broadcast,
    equal,
    fma,
    greater,
    lanes,
    load,
    load_bytes,
    load_bytes_part,
    load_part,
    maximum,
    minimum,
    prefetch,
    select,
    shift_right,
    spread,
    square_root,
    store,
    store_bytes,
    store_bytes_part,
    store_part,
    total,
    unordered,
    unsigned_less,
    whole,
)

__all__ = [
    "LANES",
    "TILE_COLUMNS",
    "TILE_ROWS",
    "address",
    "array",
    "both",
    "broadcast",
    "equal",
    "f32",
    "fma",
    "greater",
    "i64",
    "image_in",
    "image_out",
    "inner",
    "kernel",
    "lanes",
    "load",
    "load_bytes",
    "load_bytes_part",
    "load_part",
    "maximum",
    "minimum",
    "multiply_nn",
    "multiply_tn",
    "prefetch",
    "select",
    "shared",
    "shift_right",
    "spread",
    "square_root",
    "store",
    "store_bytes",
    "store_bytes_part",
    "store_part",
    "total",
    "u8",
    "unordered",
    "unsigned_less",
    "vector_in",
    "vector_out",
    "whole",
]
