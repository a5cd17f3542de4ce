"""Matrix products for `dense_block`, whose sides are multiples of sixteen channels and runs of rows, inside one thread.

Against simd.multiply_nn and multiply_tn: the tile is higher and narrower.  That is as fast, fits the 32 columns of a
growth, and leaves no rows over where 64 channels are the rows.
"""

from minicnn.simd import LANES, address, inner
from minicnn.simd.tile import TILE_COLUMNS, TILE_ROWS, make_tile

ROWS, SIXTEENS = (8, 2) if TILE_COLUMNS >= 4 * LANES else (TILE_ROWS, 1)
SOME = ROWS // 2

_nn, _nn_some, _nn_one = make_tile(ROWS, SIXTEENS), make_tile(SOME, SIXTEENS), make_tile(1, SIXTEENS)
_nn_last, _nn_last_one = make_tile(ROWS, 1), make_tile(1, 1)
_tn, _tn_one = make_tile(ROWS, SIXTEENS, transposed=True), make_tile(1, SIXTEENS, transposed=True)
_tn_last, _tn_last_one = make_tile(ROWS, 1, transposed=True), make_tile(1, 1, transposed=True)


@inner
def product(A, a, lda, B, b, ldb, C, c, ldc, M, N, K, H, a_step, b_step, add):
    """C (M, N) (+)= Σ_h A_h (M, K) B_h (K, N), N a multiple of sixteen; arguments as of simd.multiply_nn."""
    # compiled once for all kinds of arrays
    _blocks_nn(address(A), a, lda, address(B), b, ldb, address(C), c, ldc, M, N, K, H, a_step, b_step, add)


@inner
def _blocks_nn(A, a, lda, B, b, ldb, C, c, ldc, M, N, K, H, a_step, b_step, add):
    n = 0
    while n < N:
        wide, x, y, left = n + LANES * SIXTEENS <= N, a, c + n, M
        while left:
            if wide and left >= ROWS:
                _nn(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                done = ROWS
            elif wide and left >= SOME:
                _nn_some(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                done = SOME
            elif wide:
                _nn_one(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                done = 1
            elif left >= ROWS:
                _nn_last(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                done = ROWS
            else:
                _nn_last_one(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                done = 1
            x, y, left = x + done * lda, y + done * ldc, left - done
        n += LANES * SIXTEENS if wide else LANES


@inner
def product_tn(A, a, lda, B, b, ldb, C, c, ldc, M, N, K, H, a_step, b_step, add):
    """C (M, N) (+)= Σ_h A_hᵀ B_h for A_h (K, M), B_h (K, N), as `product`."""
    _blocks_tn(address(A), a, lda, address(B), b, ldb, address(C), c, ldc, M, N, K, H, a_step, b_step, add)


@inner
def _blocks_tn(A, a, lda, B, b, ldb, C, c, ldc, M, N, K, H, a_step, b_step, add):
    n = 0
    while n < N:
        wide, x, y, left = n + LANES * SIXTEENS <= N, a, c + n, M
        while left:
            if wide and left >= ROWS:
                _tn(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                done = ROWS
            elif wide:
                _tn_one(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                done = 1
            elif left >= ROWS:
                _tn_last(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                done = ROWS
            else:
                _tn_last_one(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                done = 1
            x, y, left = x + done, y + done * ldc, left - done
        n += LANES * SIXTEENS if wide else LANES
