"""Two tiles for convolutions of few channels: the sums of one gradient, and outputs that are finished in registers.

They are `tile.make_tile` with more done while the numbers are at hand.  The first adds up, beside the products, the
plain sum of B's rows, the gradient of a bias.  The second starts from the bias and ends with the rectifier, so that C
is written once and never read.  Both ask for a line of memory ahead with each they use: few channels mean few sums, and
the arithmetic would otherwise wait for the memory.
"""

import functools
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from minicnn.simd import plain
from minicnn.simd.tile import _Loop, _onto, _place
from minicnn.simd.vector import (
    LANES,
    constant,
    emit_prefetch,
    multiply_add,
    pointer,
    read,
    read_part,
    repeat,
    write,
    write_part,
)

_I64 = ir.IntType(64)


def make_sums(rows: int) -> Any:
    """tile(A, a, lda, B, b, ldb, C, c, ldc, K, H, a_step, b_step, add, columns, ahead), columns <= 16:

        C[c + r ldc + v]    (+)= Σ_h Σ_k A[a + h a_step + k lda + r] B[b + h b_step + k ldb + v],   r < rows
        C[c + rows ldc + v] (+)= Σ_h Σ_k B[b + h b_step + k ldb + v]

    add: to what C holds.  For each k the next sixteen elements of B from b + ahead on are fetched.
    """
    if numba.config.DISABLE_JIT:
        return functools.partial(_plain_sums, rows)

    def generate(context, builder, sig, args):
        a, b, c = (pointer(context, builder, sig.args[i], args[i], args[i + 1]) for i in (0, 3, 6))
        lda, ldb = args[2], args[5]
        ldc, K, H, a_step, b_step, add, columns, ahead = args[8:]
        places = [_place(builder, c, r, ldc, 0) for r in range(rows + 1)]
        outer = _Loop(builder, H, [*([constant(0)] * len(places)), a, b, builder.gep(b, [ahead])])
        *sums, a, b, far = outer.values
        loop = _Loop(builder, K, [*sums, a, b, far])
        *sums, a_k, b_k, far = loop.values
        row = read_part(builder, b_k, columns)
        emit_prefetch(builder, far)
        factors = (repeat(builder, builder.load(builder.gep(a_k, [ir.Constant(_I64, r)]))) for r in range(rows))
        following = [multiply_add(builder, f, row, s) for f, s in zip(factors, sums[:-1], strict=True)]
        following += [builder.fadd(sums[-1], row), builder.gep(a_k, [lda]), builder.gep(b_k, [ldb])]
        *sums, _, _, far = loop.end([*following, builder.gep(far, [ir.Constant(_I64, LANES)])])
        *sums, _, _, _ = outer.end([*sums, builder.gep(a, [a_step]), builder.gep(b, [b_step]), far])
        totals = _onto(builder, places, sums, lambda p: read_part(builder, p, columns), add)
        for place, value in zip(places, totals, strict=True):
            write_part(builder, value, place, columns)
        return context.get_dummy_value()

    i = types.int64

    def tile(context, A, a, lda, B, b, ldb, C, c, ldc, K, H, a_step, b_step, add, columns, ahead):
        return types.void(A, i, i, B, i, i, C, i, i, i, i, i, i, i, i, i), generate

    return intrinsic(tile)


def _plain_sums(rows, A, a, lda, B, b, ldb, C, c, ldc, K, H, a_step, b_step, add, columns, ahead):
    plain.tile(True, rows, columns, A, a, lda, B, b, ldb, C, c, ldc, K, H, a_step, b_step, add)
    one = np.ones(1, "float32")
    plain.tile(True, 1, columns, one, 0, 0, B, b, ldb, C, c + rows * ldc, ldc, K, H, 0, b_step, add)


def make_outputs(rows: int, wide: int, *, part: bool = False) -> Any:
    """tile(A, a, lda, B, b, ldb, C, c, ldc, shift, s, K, slope, floor, ahead[, columns]), a block of rows x 16 wide:

        z = shift[s + v] + Σ_k A[a + r lda + k] B[b + k ldb + v]
        C[c + r ldc + v] = z where z > 0, else slope max(z, floor)

    For each sixteen elements of C those `ahead` are fetched.  part: wide is 1, and C has `columns` columns alone.
    """
    if numba.config.DISABLE_JIT:
        return functools.partial(_plain_outputs, rows, LANES * wide)

    def generate(context, builder, sig, args):
        a, b, c, shift = (pointer(context, builder, sig.args[i], args[i], args[i + 1]) for i in (0, 3, 6, 9))
        lda, ldb, ldc = args[2], args[5], args[8]
        K, slope, floor, ahead = args[11:15]
        right = [ir.Constant(_I64, LANES * v) for v in range(wide)]
        sums = [read(builder, builder.gep(shift, [v])) for v in right] * rows
        loop = _Loop(builder, K, [*sums, a, b])
        *sums, a_k, b_k = loop.values
        row = [read(builder, builder.gep(b_k, [v])) for v in right]
        following = []
        for r in range(rows):
            factor = builder.load(builder.gep(a_k, [builder.mul(lda, ir.Constant(_I64, r))]))
            factor = repeat(builder, factor)
            following += [multiply_add(builder, factor, row[v], sums[r * wide + v]) for v in range(wide)]
        *sums, _, _ = loop.end([*following, builder.gep(a_k, [ir.Constant(_I64, 1)]), builder.gep(b_k, [ldb])])
        slope, floor = repeat(builder, slope), repeat(builder, floor)
        for k, z in enumerate(sums):
            place, value = _place(builder, c, k // wide, ldc, k % wide), _rectified(builder, z, slope, floor)
            if part:
                write_part(builder, value, place, args[15])
            else:
                write(builder, value, place)
            emit_prefetch(builder, builder.gep(place, [ahead]))
        return context.get_dummy_value()

    i, f = types.int64, types.float32

    def tile(context, A, a, lda, B, b, ldb, C, c, ldc, shift, s, K, slope, floor, ahead):
        return types.void(A, i, i, B, i, i, C, i, i, shift, i, i, f, f, i), generate

    def tile_part(context, A, a, lda, B, b, ldb, C, c, ldc, shift, s, K, slope, floor, ahead, columns):
        return types.void(A, i, i, B, i, i, C, i, i, shift, i, i, f, f, i, i), generate

    return intrinsic(tile_part if part else tile)


def _rectified(builder, z, slope, floor) -> Any:
    """z where z > 0, else slope max(z, floor); a NaN stays one."""
    low = builder.select(builder.fcmp_ordered(">", floor, z), floor, z)
    return builder.select(builder.fcmp_ordered(">", z, constant(0)), z, builder.fmul(slope, low))


def _plain_outputs(rows, width, A, a, lda, B, b, ldb, C, c, ldc, shift, s, K, slope, floor, ahead, columns=None):
    sums = np.tile(plain.elements(shift, s, width), (rows, 1))
    plain.tile(False, rows, width, A, a, lda, B, b, ldb, sums, 0, width, K, 1, 0, 0, True)
    for r in range(rows):
        z = sums[r, :columns]
        low = np.float32(slope) * np.where(floor > z, np.float32(floor), z)
        plain.elements(C, c + r * ldc, len(z))[:] = np.where(z > 0, z, low)
