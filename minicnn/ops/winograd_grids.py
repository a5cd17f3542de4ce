"""Grids of vectors in memory, as the transforms of `conv2d_winograd_transforms` read and write them.

Of each class there are two: one writes instructions into the kernel that is being compiled, one computes with NumPy.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from minicnn.simd import plain, vector

_LONG, _BITS = ir.IntType(64), ir.IntType(vector.LANES)


class Value:
    """A vector of the program being compiled: arithmetic with it writes instructions."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def __add__(self, other):
        return Value(self.builder, self.builder.fadd(self.value, other.value))

    def __sub__(self, other):
        return Value(self.builder, self.builder.fsub(self.value, other.value))

    def __rmul__(self, factor):
        return Value(self.builder, self.builder.fmul(self.value, vector.constant(factor)))


class Grid:
    """The vectors i row + j column elements behind an address.

    A window (top, bottom, left, right, lanes) says which of them exist, those in rows top..bottom - 1 and in columns
    left..right - 1, and how many lanes of each.  The others read as zeros, and are not written.
    """

    def __init__(self, builder, base, row, column, window=None):
        self.builder, self.base, self.row, self.column = builder, base, row, column
        self.window: Any = None if window is None else cgutils.unpack_tuple(builder, window)
        self.ahead: Any = None
        self.first = 0
        self.down: dict[int, Any] = {}  # row i -> a bit for each lane that exists there
        self.right: dict[int, Any] = {}  # column j -> as many bits

    def fetch(self, ahead, first: int) -> None:
        """With each vector in rows and columns from `first` on, ask for the memory `ahead` elements further: a few
        instructions at a time among the arithmetic, where they cost nothing."""
        self.ahead, self.first = ahead, first

    def read(self, i: int, j: int, also=None) -> Value:
        """Vector (i, j); zeros where `also`, a mask if there is one, is not set."""
        bits = [b for b in (self._bits(i, j) if self.window else None, also) if b is not None]
        if not bits:
            return Value(self.builder, vector.read(self.builder, self._address(i, j)))
        mask = self._mask(bits[0] if len(bits) == 1 else self.builder.and_(*bits))
        return Value(self.builder, vector.read_where(self.builder, self._address(i, j), mask))

    def write(self, i: int, j: int, v: Value) -> None:
        """Put v at (i, j)."""
        if self.window is None:
            vector.write(self.builder, v.value, self._address(i, j))
        else:
            vector.write_where(self.builder, v.value, self._address(i, j), self._mask(self._bits(i, j)))

    def _address(self, i: int, j: int):
        down, right = self.builder.mul(self.row, _LONG(i)), self.builder.mul(self.column, _LONG(j))
        address = self.builder.gep(self.base, [self.builder.add(down, right)])
        if self.ahead is not None and min(i, j) >= self.first:
            vector.emit_prefetch(self.builder, self.builder.gep(address, [self.ahead]))
        return address

    def _bits(self, i: int, j: int):
        """A bit for each lane that exists."""
        builder, (top, bottom, left, right, lanes) = self.builder, self.window
        if i not in self.down:
            missing = builder.trunc(builder.sub(_LONG(vector.LANES), lanes), _BITS)
            self.down[i] = builder.select(_within(builder, top, i, bottom), builder.lshr(_BITS(-1), missing), _BITS(0))
        if j not in self.right:
            self.right[j] = builder.select(_within(builder, left, j, right), _BITS(-1), _BITS(0))
        return builder.and_(self.down[i], self.right[j])

    def _mask(self, bits):
        return self.builder.bitcast(bits, ir.VectorType(ir.IntType(1), vector.LANES))


def is_all(builder, window, extent: int):
    """Whether a window holds all of a grid of extent x extent vectors."""
    found, result = cgutils.unpack_tuple(builder, window), ir.Constant(ir.IntType(1), 1)
    for value, wanted in zip(found, (0, extent, 0, extent, vector.LANES), strict=True):
        result = builder.and_(result, builder.icmp_signed("==", value, _LONG(wanted)))
    return result


def _within(builder, first, i: int, end):
    return builder.and_(builder.icmp_signed("<=", first, _LONG(i)), builder.icmp_signed("<", _LONG(i), end))


class PlainGrid:
    """The same in NumPy."""

    def __init__(self, array, first, row, column, window=None):
        self.array, self.first, self.row, self.column = array, first, row, column
        self.window = window or (0, np.inf, 0, np.inf, vector.LANES)

    def read(self, i, j, also=True):
        lanes = self._lanes(i, j) if also else 0
        if not lanes:
            return np.zeros(vector.LANES, "float32")
        return plain.load_part(self.array, self.first + i * self.row + j * self.column, lanes)

    def write(self, i, j, v):
        if lanes := self._lanes(i, j):
            plain.store_part(self.array, self.first + i * self.row + j * self.column, v, lanes)

    def _lanes(self, i, j):
        top, bottom, left, right, lanes = self.window
        return lanes if top <= i < bottom and left <= j < right else 0
