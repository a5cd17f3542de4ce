"""Matrix products of whole matrices, on all threads: C = A B, A Bᵀ or Aᵀ B, in blocks that stay in the caches.

The tiles multiply what lies in the nearest cache.  So the threads share out C in strips of TILE_ROWS rows and panels of
TILE_COLUMNS columns, and each goes through its part so:

    for a band of columns, for a block of rows:      this piece of C stays in the second cache
        for DEPTH of the inner index k:
            pack that much of B: panel after panel   each panel fits the first cache, and its rows touch each other
            for a few strips of rows, for each panel: C += A B by tiles

Every entry of C is summed over k in one order, whatever the number of threads: all give the same bits.

Transposing is left to packing: Bᵀ is transposed on the way into its panels, Aᵀ is copied to where rows are near each
other and then read by tiles made for it.  Where B is large and A small, A Bᵀ is computed as (B Aᵀ)ᵀ, so that the small
one is transposed.

With so few rows that the time is that of reading B, none of this pays: `_few_rows` goes straight through B.
"""

import numba
import numpy as np

from minicnn import backend
from minicnn.simd.compile import array, f32, i64, inner, vector_in
from minicnn.simd.move import copy, transpose
from minicnn.simd.shared import shared
from minicnn.simd.tile import TILE_COLUMNS, TILE_ROWS, multiply_nn, multiply_tn
from minicnn.simd.vector import LANES, broadcast, fma, load, load_part, store, store_part

DEPTH = 128  # of k: a packed panel takes 4 DEPTH TILE_COLUMNS bytes
STRIPS = 16 * TILE_ROWS  # rows of A that all panels meet in turn
FEW = 4  # rows of A, for which the time is that of reading B
BAND = 256  # columns that are packed at once
NARROW = 64  # as many where there are few rows
BLOCK = 96 * 1024  # entries of the piece of C
RESULT = DEPTH * BAND  # where the scratch memory of a thread, behind the packed panels, has what will be transposed
SCRATCH = RESULT + BLOCK

NONE = np.empty(0, "float32")

matrix_in, matrix_out = array(2, strided=True), array(2, strided=True, writable=True)


def gemm_nn(A, B, C, *, bias=None, add: bool = False, threads: int = 0) -> None:
    """C (M, N) = A (M, K) B (K, N), of float32.

    Their last axes are contiguous; rows may be any distance apart.  bias (N,) is added to every row.  add: to what C
    holds.  threads: in so many parts; 0 for as many as Numba has threads.
    """
    _gemm(A, B, C, bias, add, threads, False, False)


def gemm_nt(A, B, C, *, add: bool = False, threads: int = 0) -> None:
    """C (M, N) = A (M, K) Bᵀ for B (N, K); see `gemm_nn`."""
    (M, N), K = C.shape, A.shape[1]
    if not add and M * (N + K) < N * K:  # less to transpose
        _gemm(B, A, C, None, add, threads, False, True, swapped=True)
    else:
        _gemm(A, B, C, None, add, threads, False, True)


def gemm_tn(A, B, C, *, add: bool = False, threads: int = 0) -> None:
    """C (M, N) = Aᵀ B for A (K, M) and B (K, N); see `gemm_nn`."""
    _gemm(A, B, C, None, add, threads, True, False)


