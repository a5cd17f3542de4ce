"""What each function of `vector.py` and `tile.py` means, in NumPy: a vector is an array of sixteen elements.

Runs with NUMBA_DISABLE_JIT=1 use these, so that a kernel can be stepped through as plain Python.
"""

import numpy as np

LANES = 16


def elements(a, i, n):
    """n elements of an array from number i on, counted in memory from its first; writable where a is."""
    first = a[(0,) * (a.ndim - 1)][:1] if a.ndim else a
    there = np.lib.stride_tricks.as_strided(first, (2,), (i * a.itemsize,))[1:]
    return np.lib.stride_tricks.as_strided(there, (n,), (a.itemsize,))


def load(a, i):
    return load_part(a, i, LANES)


def store(a, i, v):
    store_part(a, i, v, LANES)


def load_part(a, i, n):
    v = np.zeros(LANES, "float32")
    v[:n] = elements(a, i, n)
    return v


def store_part(a, i, v, n):
    elements(a, i, n)[:] = v[:n]


def load_bytes(a, i):
    return load_bytes_part(a, i, LANES)


def store_bytes(a, i, v):
    store_bytes_part(a, i, v, LANES)


def load_bytes_part(a, i, n):
    v = np.zeros(LANES, "int32")
    v[:n] = elements(a, i, n)
    return v


def store_bytes_part(a, i, v, n):
    elements(a, i, n)[:] = v[:n].astype("uint8")


def address(a):
    return a


def prefetch(a, i):
    pass


def broadcast(x):
    return np.full(LANES, x, "float32")


def spread(k):
    return np.full(LANES, k % 2**32, "uint32").view("int32")


def lanes():
    return np.arange(LANES, dtype="int32")


def whole(x):
    return x.view("uint32").astype("float32")


def fma(x, y, z):
    return (x.astype("float64") * y + z).astype("float32")


def square_root(x):
    return np.sqrt(x)


def nearest(x):
    return np.rint(x)


def power_of_two(n):
    return np.ldexp(np.float32(1), n.astype("int32"))


def maximum(x, y):
    return np.where(x > y, x, y)


def minimum(x, y):
    return np.where(x < y, x, y)


def greater(x, y):
    return x > y


def unordered(x, y):
    return np.isnan(x) | np.isnan(y)


def equal(x, y):
    return x == y


def unsigned_less(x, y):
    return x.view("uint32") < y.view("uint32")


def both(m, n):
    return m & n


def select(mask, x, y):
    return np.where(mask, x, y)


def shift_right(x, n):
    return (x.view("uint32") >> np.uint32(n)).view("int32")


def total(x):
    width = LANES
    while width > 1:
        width //= 2
        x = x[:width] + x[width : 2 * width]
    return x[0]


def tile(transposed, rows, columns, A, a, lda, B, b, ldb, C, c, ldc, K, H, a_step, b_step, add):
    """C (rows, columns) = Σ_h A_h B_h, or added to C; see tile.py."""
    for r in range(rows):
        y = elements(C, c + r * ldc, columns)
        value = y.astype("float64") if add else np.zeros(columns)
        for h in range(H):
            for k in range(K):
                at = a + h * a_step + (k * lda + r if transposed else r * lda + k)
                value = value + float(elements(A, at, 1)[0]) * elements(B, b + h * b_step + k * ldb, columns)
        y[:] = value
