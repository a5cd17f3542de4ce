"""The parameters of `dense_block`, six for each layer, and what must hold of them."""

from collections.abc import Sequence

from minicnn.backend import Array
from minicnn.ops import checks

NAMES = ("gamma1", "beta1", "w1", "gamma2", "beta2", "w2")


def check(x: Array, parameters: Sequence[Array], statistics) -> tuple[int, tuple[Array, ...] | None]:
    """(number of layers, statistics as a tuple), if everything fits."""
    checks.image("dense_block", x)
    if not parameters or len(parameters) % 6:
        raise ValueError(f"dense_block: {len(parameters)} parameters, wanted six for each layer: {', '.join(NAMES)}")
    layers, C = len(parameters) // 6, x.shape[3]
    for k in range(layers):
        given = dict(zip(NAMES, parameters[6 * k : 6 * k + 6], strict=True))
        checks.floating("dense_block", **given)
        width, growth = given["gamma2"].shape[0], given["w2"].shape[-1]
        shapes = ((C,), (C,), (1, 1, C, width), (width,), (width,), (3, 3, width, growth))
        for (name, came), wanted in zip(given.items(), shapes, strict=True):
            if came.shape != wanted:
                raise ValueError(f"dense_block: {name} of layer {k + 1} has shape {came.shape}, wanted {wanted}")
        C += growth
    if statistics is not None and len(statistics) != 4 * layers:
        raise ValueError(f"dense_block: {len(statistics)} statistics, wanted mean1, var1, mean2, var2 of each layer")
    return layers, None if statistics is None else tuple(statistics)
