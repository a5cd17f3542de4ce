"""Matrix products for `dense_block`, whose sides are multiples of sixteen channels and runs of rows, inside one thread.

Against simd.multiply_nn and multiply_tn: the tile is higher and narrower.  That is as fast, fits the 32 columns of a
growth, and leaves no rows over where 64 channels are the rows.
"""

from minicnn.simd import LANES, inner
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
    n = 0
    while n < N:
        wide, m = n + LANES * SIXTEENS <= N, 0
        while m < M:
            x, y = a + m * lda, c + m * ldc + n
            if wide and m + ROWS <= M:
                _nn(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                m += ROWS
            elif wide and m + SOME <= M:
                _nn_some(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                m += SOME
            elif wide:
                _nn_one(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                m += 1
            elif m + ROWS <= M:
                _nn_last(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                m += ROWS
            else:
                _nn_last_one(A, x, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                m += 1
        n += LANES * SIXTEENS if wide else LANES


@inner
def product_tn(A, a, lda, B, b, ldb, C, c, ldc, M, N, K, H, a_step, b_step, add):
    """C (M, N) (+)= Σ_h A_hᵀ B_h for A_h (K, M), B_h (K, N), as `product`."""
    n = 0
    while n < N:
        wide, m = n + LANES * SIXTEENS <= N, 0
        while m < M:
            y = c + m * ldc + n
            if wide and m + ROWS <= M:
                _tn(A, a + m, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                m += ROWS
            elif wide:
                _tn_one(A, a + m, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                m += 1
            elif m + ROWS <= M:
                _tn_last(A, a + m, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                m += ROWS
            else:
                _tn_last_one(A, a + m, lda, B, b + n, ldb, C, y, ldc, K, H, a_step, b_step, add)
                m += 1
        n += LANES * SIXTEENS if wide else LANES
