"""Winograd's short convolution: m outputs of a filter with three taps for m + 2 multiplications instead of 3 m.

One dimension.  Let a have m coefficients and g three.  The product s(x) = a(x) g(x) of the polynomials has n = m + 2:

    s_l = Σ_k g_k a_{l-k}                                                                (1)

Toom and Cook find it from values.  s has degree n - 1, so its values at n - 1 points p_0, p_1, ... and its leading
coefficient s_∞ = a_{m-1} g_2, its "value at infinity", determine it.  With f_i = Π_{j≠i} (p_i - p_j), by Lagrange:

    s(x) = Σ_i a(p_i) g(p_i) / f_i Π_{j≠i} (x - p_j)  +  s_∞ Π_j (x - p_j)               (2)

In matrices, for all rows i of finite points and a last row for infinity:

    s = B ((G g) ⊙ (A a)),   A[i,l] = p_i^l,   G[i,k] = p_i^k / f_i,
                             B[l,i] = the coefficient of x^l in Π_{j≠i} (x - p_j)        (3)
    A[∞] = (0, ..., 0, 1),   G[∞] = (0, 0, 1),   B[l,∞] = that in Π_j (x - p_j)

A layer wants the transpose, the correlation y_i = Σ_k g_k d_{i+k} of n inputs d.  By (1), for every a,

    Σ_i a_i y_i = Σ_i Σ_k a_i g_k d_{i+k} = Σ_l d_l s_l = dᵀ B ((G g) ⊙ (A a)) = aᵀ Aᵀ ((G g) ⊙ (Bᵀ d))

and therefore

    y = Aᵀ ((G g) ⊙ (Bᵀ d))                                                              (4)

Two dimensions.  (4) along the rows of an n x n tile d and then along its columns; g is now 3 x 3, y is m x m:

    Y = Aᵀ ((G g Gᵀ) ⊙ (Bᵀ d B)) A                                                       (5)

n² multiplications for m² outputs: 36 for 16 where the sum itself takes 144.  With channels, the entry in ⊙ is summed
over them, and so is a matrix product for each of the n² entries.

The points decide how exact (5) is in float32: products of far-apart powers lose digits.  Points ±p share work, as
their rows differ in signs only.  0, ±3/4, ±3/2 for m = 4 lose three times less than the textbook's 0, ±1, ±2, and
±1/2, ±5/4 for m = 3 twice as little as those again, at the level of a plain sum in float32; all entries of A and B are
then exact in binary.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

Matrix = tuple[tuple[Fraction, ...], ...]

TAPS = 3
POINTS = {  # tile m: m + 1 finite points
    3: (Fraction(1, 2), Fraction(-1, 2), Fraction(5, 4), Fraction(-5, 4)),
    4: (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2)),
}


class Matrices(NamedTuple):
    """A (n, m), B (n, n), G (n, 3) of (3)."""

    A: Matrix
    B: Matrix
    G: Matrix


def matrices(points: Sequence[Fraction]) -> Matrices:
    """A, B, G of (3), exactly, for finite points that all differ; m is one less than there are."""
    n = len(points) + 1
    m = n + 1 - TAPS
    others = [[q for q in points if q != p] for p in points]
    f = [_product([p - q for q in rest]) for p, rest in zip(points, others, strict=True)]
    A = [_powers(p, m) for p in points] + [_last(m)]
    G = [[power / f_i for power in _powers(p, TAPS)] for p, f_i in zip(points, f, strict=True)] + [_last(TAPS)]
    columns = [[*_polynomial(rest), Fraction(0)] for rest in others] + [_polynomial(points)]
    return Matrices(_matrix(A), transposed(_matrix(columns)), _matrix(G))


def transposed(matrix: Matrix) -> Matrix:
    """The transpose."""
    return tuple(zip(*matrix, strict=True))


def apply(matrix: Sequence[Sequence[Any]], x: Sequence[Any]) -> list[Any]:
    """The matrix times a column x, with the work of mirrored columns and of mirrored rows done once.

    Columns p and q that differ in some rows' signs only are met by x_p + x_q and x_p - x_q; rows likewise share the
    sum over the columns where they agree and that over the columns where they are opposite.
    """
    matrix, x = _fold_columns(matrix, x)
    result: list[Any] = [None] * len(matrix)
    for i, row in enumerate(matrix):
        if result[i] is not None:
            continue
        mate = next((j for j in range(i + 1, len(matrix)) if _mirrored(row, matrix[j])), None)
        if mate is None:
            result[i] = _combine(row, x)
            continue
        same, opposite = _agreement(row, matrix[mate])
        even, odd = _combine(same, x), _combine(opposite, x)
        result[i], result[mate] = even + odd, even - odd
    return result


def sandwich(matrix: Sequence[Sequence[Any]], X: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """L X Lᵀ: L for the columns of X, then for the rows of what comes out."""
    columns = [apply(matrix, column) for column in zip(*X, strict=True)]
    return [apply(matrix, [column[i] for column in columns]) for i in range(len(matrix))]


def _fold_columns(matrix, x):
    """The same product with x_p + x_q and x_p - x_q in place of x_p and x_q where columns p and q are mirrored."""
    columns, x = [list(column) for column in zip(*matrix, strict=True)], list(x)
    for p, column in enumerate(columns):
        for q in range(p + 1, len(columns)):
            if _mirrored(column, columns[q]):
                columns[p], columns[q] = _agreement(column, columns[q])
                x[p], x[q] = x[p] + x[q], x[p] - x[q]
                break
    return list(zip(*columns, strict=True)), x


def _agreement(r, s) -> tuple[list[Any], list[Any]]:
    """r where it equals s, and r where it does not, with zeros elsewhere."""
    pairs = list(zip(r, s, strict=True))
    return [c if c == d else 0 for c, d in pairs], [c if c != d else 0 for c, d in pairs]


def _mirrored(r, s) -> bool:
    """Whether two rows are equal but for signs, some equal and some opposite, and long enough for sharing to pay."""
    pairs = [(c, d) for c, d in zip(r, s, strict=True) if c or d]
    signs = {c == d for c, d in pairs}
    return len(pairs) > 2 and len(signs) == 2 and all(abs(c) == abs(d) for c, d in pairs)


def _combine(row, x):
    """Σ_k row[k] x[k] without the zeros, beginning with a term of factor 1 where there is one."""
    terms = sorted(((c, v) for c, v in zip(row, x, strict=True) if c), key=lambda term: term[0] != 1)
    c, v = terms[0]
    result = v if c == 1 else c * v
    for c, v in terms[1:]:
        result = result + v if c == 1 else result - v if c == -1 else result + c * v
    return result


def _powers(p: Fraction, count: int) -> list[Fraction]:
    return [p**k for k in range(count)]


def _last(count: int) -> list[Fraction]:
    return [Fraction(0)] * (count - 1) + [Fraction(1)]


def _product(factors: Sequence[Fraction]) -> Fraction:
    result = Fraction(1)
    for factor in factors:
        result *= factor
    return result


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of Π (x - root), the constant one first."""
    coefficients = [Fraction(1)]
    for root in roots:
        times_x = [Fraction(0), *coefficients]
        coefficients = [c - root * lower for c, lower in zip(times_x, [*coefficients, Fraction(0)], strict=True)]
    return coefficients


def _matrix(rows: Sequence[Sequence[Fraction]]) -> Matrix:
    return tuple(tuple(row) for row in rows)
