"""The CPU kernels of `epilogue`.

    epilogue_plan.py        what they are told
    epilogue_inner.py       what they are made of, for sixteen channels at once
    epilogue_forward.py     the statistics of the batch, and y
    epilogue_pool.py        its rows where something is pooled
    epilogue_backward.py    the sums, and dx
    epilogue_unpool.py      the rows of dh where windows meet

`Call` prepares what they take.  A backward goes through x once for dx and dα, and once before that for dγ and dβ where
there is a batch norm.  With pooling and dropout s dy is made first: windows that overlap read it several times.
"""

from math import prod
from typing import Any

import numpy as np

from minicnn import threads
from minicnn.backend import Array, empty
from minicnn.ops import checks, dropout, epilogue_backward, epilogue_forward, epilogue_plan
from minicnn.ops.epilogue import Cache
from minicnn.ops.parts import NOWHERE, Spec, check

MOST_ELEMENTS = 2**31  # of y, for dropout's hash counts them in 32 bits
ANSWERS = 1024  # of `declined` that are kept
MAP_BYTES = 1 << 18  # of a map of α, whose gradient stays in the second cache while the batch goes by


_answers: dict[tuple[Any, ...], bool] = {}


def forward(
    x: Array, alpha=None, gamma=None, beta=None, mean=None, var=None, *, spec: Spec, key: int = 0
) -> tuple[Array, Cache]:
    """See `epilogue.forward`."""
    batch_statistics = spec.norm != "none" and mean is None
    cache = Cache(x, alpha, gamma, beta, mean, var, None, None, spec, dropout.draw_key(key), batch_statistics)
    if declined(cache):
        return NotImplemented
    call = Call(cache)
    if batch_statistics:
        cache = cache._replace(**call.statistics())
    y, argmax = call.forward(cache.mean, cache.var)
    return y, cache._replace(argmax=argmax, windows=call.windows)


def backward(dy: Array, cache: Cache) -> tuple[Array, Array | None, Array | None, Array | None, None, None]:
    """See `epilogue.backward`."""
    if epilogue_plan.declined(dy) or declined(cache):
        return NotImplemented
    call = Call(cache)
    checks.upstream("epilogue", dy, call.y_shape)
    return (*call.backward(dy, empty(call.x.shape)), None, None)


def transposed(dy: Array, shape: tuple[int, ...], spec: Spec, *, argmax: Array | None = None, key: int = 0) -> Array:
    """dx (shape) by (3), for a spec of pooling and dropout alone: then it does not depend on x."""
    dx = empty(shape)
    return Call(only(dx, spec, argmax, key)).backward(dy, dx)[0]


def only(x: Array, spec: Spec, argmax: Array | None = None, key: int = 0) -> Cache:
    """The Cache of an epilogue of these parts, that has no arrays but x."""
    return Cache(x, None, None, None, None, None, argmax, None, spec, key, False)


def elementwise_backward(dy: Array, x: Array, spec: Spec) -> tuple[Array]:
    """(dx,) of an activation without parameters."""
    if epilogue_plan.declined(dy, x):
        return NotImplemented
    cache = only(epilogue_plan.rows(x), spec)
    return (backward(np.ascontiguousarray(dy).reshape(cache.x.shape), cache)[0].reshape(x.shape),)


def declined(cache: Cache) -> bool:
    """Whether the definition must do this: for its dtypes or its size.  ValueError, TypeError where parts do not fit.

    The answer follows from the spec and from types and shapes, and is found once for each of them.
    """
    kinds = [(type(a), getattr(a, "dtype", None), getattr(a, "shape", None)) for a in cache[:6]]
    question = (cache.spec, cache.batch_statistics, *kinds)
    answer = _answers.get(question)
    if answer is None:
        answer = _declined(cache)
        if len(_answers) >= ANSWERS:
            _answers.clear()  # another thread may do so at any moment: nothing is read from it after
        _answers[question] = answer
    return answer


