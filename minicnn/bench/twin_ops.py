"""Single ops in PyTorch, channels_last, from the shapes of a call: what `minicnn bench ops --against torch` times."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from minicnn.bench.worker import Action

POOLING = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")


def _conv2d(x: Tensor, w: Tensor, b: Tensor | None, o: dict[str, Any]) -> Tensor:
    return functional.conv2d(x, w, b, **o)


def _prelu(x: Tensor, alpha: Tensor, o: dict[str, Any]) -> Tensor:
    if alpha.ndim == 1:
        return functional.prelu(x, alpha)
    return functional.prelu(x.permute(0, 2, 3, 1).flatten(1), alpha.flatten())


def _batch_norm(x: Tensor, gamma: Tensor, beta: Tensor, o: dict[str, Any]) -> Tensor:
    return functional.batch_norm(x, None, None, gamma, beta, training=True)


def _batch_norm_inference(x, gamma, beta, mean, var, o: dict[str, Any]) -> Tensor:
    return functional.batch_norm(x, mean, var.abs(), gamma, beta, training=False)


def _dropout(x: Tensor, o: dict[str, Any]) -> Tensor:
    drop = functional.dropout2d if o["channelwise"] and x.ndim == 4 else functional.dropout
    return drop(x, o["p"], training=True)


def _zero_pad2d(x: Tensor, o: dict[str, Any]) -> Tensor:
    p = o["padding"]
    top, bottom, left, right = p * (4 // len(p)) if len(p) != 2 else (p[0], p[0], p[1], p[1])
    return functional.pad(x, (left, right, top, bottom))


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "add": lambda *xs_and_options: sum(xs_and_options[1:-1], xs_and_options[0]),
    "avg_pool2d": lambda x, o: functional.avg_pool2d(x, **{k: v for k, v in o.items() if k in POOLING}),
    "batch_norm": _batch_norm,
    "batch_norm_inference": _batch_norm_inference,
    "concat": lambda *xs_and_options: torch.cat(xs_and_options[:-1], 1),
    "conv2d": _conv2d,
    "cross_entropy": lambda x, target, o: functional.cross_entropy(x, target),
    "dropout": _dropout,
    "flatten": lambda x, o: x.permute(0, 2, 3, 1).flatten(1),
    "global_avg_pool2d": lambda x, o: functional.adaptive_avg_pool2d(x, 1).flatten(1),
    "leaky_relu": lambda x, o: functional.leaky_relu(x, o["slope"]),
    "linear": lambda x, w, b, o: functional.linear(x, w, b),
    "max_pool2d": lambda x, o: functional.max_pool2d(x, **{k: v for k, v in o.items() if k in POOLING}),
    "prelu": _prelu,
    "relu": lambda x, o: functional.relu(x),
    "zero_pad2d": _zero_pad2d,
}


def actions(calls: list[dict[str, Any]], threads: int) -> dict[str, Action]:
    """{"0": ...}: an action for every described call, whose tensors are made when it is asked for."""
    torch.set_num_threads(threads)
    held: dict[str, Callable[[], object]] = {}

    def action(index: int, call: dict[str, Any]) -> Action:
        def ready() -> None:
            held.clear()
            held["act"] = _act(call)

        return ready, lambda: held["act"]()

    return {str(k): action(k, call) for k, call in enumerate(calls)}


def _act(call: dict[str, Any]) -> Callable[[], object]:
    """What is timed: the forward without gradients, or the backward alone."""
    inputs = [_tensor(call["op"], k, shape) for k, shape in enumerate(call["shapes"])]
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in call["options"].items()}
    function = FUNCTIONS[call["op"]]
    if call["direction"] == "forward":

        def forward() -> None:
            with torch.inference_mode():
                function(*inputs, options)

        return forward
    wanted = [
        t.requires_grad_()
        for k, t in enumerate(inputs)
        if t is not None and t.is_floating_point() and (k or call["input_gradient"])
    ]
    y = function(*inputs, options)
    dy = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)


def _tensor(op: str, place: int, shape: list[int] | None) -> Any:
    """A random tensor for our array of this shape, in PyTorch's layout; None for None, classes for a target."""
    if shape is None:
        return None
    if op == "cross_entropy" and place == 1:
        return torch.randint(0, 7, shape)
    if len(shape) == 4 and op == "conv2d" and place == 1:
        kh, kw, c, out = shape
        return torch.randn(out, c, kh, kw).div_(math.sqrt(kh * kw * c)).contiguous(memory_format=torch.channels_last)
    if len(shape) == 4:
        N, H, W, C = shape
        return torch.randn(N, C, H, W).contiguous(memory_format=torch.channels_last)
    return torch.randn(shape[::-1] if op == "linear" and place == 1 else shape)
