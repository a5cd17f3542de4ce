"""What a model's step and inference cannot do without: operations, and bytes between memory and the processor.

Operations are those of convolutions and linear layers, 2 a multiply-add: one pass over the weights forward, and two
back, of which the first layer needs one only.  "winograd" counts a 3x3 convolution of stride 1 at a quarter, which is
what F(4x4, 3x3) saves of its multiplications; its transforms are not counted.

Bytes.  Every weighted layer reads its input x and writes its output y; back it reads x and dy, twice, and writes dx:
3|x| + 3|y| numbers.  A parameter is read forward and back, its gradient written, and Adam reads and writes it and two
moments and reads the gradient: 10 numbers.  Inference reads each x and parameter and writes each y once.
"""

import math
from typing import Any

import numpy as np

from minicnn import dispatch, nn
from minicnn.bench.subjects import Subject
from minicnn.bench.work import Peaks

WINOGRAD = 4.0
FLOAT = 4  # bytes


def work(subject: Subject) -> dict[str, dict[str, float]]:
    """{"step" or "inference": {"flops", "winograd", "bytes"}} for the whole batch."""
    model = subject.build()
    seen: list[tuple[Any, int, int]] = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda m, x, y: seen.append((m, x.size, y.size)))
    with dispatch.using("reference"), model.evaluating():
        model(np.zeros((1, *subject.shape), "float32"))
    parameters = sum(p.data.size for p in model.parameters())
    totals = {kind: dict.fromkeys(("flops", "winograd"), 0.0) for kind in ("step", "inference")}
    for place, (layer, _, y) in enumerate(seen):
        flops = 2.0 * subject.batch * y * math.prod(layer.weight.shape[:-1])
        for kind, passes in (("step", 2 if place == 0 else 3), ("inference", 1)):
            totals[kind]["flops"] += passes * flops
            totals[kind]["winograd"] += passes * flops / (WINOGRAD if _winograd(layer) else 1)
    maps = subject.batch * sum(x + y for _, x, y in seen)
    totals["step"]["bytes"] = FLOAT * (3.0 * maps + 10 * parameters)
    totals["inference"]["bytes"] = FLOAT * (1.0 * maps + parameters)
    return totals


def _winograd(layer: Any) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3) and layer.options["stride"] in (1, (1, 1))


def seconds(subject: Subject, peaks: Peaks) -> dict[str, dict[str, Any]]:
    """The work, and under "direct_floor" and "winograd_floor" the seconds it takes at least at the measured peaks."""
    found: dict[str, dict[str, Any]] = dict(work(subject))
    for needed in found.values():
        needed["direct_floor"] = peaks.floor(needed["flops"], needed["bytes"])
        needed["winograd_floor"] = peaks.floor(needed["winograd"], needed["bytes"])
    return found