def _declined(cache: Cache) -> bool:
    x, spec = cache.x, cache.spec
    check(x, spec, cache.alpha, cache.mean, cache.var, gamma=cache.gamma, beta=cache.beta)
    if epilogue_plan.declined(*cache[:6]):
        return True
    if x.ndim != 4 and (spec.pool != "none" or spec.margins != NOWHERE):
        return True
    if cache.alpha is not None and not _fits(cache.alpha.shape, x.shape):
        return True
    if cache.batch_statistics and prod(x.shape[:-1]) < 2:
        return True
    if spec.norm != "none":
        given = {} if cache.mean is None else {"mean": cache.mean, "var": cache.var}
        checks.per_channel("batch_norm", x, gamma=cache.gamma, beta=cache.beta, **given)
    pooled_too_wide = spec.pool == "max" and prod(spec.kernel) > epilogue_plan.MOST_TAPS
    return pooled_too_wide or min(spec.margins) < 0 or not 0 <= spec.p <= 1 or x.size >= MOST_ELEMENTS


def _fits(alpha: tuple[int, ...], x: tuple[int, ...]) -> bool:
    """Whether alpha is for every channel or one for all, or for images one for every element."""
    if prod(alpha[:-1]) == 1 and len(alpha) < len(x):
        return alpha[-1] in (1, x[-1])
    return len(x) == 4 and len(alpha) <= 3 and all(a in (1, n) for a, n in zip(alpha[::-1], x[::-1], strict=False))


