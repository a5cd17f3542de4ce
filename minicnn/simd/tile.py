"""The matrix product of one block, held in registers, and the walk over a matrix in such blocks.

A tile is a block of C of a few rows and some sixteens of columns.  Its entries stay in registers while k runs:

    for k in range(K):                  per k:  one row of B is loaded, `columns / 16` vectors
        for r in range(rows):                   one number of A is repeated in every lane, for each row
            C[r, :] += A[r, k] * B[k, :]        rows * columns / 16 fused multiply-adds

so that 6 x 64 makes 24 multiply-adds of 10 loads: the processor's arithmetic, not its memory, is the limit.  Which tile
fits depends on the registers there are: AVX-512 has 32 of 16 floats, AVX2 16 of 8, NEON 32 of 4, SSE 16 of 4.

A may run over several stretches of memory, h = 0..H-1, each `a_step` further (B: `b_step`).  In an image with channels
last, the stretch (j, c) of one row of a convolution's window is contiguous and h is the row: rows of A overlap, and the
convolution is a matrix product without im2col.  All offsets and strides count elements.
"""

import functools
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from minicnn.simd import plain
from minicnn.simd.compile import inner
from minicnn.simd.vector import (
    LANES,
    address,
    constant,
    multiply_add,
    pointer,
    read,
    read_part,
    repeat,
    write,
    write_part,
)

_I64, _FLOAT = ir.IntType(64), ir.FloatType()
_MOST_REGISTERS = (("avx512f", 6, 4), ("avx2", 6, 1), ("neon", 4, 1))  # feature, rows, sixteens of columns


def _best_tile() -> tuple[int, int]:
    """(rows, sixteens of columns) for the processor that Numba compiles for."""
    if numba.config.CPU_NAME:  # the user names a processor, perhaps a lesser one than this
        avx512 = ("skylake-avx512", "cascadelake", "icelake", "sapphirerapids", "znver4", "znver5")
        features = numba.config.CPU_FEATURES or ""
        wide = numba.config.CPU_NAME.startswith(avx512) or "+avx512f" in features
        return (6, 4) if wide else (6, 1) if numba.config.CPU_NAME != "generic" else (2, 1)
    host = llvmlite.binding.get_host_cpu_features()
    return next(((rows, wide) for feature, rows, wide in _MOST_REGISTERS if host.get(feature)), (2, 1))


TILE_ROWS, _WIDE = _best_tile()
TILE_COLUMNS = LANES * _WIDE  # a packed panel of B has this many columns


class _Loop:
    """for i in range(n), carrying values from one turn to the next (LLVM's phi nodes)."""

    def __init__(self, builder, n, carried):
        self.builder, before = builder, builder.block
        head, body, self.exit = (builder.append_basic_block(name) for name in ("head", "body", "exit"))
        builder.branch(head)
        builder.position_at_end(head)
        self.head, self.i = head, builder.phi(_I64)
        self.i.add_incoming(ir.Constant(_I64, 0), before)
        self.values = [builder.phi(v.type) for v in carried]
        for phi, v in zip(self.values, carried, strict=True):
            phi.add_incoming(v, before)
        builder.cbranch(builder.icmp_signed("<", self.i, n), body, self.exit)
        builder.position_at_end(body)

    def end(self, values) -> list[Any]:
        """Close the loop with the values of its next turn; returns those after the last."""
        builder = self.builder
        self.i.add_incoming(builder.add(self.i, ir.Constant(_I64, 1)), builder.block)
        for phi, v in zip(self.values, values, strict=True):
            phi.add_incoming(v, builder.block)
        builder.branch(self.head)
        builder.position_at_end(self.exit)
        return self.values


def make_tile(rows: int, wide: int, *, transposed: bool = False, part: bool = False) -> Any:
    """tile(A, a, lda, B, b, ldb, C, c, ldc, K, H, a_step, b_step, add[, columns]) for a block of rows x 16 wide:

        C[c + r ldc + v] (+)= Σ_h Σ_k A(h, k, r) B[b + h b_step + k ldb + v]

    with A(h, k, r) = A[a + h a_step + r lda + k], or transposed A[a + h a_step + k lda + r].  add: to what C holds.
    part: wide is 1, and only the first `columns` columns of B and C exist.
    """
    if numba.config.DISABLE_JIT:
        plainly = functools.partial(plain.tile, transposed, rows)
        return (lambda *args: plainly(args[-1], *args[:-1])) if part else functools.partial(plainly, LANES * wide)

    def generate(context, builder, sig, args):
        a, b, c = (pointer(context, builder, sig.args[i], args[i], args[i + 1]) for i in (0, 3, 6))
        lda, ldb = args[2], args[5]
        ldc, K, H, a_step, b_step, add = args[8:14]
        places = [_place(builder, c, r, ldc, v) for r in range(rows) for v in range(wide)]
        get = (lambda p: read_part(builder, p, args[14])) if part else (lambda p: read(builder, p))
        sums = [constant(0)] * len(places)
        outer = _Loop(builder, H, [*sums, a, b])
        *sums, a, b = outer.values
        loop = _Loop(builder, K, [*sums, a, b])
        *sums, a_k, b_k = loop.values
        row = [get(builder.gep(b_k, [ir.Constant(_I64, LANES * v)])) for v in range(wide)]
        following = []
        for r in range(rows):
            offset = ir.Constant(_I64, r) if transposed else builder.mul(lda, ir.Constant(_I64, r))
            factor = repeat(builder, builder.load(builder.gep(a_k, [offset])))
            following += [multiply_add(builder, factor, row[v], sums[r * wide + v]) for v in range(wide)]
        step = lda if transposed else ir.Constant(_I64, 1)
        *sums, _, _ = loop.end([*following, builder.gep(a_k, [step]), builder.gep(b_k, [ldb])])
        *sums, _, _ = outer.end([*sums, builder.gep(a, [a_step]), builder.gep(b, [b_step])])
        for place, value in zip(places, _onto(builder, places, sums, get, add), strict=True):
            if part:
                write_part(builder, value, place, args[14])
            else:
                write(builder, value, place)
        return context.get_dummy_value()

    i = types.int64

    def tile(context, A, a, lda, B, b, ldb, C, c, ldc, K, H, a_step, b_step, add):
        return types.void(A, i, i, B, i, i, C, i, i, i, i, i, i, i), generate

    def tile_part(context, A, a, lda, B, b, ldb, C, c, ldc, K, H, a_step, b_step, add, columns):
        return types.void(A, i, i, B, i, i, C, i, i, i, i, i, i, i, i), generate

    return intrinsic(tile_part if part else tile)


