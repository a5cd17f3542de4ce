"""The CPU kernel of `dropout`: an `epilogue` that only drops."""

from minicnn.backend import Array
from minicnn.ops import checks, epilogue_numba
from minicnn.ops.dropout import Cache, draw_key
from minicnn.ops.epilogue_plan import declined, rows
from minicnn.ops.parts import Spec


def forward(x: Array, *, p: float, rng, channelwise: bool = False) -> tuple[Array, Cache]:
    """See `dropout.forward`."""
    p = float(p)
    if declined(x) or not 0 <= p <= 1 or (channelwise and x.ndim < 2) or x.size >= epilogue_numba.MOST_ELEMENTS:
        return NotImplemented  # before a key is drawn
    cache = Cache(draw_key(rng), p, channelwise, x.shape)
    y, _ = epilogue_numba.forward(x if channelwise else rows(x), spec=_spec(cache), key=cache.key)  # (1)
    return y.reshape(x.shape), cache


def backward(dy: Array, cache: Cache) -> tuple[Array]:
    """See `dropout.backward`."""
    checks.upstream("dropout", dy, cache.shape)
    if declined(dy):
        return NotImplemented
    return forward(dy, p=cache.p, rng=cache.key, channelwise=cache.channelwise)[:1]  # (5)


def _spec(cache: Cache) -> Spec:
    return Spec(p=cache.p, channelwise=cache.channelwise)
