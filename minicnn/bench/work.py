"""How much an op must compute and move at least, and how long that takes at the machine's measured peaks."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minicnn.bench.calls import Call

GEMM_SIZES = (256, 512, 1024, 2048)
TRIAD_FLOATS = 1 << 24  # 64 MiB an array, beyond every cache that is likely


class Peaks(NamedTuple):
    """What the machine was seen to reach."""

    flops: float  # a second, float32, in a matrix product
    bytes: float  # a second, in a = b + s c beyond the caches

    def floor(self, flops: float, moved: float) -> float:
        """The seconds that so much work takes at least: the longer of the two."""
        return max(flops / self.flops, moved / self.bytes)


def flops(call: Call) -> float:
    """2 operations a multiply-add in convolutions and products, by their definitions; 1 an element elsewhere."""
    name = call.op.name.partition(".")[0]
    forward = call.op.name.endswith(".forward")
    outputs = call.outputs()
    if name.startswith(("conv2d", "linear")):
        w = _weight(call)
        y = outputs[0] if forward else call.args[0]
        products = y.size * math.prod(w.shape[:-1])
        passes = 1 if forward else 2 if call.kwargs.get("input_gradient", True) else 1
        return 2.0 * products * passes
    return float(max((a.size for a in (*call.arrays(), *outputs)), default=0))


def _weight(call: Call) -> np.ndarray:
    """The weight of a convolution or product: the second array of the call or of the cache in it."""
    given = [a for a in call.args if isinstance(a, np.ndarray)]
    return given[1] if len(given) > 1 else next(v for v in _named(call.args[1], "w"))


def _named(cache: Any, name: str) -> Any:
    """The fields of this name in a Cache, and in those inside it."""
    if hasattr(cache, "_fields"):
        for field, value in zip(cache._fields, cache, strict=True):
            if field == name and isinstance(value, np.ndarray):
                yield value
            yield from _named(value, name)


def moved(call: Call) -> float:
    """The bytes of every array it reads or makes, once each; none where all it makes is a view."""
    read, made = call.arrays(), call.outputs()
    fresh = [y for y in made if not any(np.may_share_memory(y, a) for a in read)]
    return float(sum(a.nbytes for a in (*read, *fresh))) if fresh else 0.0


def measure(threads: int, *, quick: bool = False) -> Peaks:
    """The best of several matrix products, ours and BLAS's, and of the triad."""
    return Peaks(_gemm(GEMM_SIZES[:1] if quick else GEMM_SIZES), _triad(threads, TRIAD_FLOATS >> (8 if quick else 0)))


def _gemm(sizes: tuple[int, ...]) -> float:
    from minicnn.ops import linear

    rates = []
    for n in sizes:
        a, b = (np.random.default_rng(k).random((n, n), dtype="float32") for k in range(2))
        for product in (linear.forward, np.matmul):
            rates.append(2 * n**3 / best(functools.partial(product, a, b), 0.2))
            time.sleep(0.05)  # BLAS's threads go on spinning for a while
    return max(rates)


def _triad(threads: int, n: int) -> float:
    import numba

    @numba.njit(parallel=True)
    def triad(a, b, c):
        for i in numba.prange(a.size):
            a[i] = b[i] + np.float32(3) * c[i]

    numba.set_num_threads(min(threads, numba.get_num_threads()))
    a, b, c = (np.ones(n, "float32") for _ in range(3))
    return 3 * a.nbytes / best(lambda: triad(a, b, c), 0.3)


def best(act: Callable[[], object], seconds: float) -> float:
    """The least time of calls made for so many seconds, at least 3, after one that does not count."""
    act()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return min(times)