def _place(builder, c, r: int, ldc, v: int) -> Any:
    return builder.gep(c, [builder.add(builder.mul(ldc, ir.Constant(_I64, r)), ir.Constant(_I64, LANES * v))])


def _onto(builder, places, sums, get, add) -> list[Any]:
    """The sums, with what C holds where add: at the end, for short sums of short sums have the smallest rounding."""
    before = builder.block
    with builder.if_then(cgutils.is_not_null(builder, add)):
        more = [builder.fadd(get(p), s) for p, s in zip(places, sums, strict=True)]
        added = builder.block
    results = [builder.phi(s.type) for s in sums]
    for phi, s, m in zip(results, sums, more, strict=True):
        phi.add_incoming(s, before)
        phi.add_incoming(m, added)
    return results


# C = A B: blocks of TILE_ROWS rows, then pairs and single rows for what is left; one sixteen for the last columns
_nn, _nn_2, _nn_1 = (make_tile(rows, _WIDE) for rows in (TILE_ROWS, 2, 1))
_nn_part, _nn_part_1 = (make_tile(rows, 1, part=True) for rows in (TILE_ROWS, 1))
# C = Aᵀ B
_tn, _tn_2, _tn_1 = (make_tile(rows, _WIDE, transposed=True) for rows in (TILE_ROWS, 2, 1))
_tn_part, _tn_part_1 = (make_tile(rows, 1, transposed=True, part=True) for rows in (TILE_ROWS, 1))


@inner
def multiply_nn(A, a, lda, B, b, ldb, C, c, ldc, M, N, K, H, a_step, b_step, add):
    """C (M, N) (+)= Σ_h A_h (M, K) B_h (K, N), all inside one thread: for operands that lie in its cache.

    A, B, C are arrays whose element a, b, c is the first of the matrix, and lda, ldb, ldc the distance of rows.  H
    products are added up, of matrices a_step and b_step further each; H = 1 for one.  add: to what C holds.
    """
    # compiled once for all kinds of arrays
    _blocks_nn(address(A), a, lda, address(B), b, ldb, address(C), c, ldc, M, N, K, H, a_step, b_step, add != 0)


@inner
def _blocks_nn(A, a, lda, B, b, ldb, C, c, ldc, M, N, K, H, a_step, b_step, add):
    n = 0
    while n + TILE_COLUMNS <= N:
        x, y, left = a, c + n, M
        while left >= TILE_ROWS:
            _nn(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
            x, y, left = x + TILE_ROWS * lda, y + TILE_ROWS * ldc, left - TILE_ROWS
        while left >= 2:
            _nn_2(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
            x, y, left = x + 2 * lda, y + 2 * ldc, left - 2
        if left:
            _nn_1(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
        n += TILE_COLUMNS
    while n < N:
        x, y, left, columns = a, c + n, M, min(LANES, N - n)
        while left >= TILE_ROWS:
            _nn_part(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add, columns)
            x, y, left = x + TILE_ROWS * lda, y + TILE_ROWS * ldc, left - TILE_ROWS
        while left:
            _nn_part_1(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add, columns)
            x, y, left = x + lda, y + ldc, left - 1
        n += LANES


@inner
def multiply_tn(A, a, lda, B, b, ldb, C, c, ldc, M, N, K, H, a_step, b_step, add):
    """C (M, N) (+)= Σ_h A_hᵀ B_h for A_h (K, M), B_h (K, N): as `multiply_nn`, with A transposed."""
    _blocks_tn(address(A), a, lda, address(B), b, ldb, address(C), c, ldc, M, N, K, H, a_step, b_step, add != 0)


@inner
def _blocks_tn(A, a, lda, B, b, ldb, C, c, ldc, M, N, K, H, a_step, b_step, add):
    n = 0
    while n + TILE_COLUMNS <= N:
        x, y, left = a, c + n, M
        while left >= TILE_ROWS:
            _tn(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
            x, y, left = x + TILE_ROWS, y + TILE_ROWS * ldc, left - TILE_ROWS
        while left >= 2:
            _tn_2(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
            x, y, left = x + 2, y + 2 * ldc, left - 2
        if left:
            _tn_1(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
        n += TILE_COLUMNS
    while n < N:
        x, y, left, columns = a, c + n, M, min(LANES, N - n)
        while left >= TILE_ROWS:
            _tn_part(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add, columns)
            x, y, left = x + TILE_ROWS, y + TILE_ROWS * ldc, left - TILE_ROWS
        while left:
            _tn_part_1(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add, columns)
            x, y, left = x + 1, y + ldc, left - 1
        n += LANES