class Call:
    """One call's arrays, as the kernels take them."""

    def __init__(self, cache: Cache):
        self.cache, spec = cache, cache.spec
        self.x = epilogue_plan.images(cache.x)
        self.alpha, per_element = self._slopes()
        self.plan, self.windows, self.shares = epilogue_plan.plan(
            spec, self.x.shape, per_element, cache.batch_statistics
        )
        self.mask = epilogue_plan.mask(cache.key, float(spec.p))
        out = self.plan.OH, self.plan.OW
        self.y_shape = (len(cache.x), *out, cache.x.shape[3]) if cache.x.ndim == 4 else cache.x.shape
        self.blocks = -(-len(self.x) * self.plan.H // self.plan.block)
        self.threads = threads.count()

    def _slopes(self) -> tuple[Array, bool]:
        """α for every channel, or for every element of an image, and which of the two."""
        C, alpha, spec = self.x.shape[3], self.cache.alpha, self.cache.spec
        if spec.activation == "leaky_relu":
            return epilogue_plan.slopes(C, float(spec.slope)), False
        if alpha is None:
            return epilogue_plan.NO_ALPHA, False
        per_element = prod(alpha.shape[:-1]) > 1
        wanted = self.x.shape[1:] if per_element else (C,)
        alpha = alpha if per_element else alpha.reshape(-1)
        if alpha.size < prod(wanted):
            alpha = np.broadcast_to(alpha, wanted)
        return np.ascontiguousarray(alpha).reshape(-1), per_element

    def _table(self, mean: Array | None, var: Array | None) -> tuple[Array, Array | None]:
        """The rows centre, scale, shift of batch norm, and two more for its backward; and 1/√(σ² + ε)."""
        if mean is None or var is None:
            return epilogue_plan.NO_ALPHA, None
        table, inv_std = np.zeros((5, len(mean)), "float32"), 1 / np.sqrt(var + np.float32(self.cache.spec.eps))
        table[0], table[1], table[2] = mean, self.cache.gamma * inv_std, self.cache.beta
        return table.reshape(-1), inv_std

    def statistics(self) -> dict[str, Array]:
        """mean and var of the batch."""
        C = self.plan.C
        mean, var, partial = np.empty(C, "float32"), np.empty(C, "float32"), empty((self.blocks * 3 * C,))
        epilogue_forward.statistics(self.x, self.alpha, partial, self.plan, self.threads)
        epilogue_forward.merge(partial, len(self.x) * self.plan.H, mean, var, self.plan)
        return {"mean": mean, "var": var}

    def forward(self, mean: Array | None, var: Array | None) -> tuple[Array, Array | None]:
        """y and argmax."""
        shape = (len(self.x), self.plan.OH, self.plan.OW, self.plan.C)
        y = empty(shape)
        argmax = empty(shape, "uint8") if self.cache.spec.pool == "max" else None
        epilogue_forward.forward(
            self.x,
            self.alpha,
            self._table(mean, var)[0],
            y,
            epilogue_plan.NO_ARGMAX if argmax is None else argmax,
            self.shares,
            *self.mask,
            self.plan,
            self.threads,
        )
        return y.reshape(self.y_shape), argmax

    def backward(self, dy: Array, dx: Array) -> tuple[Array, Array | None, Array | None, Array | None]:
        """dx, written into the array given, dalpha, dgamma, dbeta."""
        cache, C = self.cache, self.plan.C
        if cache.spec.p and cache.spec.pool != "none":
            dy, _ = forward(dy, spec=Spec(p=cache.spec.p, channelwise=cache.spec.channelwise), key=cache.key)  # (3)
        dy, dx = epilogue_plan.images(dy), dx.reshape(self.x.shape)
        table, inv_std = self._table(cache.mean, cache.var)
        dgamma = dbeta = dalpha = None
        if inv_std is not None:
            total = np.empty(2 * C, "float32")
            self._run(dy, table, dx, total, self.blocks, sums_only=True)
            dbeta, dgamma = total[:C], total[C:] * inv_std
            m = np.float32(max(1, self.x.size // max(1, C)))
            np.divide(dbeta, m, out=table[3 * C : 4 * C])
            np.multiply(table[C : 2 * C] / -m, inv_std * dgamma, out=table[4 * C :])
        if self.plan.per_element:
            dalpha = empty(self.x.shape[1:])
            rows = self.threads * max(1, MAP_BYTES // max(1, 4 * self.plan.W * C))
            self._run(dy, table, dx, dalpha.reshape(-1), tasks=self.threads * -(-self.plan.H // rows))
        else:
            dalpha = np.empty(C if self.plan.learned else 1, "float32")
            self._run(dy, table, dx, dalpha, self.blocks)
        dalpha = None if cache.alpha is None else _reduced(dalpha, cache.alpha.shape)
        return dx.reshape(cache.x.shape), dalpha, dgamma, dbeta

    def _run(self, dy, table, dx, total, tasks: int, *, sums_only: bool = False) -> None:
        argmax = epilogue_plan.NO_ARGMAX if self.cache.argmax is None else np.ascontiguousarray(self.cache.argmax)
        in_place = self.plan.per_element and not sums_only
        row = self.plan.reach * self.plan.C if not self.plan.apart else 1
        sums = total if in_place else empty((tasks * len(total),))
        epilogue_backward.backward(
            self.x,
            self.alpha,
            table,
            dy,
            argmax,
            self.shares,
            empty((self.threads * row,)),
            dx,
            sums,
            int(sums_only),
            tasks,
            *self.mask,
            self.plan,
            self.threads,
        )
        if sums_only or (self.plan.learned and not in_place):
            epilogue_backward.add_up(sums, tasks, total)


def _reduced(dalpha: Array, shape: tuple[int, ...]) -> Array:
    """dα summed over the axes along which α was repeated."""
    if dalpha.size == prod(shape):
        return dalpha.reshape(shape)
    lead = dalpha.ndim - len(shape)
    wanted = (1,) * lead + shape if lead >= 0 else shape[-dalpha.ndim :]
    axes = tuple(k for k, n in enumerate(wanted) if n == 1)
    return dalpha.sum(axes, dtype="float64").astype("float32").reshape(shape)