def _gemm(A, B, C, bias, add, threads, a_transposed, b_transposed, swapped=False) -> None:
    (K, M), (L, N) = A.shape[:: 1 if a_transposed else -1], B.shape[:: -1 if b_transposed else 1]
    if K != L or C.shape != ((N, M) if swapped else (M, N)) or (bias is not None and bias.shape != (N,)):
        shapes = ", ".join(str(x.shape) for x in (A, B, C, bias) if x is not None)
        raise ValueError(f"gemm: the shapes {shapes} do not fit")
    for x in (A, B, C):
        if x.size and x.shape[1] > 1 and x.strides[1] != x.itemsize:
            raise ValueError(f"gemm: shape {x.shape} has strides {x.strides}, wanted a contiguous last axis")
    if C.size == 0:
        return
    if K == 0 or (add and bias is not None):
        C[...] = (C if add else 0) + (0 if bias is None else bias)
        bias, add = None, True
    if K == 0:
        return
    threads = threads or numba.get_num_threads()
    if M <= FEW and not (a_transposed or b_transposed):
        sums = backend.empty((-(-K // DEPTH), M, N))
        _few_rows(A, B, sums, threads)
        if add:
            C += sums.sum(0)
        else:
            np.add.reduce(sums, 0, out=C)
        if bias is not None:
            C += bias
        return
    scratch = backend.empty((threads, SCRATCH))
    flags = (a_transposed, b_transposed, swapped, add, bias is not None)
    _product(A, B, C, NONE if bias is None else bias, scratch, M, N, K, *flags, threads)


@shared((matrix_in, matrix_in, array(3, writable=True), i64))
def _few_rows(A, B, sums, threads, t):
    """sums[p] = A[:, p-th piece of k] B[that piece]: whole rows of B, in the order in which they lie in memory."""
    pieces = len(sums)
    for piece in range(t * pieces // threads, (t + 1) * pieces // threads):
        _piece(A, B, sums, piece, pieces)


@inner
def _piece(A, B, sums, piece, pieces):
    (M, K), N = A.shape, B.shape[1]
    sums[piece] = 0
    first, k_end = piece * K // pieces, (piece + 1) * K // pieces
    k, whole = first, N // LANES * LANES
    while k + 4 <= k_end:
        for m in range(M):
            _add_four_rows(A, B, sums, m, k, (piece * M + m) * N, whole)
        k += 4
    for rest in range(k, k_end):
        for m in range(M):
            for n in range(whole):
                sums[piece, m, n] += A[m, rest] * B[rest, n]
    if whole < N:
        for m in range(M):
            _last_columns(A, B, sums, m, first, k_end, (piece * M + m) * N + whole, whole, N - whole)


@inner
def _add_four_rows(A, B, sums, m, k, place, N):
    """Each sum is loaded and stored once for the four; N is a multiple of LANES."""
    pitch = B.strides[0] // 4
    b = k * pitch
    a_0, a_1, a_2, a_3 = broadcast(A[m, k]), broadcast(A[m, k + 1]), broadcast(A[m, k + 2]), broadcast(A[m, k + 3])
    for n in range(0, N, LANES):
        value = fma(a_0, load(B, b + n), load(sums, place + n))
        value = fma(a_1, load(B, b + pitch + n), value)
        value = fma(a_2, load(B, b + 2 * pitch + n), value)
        store(sums, place + n, fma(a_3, load(B, b + 3 * pitch + n), value))


@inner
def _last_columns(A, B, sums, m, k, k_end, place, n, width):
    """The columns from n on that do not fill a vector: their sums stay in registers, two of them side by side."""
    pitch, even, odd = B.strides[0] // 4, broadcast(f32(0)), broadcast(f32(0))
    for pair in range(k, k_end - 1, 2):
        even = fma(broadcast(A[m, pair]), load_part(B, pair * pitch + n, width), even)
        odd = fma(broadcast(A[m, pair + 1]), load_part(B, (pair + 1) * pitch + n, width), odd)
    if (k_end - k) % 2:
        even = fma(broadcast(A[m, k_end - 1]), load_part(B, (k_end - 1) * pitch + n, width), even)
    store_part(sums, place, even + odd, width)


@shared((matrix_in, matrix_in, matrix_out, vector_in, matrix_out, *[i64] * 9))
def _product(A, B, C, bias, scratch, M, N, K, a_transposed, b_transposed, swapped, add, biased, threads, t):
    """The part of C that is thread t's."""
    strips, panels = -(-M // TILE_ROWS), -(-N // TILE_COLUMNS)
    across = _grid(strips, panels, threads)
    down, i, j = threads // across, t // across, t % across
    m, m_end = i * strips // down * TILE_ROWS, min(M, (i + 1) * strips // down * TILE_ROWS)
    n, n_end = j * panels // across * TILE_COLUMNS, min(N, (j + 1) * panels // across * TILE_COLUMNS)
    band = BAND if m_end - m > STRIPS else NARROW
    for first in range(n, n_end, band):
        columns = min(band, n_end - first)
        height = BLOCK // columns // STRIPS * STRIPS
        for top in range(m, m_end, height):
            rows, piece = min(height, m_end - top), t * SCRATCH
            if biased:
                copy(bias, first, 0, C, top * (C.strides[0] // 4) + first, C.strides[0] // 4, rows, columns)
            where, how = (top, rows, first, columns, K), (a_transposed, b_transposed, swapped, add or biased)
            _block(A, B, C, scratch, piece, *where, *how)


@inner
def _grid(strips, panels, threads):
    """In how many parts the panels go, so that the largest part is small and little of A and B is read twice."""
    best, across = -1, 1
    for count in range(1, threads + 1):
        if threads % count == 0:
            down = threads // count
            most_strips, most_panels = -(-strips // down), -(-panels // count)
            cost = 24 * most_strips * most_panels + most_strips * TILE_ROWS + most_panels * TILE_COLUMNS
            if best < 0 or cost < best:
                best, across = cost, count
    return across


@inner
def _block(A, B, C, scratch, mine, top, rows, first, columns, K, a_transposed, b_transposed, swapped, add):
    """The piece (rows, columns) of C at (top, first); `mine` is where the scratch memory of this thread begins."""
    lda, ldb, ldc = A.strides[0] // 4, B.strides[0] // 4, C.strides[0] // 4
    target, c, pitch = C, top * ldc + first, ldc
    if swapped:
        target, c, pitch = scratch, mine + RESULT, columns
    parts = -(-K // DEPTH)
    for part in range(parts):
        k, k_end = part * K // parts, (part + 1) * K // parts
        for n in range(0, columns, TILE_COLUMNS):
            width, panel = min(TILE_COLUMNS, columns - n), mine + n * DEPTH
            if b_transposed:
                transpose(B, (first + n) * ldb + k, ldb, scratch, panel, TILE_COLUMNS, width, k_end - k)
            else:
                copy(B, k * ldb + first + n, ldb, scratch, panel, TILE_COLUMNS, k_end - k, width)
        for m in range(0, rows, STRIPS):
            for n in range(0, columns, TILE_COLUMNS):
                goal, panel, more = c + m * pitch + n, mine + n * DEPTH, 1 if part else add
                size = (min(STRIPS, rows - m), min(TILE_COLUMNS, columns - n), k_end - k, 1, 0, 0, more)
                if a_transposed:
                    a = k * lda + top + m
                    multiply_tn(A, a, lda, scratch, panel, TILE_COLUMNS, target, goal, pitch, *size)
                else:
                    a = (top + m) * lda + k
                    multiply_nn(A, a, lda, scratch, panel, TILE_COLUMNS, target, goal, pitch, *size)
    if swapped:
        transpose(scratch, c, pitch, C, first * ldc + top, ldc, rows, columns)
