"""The transforms of `conv2d_winograd`, T = L X Lᵀ for grids of vectors of sixteen channels, as straight-line code.

    transform(m, X, x, x_row, x_column, T, t, t_row, t_column, ...)

X[i, j] is the vector i x_row + j x_column elements behind element x of the array X, and so for T.  Of a matrix for each
tile size m that of the call's m is taken.  A transform is a few dozen additions and multiplications of vectors that
never leave the registers; `sandwich` writes them down.  Where X or T is in an image, x_window or t_window tells what of
it exists (see `Grid`); for the usual case, all of it, there is a program of its own.  Of the image, the memory `ahead`
elements further is asked for on the way, so that it is near when its turn comes.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from minicnn.ops.winograd_grids import Grid, PlainGrid, Value, is_all
from minicnn.ops.winograd_matrices import POINTS, Matrix, matrices, sandwich, transposed
from minicnn.simd import plain, vector

BOTH = "X x x_row x_column T t t_row t_column".split()
_WINDOW = types.UniTuple(types.int64, 5)
_KINDS = {"x_window": _WINDOW, "t_window": _WINDOW, "slope": types.float32}


class _Compiled:
    """What a transform is made of, as instructions; its arguments by name.

    inside: all of the window is there.  shared: how many rows and columns of it the tiles before have, too.
    """

    def __init__(self, context, builder, names, kinds, values, shared=0, inside=False):
        self.context, self.builder, self.shared, self.inside = context, builder, shared, inside
        self.kinds, self.values = dict(zip(names, kinds, strict=True)), dict(zip(names, values, strict=True))

    def grid(self, name: str) -> Grid:
        """X or T."""
        row, column, window = (self.values.get(f"{name.lower()}_{k}") for k in ("row", "column", "window"))
        grid = Grid(self.builder, self._address(name), row, column, None if self.inside else window)
        if window is not None:
            grid.fetch(self.values["ahead"], self.shared)
        return grid

    def load(self, name: str) -> Value:
        """The vector at element s of the array S."""
        return Value(self.builder, vector.read(self.builder, self._address(name)))

    def store(self, name: str, v: Value) -> None:
        """Put v there."""
        vector.write(self.builder, v.value, self._address(name))

    def rectified(self, z: Value) -> Value:
        """z where it is above zero, else z times slope."""
        positive = self.builder.fcmp_ordered(">", z.value, vector.constant(0))
        low = self.builder.fmul(z.value, vector.repeat(self.builder, self.values["slope"]))
        return Value(self.builder, self.builder.select(positive, z.value, low))

    def any_of(self, *names: str) -> Any:
        """A mask for Grid.read: all lanes if any of these numbers, 0 or 1, is 1."""
        masks = [self.builder.neg(self.builder.trunc(self.values[n], ir.IntType(vector.LANES))) for n in names]
        return masks[0] if len(masks) == 1 else self.builder.or_(*masks)

    def _address(self, name: str):
        where = self.kinds[name], self.values[name], self.values[name.lower()]
        return vector.pointer(self.context, self.builder, *where)


class _Computed:
    """The same in NumPy."""

    def __init__(self, names, values):
        self.values = dict(zip(names, values, strict=True))

    def grid(self, name):
        where = [name, *(name.lower() + k for k in ("", "_row", "_column", "_window"))]
        return PlainGrid(*map(self.values.get, where))

    def load(self, name):
        return plain.load(self.values[name], self.values[name.lower()])

    def store(self, name, v):
        plain.store(self.values[name], self.values[name.lower()], v)

    def rectified(self, z):
        return np.where(z > 0, z, np.float32(self.values["slope"]) * z)

    def any_of(self, *names):
        return any(self.values[n] for n in names)


def _plainly(L, p) -> None:
    _run(L, p.grid("X"), p.grid("T"))


def _summing(L, p) -> None:
    X = _run(L, p.grid("X"), p.grid("T"))
    p.store("S", sum(chain(*X), p.load("S")))


def _rectifying(L, p) -> None:
    shift = p.load("B")
    _run(L, p.grid("X"), p.grid("T"), lambda i, j, v: p.rectified(v + shift))


def _overlapping(L, p) -> None:
    target = p.grid("T")

    def finish(i, j, v):
        names = ["above"] * (i < 2) + ["before"] * (j < 2)
        return v + target.read(i, j, p.any_of(*names)) if names else v

    _run(L, p.grid("X"), target, finish)


def _run(L, source, target, finish=lambda i, j, v: v):
    """Put L X Lᵀ into the target, each entry finished; returns X."""
    size = range(len(L[0]))
    X = [[source.read(i, j) for j in size] for i in size]
    for i, row in enumerate(sandwich(L, X)):
        for j, v in enumerate(row):
            target.write(i, j, finish(i, j, v))
    return X


def _define(program: Callable[..., None], more: str, matrix_of: dict[int, Matrix]) -> Any:
    """The transform of this program that takes `more` arguments: arrays in capitals, else numbers."""
    names, tiles = [*BOTH, *more.split()], {}
    for m, matrix in matrix_of.items():
        tiles[m] = tuple(tuple(float(c) for c in row) for row in matrix)
    if numba.config.DISABLE_JIT:
        return lambda m, *args: program(tiles[m], _Computed(names, args))
    windowed = next((name for name in names if name.endswith("_window")), None)

    def generate(context, builder, sig, args):
        arguments = context, builder, names, sig.args[1:], args[1:]
        for m, L in tiles.items():
            with builder.if_then(builder.icmp_signed("==", args[0], args[0].type(m))):
                if windowed is None:
                    program(L, _Compiled(*arguments))
                    continue
                extent = len(L[0]) if windowed == "x_window" else len(L)
                window = args[1 + names.index(windowed)]
                with builder.if_else(is_all(builder, window, extent)) as (then, otherwise):
                    with then:
                        program(L, _Compiled(*arguments, extent - m, inside=True))
                    with otherwise:
                        program(L, _Compiled(*arguments, extent - m))
        return context.get_dummy_value()

    def build(*given):
        takes = [kind if n.isupper() else _KINDS.get(n, types.int64) for n, kind in zip(names, given, strict=True)]
        return types.void(types.int64, *takes), generate

    scope: dict[str, Any] = {"build": build}
    listed = ", ".join(names)
    exec(f"def transform(context, m, {listed}):\n    return build({listed})\n", scope)
    return intrinsic(scope["transform"])  # Numba reads the names of its arguments


_OF = {m: matrices(points) for m, points in POINTS.items()}

weights = _define(_plainly, "", {m: of.G for m, of in _OF.items()})  # U
weight_gradients = _define(_plainly, "", {m: transposed(of.G) for m, of in _OF.items()})  # dw
inputs = _define(_plainly, "x_window ahead", {m: transposed(of.B) for m, of in _OF.items()})  # V
output_gradients = _define(_summing, "x_window ahead S s", {m: of.A for m, of in _OF.items()})  # D; S += all of X
outputs = _define(_rectifying, "t_window ahead B b slope", {m: transposed(of.A) for m, of in _OF.items()})  # y
# dx, added to what is there in the first two rows if above, not 0, is 1, and in the first two columns if before is 1
input_gradients = _define(_overlapping, "t_window ahead above before", {m: of.B for m, of in _OF.items()})
