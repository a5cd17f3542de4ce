"""Copying and transposing matrices in memory: between where they are and where a product wants them.

Transposing goes in blocks of sixteen rows and columns, through registers.
A block is sixteen vectors, its rows.  In round s = 8, 4, 2, 1 each row i whose bit s is 0 and row i + s exchange lanes:
lane k + s of row i for lane k of row i + s, for each k whose bit s is 0.  So a round exchanges bit s of the row's
number with bit s of the lane's, and after four rounds rows are columns.
"""

from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from minicnn.simd import plain
from minicnn.simd.compile import inner
from minicnn.simd.vector import (
    LANES,
    address,
    load,
    load_part,
    pointer,
    prefetch,
    read,
    read_part,
    store,
    store_part,
    write,
    write_part,
)

AHEAD = 24  # rows; the processor itself foresees rows that lie close together alone
_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _make_block(*, part: bool) -> Any:
    """block(A, a, lda, B, b, ldb): B[b + c ldb + r] = A[a + r lda + c] for r, c = 0..15.

    part: block(..., rows, columns) for r < rows, c < columns alone; nothing beyond them is touched.
    """
    if numba.config.DISABLE_JIT:
        return _plain_block

    def generate(context, builder, sig, args):
        source, target = (pointer(context, builder, sig.args[i], args[i], args[i + 1]) for i in (0, 3))
        lda, ldb = args[2], args[5]
        height, width = args[6:] if part else (None, None)
        rows = []
        for r in range(LANES):
            place = builder.gep(source, [builder.mul(lda, ir.Constant(_I64, r))])
            rows.append(
                read_part(builder, place, _if_below(builder, r, height, width)) if part else read(builder, place)
            )
        rows = _exchanged(builder, rows)
        for c in range(LANES):
            place = builder.gep(target, [builder.mul(ldb, ir.Constant(_I64, c))])
            if part:
                write_part(builder, rows[c], place, _if_below(builder, c, width, height))
            else:
                write(builder, rows[c], place)
        return context.get_dummy_value()

    i = types.int64

    def block(context, A, a, lda, B, b, ldb):
        return types.void(A, i, i, B, i, i), generate

    def block_part(context, A, a, lda, B, b, ldb, rows, columns):
        return types.void(A, i, i, B, i, i, i, i), generate

    return intrinsic(block_part if part else block)


def _plain_block(A, a, lda, B, b, ldb, rows=LANES, columns=LANES):
    for r in range(rows):
        for c, x in enumerate(plain.elements(A, a + r * lda, columns)):
            plain.elements(B, b + c * ldb + r, 1)[:] = x


def _if_below(builder, i: int, n, lanes) -> Any:
    """`lanes` where i < n, else 0."""
    return builder.select(builder.icmp_signed("<", ir.Constant(_I64, i), n), lanes, ir.Constant(_I64, 0))


def _exchanged(builder, rows: list[Any]) -> list[Any]:
    """The four rounds."""
    order = ir.VectorType(_I32, LANES)
    for s in (8, 4, 2, 1):
        first = ir.Constant(order, [LANES + k - s if k & s else k for k in range(LANES)])
        second = ir.Constant(order, [LANES + k if k & s else k + s for k in range(LANES)])
        for i in range(LANES):
            if not i & s:
                x, y = rows[i], rows[i + s]
                rows[i], rows[i + s] = builder.shuffle_vector(x, y, first), builder.shuffle_vector(x, y, second)
    return rows


_block, _block_part = _make_block(part=False), _make_block(part=True)


@inner
def transpose(A, a, lda, B, b, ldb, M, N):
    """B (N, M) = Aᵀ of A (M, N), whose first elements are A's element a and B's element b, rows lda and ldb apart."""
    _transpose(address(A), a, lda, address(B), b, ldb, M, N)  # compiled once for all kinds of arrays


@inner
def _transpose(A, a, lda, B, b, ldb, M, N):
    for m in range(0, M, LANES):
        for n in range(0, N, LANES):
            if m + LANES <= M and n + LANES <= N:
                _block(A, a + m * lda + n, lda, B, b + n * ldb + m, ldb)
            else:
                rows, columns = min(LANES, M - m), min(LANES, N - n)
                _block_part(A, a + m * lda + n, lda, B, b + n * ldb + m, ldb, rows, columns)


@inner
def copy(A, a, lda, B, b, ldb, M, N):
    """B = A (M, N), as `transpose`, but straight."""
    _copy(address(A), a, lda, address(B), b, ldb, M, N)


@inner
def _copy(A, a, lda, B, b, ldb, M, N):
    for m in range(M):
        for n in range(0, N - LANES + 1, LANES):
            prefetch(A, a + (m + AHEAD) * lda + n)
            store(B, b + m * ldb + n, load(A, a + m * lda + n))
        if N % LANES:
            n = N - N % LANES
            store_part(B, b + m * ldb + n, load_part(A, a + m * lda + n, N - n), N - n)
