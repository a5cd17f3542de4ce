"""Writes tests/golden/ops.npz: what PyTorch makes, in float64, of every row of ROWS below.

Run `python tests/make_golden.py` where PyTorch is installed, after changing ROWS.  A row's numbers follow from the row
alone, so the others stay as they are.

Everything in the file has minicnn's layout: `counterparts` converts within the computation, and autograd takes the
gradients back the same way.  Inputs and cotangents are float16 numbers, which costs no accuracy and little room.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

GOLDEN = Path(__file__).parent / "golden" / "ops.npz"
DROPOUT_KEYS = [0, 1, 2, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 0x9E3779B97F4A7C15, 2**64 - 1]
CONSTANTS = ("target", "mean", "var")  # inputs that get no gradient

MAKERS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "ties": lambda rng, shape: rng.integers(-2, 3, shape).astype(float),  # zeros and equal maxima among them
    "wide": lambda rng, shape: rng.normal(scale=20, size=shape),
    "positive": lambda rng, shape: rng.uniform(0.5, 2, shape),
    "unit": lambda rng, shape: rng.uniform(-0.3, 1.3, shape).clip(0, 1),
    "simplex": lambda rng, shape: rng.dirichlet(np.ones(shape[1]), shape[0]),
    "classes of 5": lambda rng, shape: rng.integers(0, 5, shape),
}


class Row(NamedTuple):
    """One call of an op.  An input is the shape of normal numbers, None, or (a name in MAKERS, a shape)."""

    op: str
    inputs: dict[str, Any]
    options: dict[str, Any]

    def __str__(self) -> str:
        said = [
            f"{k}={v.tolist() if isinstance(v, np.ndarray) else v}" for k, v in (self.inputs | self.options).items()
        ]
        return f"{self.op}({', '.join(said)})".replace("'", "")

    def make(self, rng: np.random.Generator) -> dict[str, np.ndarray | None]:
        """The inputs by name, float64 or integers."""
        kinds = {k: v if v is None or isinstance(v[0], str) else ("normal", v) for k, v in self.inputs.items()}
        return {k: v and MAKERS[v[0]](rng, v[1]) for k, v in kinds.items()}


def conv(x, w, b=True, **options):
    return Row("conv2d", {"x": x, "w": w, "b": w[3:] if b else None}, options)


def transposed(x, w, b=True, **options):
    return Row("conv_transpose2d", {"x": x, "w": w, "b": w[2:3] if b else None}, options)


def norm(op, x, **options):
    statistics = {"mean": x[-1:], "var": ("positive", x[-1:])} if op == "batch_norm_inference" else {}
    return Row(op, {"x": x, "gamma": x[-1:], "beta": x[-1:], **statistics}, options)


def loss(op, x, target, **options):
    return Row(op, {"x" if op == "mse" else "logits": x, "target": target}, options)


IMAGE, MATRIX, TIES = (2, 3, 5, 3), (3, 4), ("ties", (3, 4, 3))
CLASSES, SIMPLEX = ("classes of 5", (4,)), ("simplex", (4, 5))
WEIGHT = np.array([0.5, 2.0, 1.0, 0.0, 3.25])
REDUCTIONS = ("mean", "sum", "none")
SMOOTHED = {"weight": WEIGHT, "label_smoothing": 0.1}

ROWS: list[Row] = [
    Row("linear", {"x": (4, 5), "w": (5, 3), "b": (3,)}, {}),
    Row("linear", {"x": (2, 3, 5), "w": (5, 2), "b": None}, {}),
    Row("linear", {"x": (1, 1), "w": (1, 7), "b": (7,)}, {}),
    conv((2, 5, 4, 3), (3, 2, 3, 2)),
    conv((2, 5, 4, 2), (3, 3, 2, 3), False, padding=1),
    conv((1, 7, 6, 2), (3, 2, 2, 3), stride=(2, 1), padding=(1, 0)),
    conv((1, 7, 8, 1), (2, 2, 1, 2), stride=3),
    conv((1, 5, 6, 2), (1, 1, 2, 3), stride=(1, 2)),
    conv((1, 4, 5, 1), (2, 1, 1, 2), padding=(3, 2), stride=2),
    conv((1, 7, 8, 2), (3, 2, 2, 2), dilation=2),
    conv((1, 6, 7, 2), (2, 3, 2, 2), dilation=(3, 2), padding=(0, 2), stride=(1, 2)),
    conv((1, 5, 4, 4), (3, 3, 2, 6), groups=2, padding=1),
    conv((2, 4, 5, 3), (2, 3, 1, 3), groups=3, stride=2, padding=(0, 1)),
    conv((1, 5, 4, 3), (3, 3, 1, 6), groups=3, dilation=(1, 2), padding=2),
    conv((2, 3, 4, 2), (3, 4, 2, 3)),
    conv((2, 5, 1, 2), (3, 1, 2, 2), padding=(1, 0)),
    transposed((2, 3, 4, 2), (3, 2, 3, 2)),
    transposed((1, 4, 3, 3), (2, 3, 2, 3), False, stride=(2, 1), padding=(0, 1)),
    transposed((1, 4, 3, 2), (3, 3, 2, 2), stride=2, padding=1, output_padding=1),
    transposed((1, 2, 3, 2), (1, 2, 2, 2), stride=3, output_padding=(2, 0)),
    transposed((1, 3, 2, 2), (4, 3, 1, 2), stride=(3, 2), padding=(2, 1), output_padding=(1, 0)),
    transposed((1, 4, 5, 2), (5, 5, 1, 2), padding=(2, 3)),
    Row("max_pool2d", {"x": (2, 5, 4, 2)}, {"kernel_size": 2}),
    Row("max_pool2d", {"x": ("ties", (2, 5, 6, 2))}, {"kernel_size": (3, 2), "stride": 1}),
    Row("max_pool2d", {"x": ("ties", (2, 5, 6, 2))}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    Row("max_pool2d", {"x": (1, 7, 8, 2)}, {"kernel_size": 2, "stride": (3, 4)}),
    Row("max_pool2d", {"x": (1, 6, 7, 2)}, {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    Row(
        "max_pool2d",
        {"x": (1, 5, 7, 2)},
        {"kernel_size": (2, 4), "stride": (3, 2), "padding": (1, 2), "ceil_mode": True},
    ),
    Row("max_pool2d", {"x": (1, 4, 5, 1)}, {"kernel_size": (4, 5)}),
    Row("avg_pool2d", {"x": (2, 5, 4, 2)}, {"kernel_size": 2}),
    Row("avg_pool2d", {"x": (2, 5, 6, 1)}, {"kernel_size": (3, 2), "stride": 1}),
    Row("avg_pool2d", {"x": (1, 5, 6, 2)}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    Row("avg_pool2d", {"x": (1, 5, 6, 2)}, {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    Row("avg_pool2d", {"x": (1, 7, 8, 2)}, {"kernel_size": 2, "stride": (3, 4)}),
    Row("avg_pool2d", {"x": (1, 6, 7, 2)}, {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    Row("avg_pool2d", {"x": (1, 6, 8, 1)}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    Row(
        "avg_pool2d",
        {"x": (1, 5, 7, 2)},
        {"kernel_size": (2, 4), "stride": (3, 2), "padding": (1, 2), "ceil_mode": True, "count_include_pad": False},
    ),
    Row("global_avg_pool2d", {"x": IMAGE}, {}),
    Row("global_avg_pool2d", {"x": (3, 1, 1, 2)}, {}),
    Row("zero_pad2d", {"x": (2, 2, 3, 2)}, {"padding": 1}),
    Row("zero_pad2d", {"x": (2, 2, 3, 2)}, {"padding": (0, 2)}),
    Row("zero_pad2d", {"x": (2, 2, 3, 2)}, {"padding": (0, 1, 2, 3)}),
    norm("batch_norm", (3, 2, 3, 4)),
    norm("batch_norm", (5, 3), eps=0.1),
    norm("batch_norm", (2, 3, 4), eps=1e-3),
    norm("batch_norm_inference", (3, 2, 3, 4)),
    norm("batch_norm_inference", (1, 5), eps=0.1),
    norm("layer_norm", (2, 3, 5)),
    norm("layer_norm", (4, 7), eps=0.1),
    norm("layer_norm", (2, 3, 2, 4)),
    norm("group_norm", (2, 3, 2, 6), groups=3),
    norm("group_norm", (3, 3, 2, 4), groups=1, eps=0.1),
    norm("group_norm", (2, 5, 4), groups=4),
    norm("group_norm", (3, 6), groups=2),
    Row("relu", {"x": IMAGE}, {}),
    Row("relu", {"x": TIES}, {}),
    Row("leaky_relu", {"x": IMAGE}, {}),
    Row("leaky_relu", {"x": TIES}, {"slope": 0.2}),
    Row("leaky_relu", {"x": MATRIX}, {"slope": -0.5}),
    Row("prelu", {"x": TIES, "alpha": (1,)}, {}),
    Row("prelu", {"x": IMAGE, "alpha": (3,)}, {}),
    Row("prelu", {"x": IMAGE, "alpha": (3, 5, 3)}, {}),
    Row("prelu", {"x": IMAGE, "alpha": (3, 1, 3)}, {}),
    Row("prelu", {"x": MATRIX, "alpha": (4,)}, {}),
    Row("elu", {"x": IMAGE}, {}),
    Row("elu", {"x": TIES}, {"alpha": 0.7}),
    Row("elu", {"x": MATRIX}, {"alpha": -1.3}),
    Row("gelu", {"x": IMAGE}, {}),
    Row("gelu", {"x": ("wide", (3, 4))}, {}),
    Row("gelu", {"x": IMAGE}, {"approximate": True}),
    Row("gelu", {"x": ("wide", (3, 4))}, {"approximate": True}),
    *(Row(op, {"x": x}, {}) for op in ("silu", "sigmoid", "tanh", "softplus") for x in (IMAGE, ("wide", (3, 4)))),
    *(Row(op, {"x": x}, {}) for op in ("softmax", "log_softmax") for x in (MATRIX, (2, 3, 5), ("wide", (3, 4)))),
    Row("flatten", {"x": (2, 2, 3, 2)}, {}),
    Row("flatten", {"x": (5,)}, {}),
    Row("concat", {"x0": (2, 3, 2), "x1": (2, 3, 1), "x2": (2, 3, 4)}, {}),
    Row("concat", {"x0": (2, 3, 2), "x1": (2, 1, 2)}, {"axis": 1}),
    Row("concat", {"x0": (2, 3)}, {"axis": -2}),
    Row("add", {"x0": MATRIX, "x1": MATRIX}, {}),
    Row("add", {"x0": MATRIX, "x1": MATRIX, "x2": MATRIX}, {}),
    *(loss("cross_entropy", (4, 5), target, reduction=r) for target in (CLASSES, SIMPLEX) for r in REDUCTIONS),
    *(
        loss("cross_entropy", (4, 5), target, reduction=r, **SMOOTHED)
        for target in (CLASSES, SIMPLEX)
        for r in REDUCTIONS
    ),
    loss("cross_entropy", ("wide", (4, 5)), CLASSES, label_smoothing=0.3),
    loss("cross_entropy", ("wide", (4, 5)), CLASSES, weight=WEIGHT),
    loss("cross_entropy", (1, 5), ("classes of 5", (1,))),
    *(loss("mse", MATRIX, MATRIX, reduction=r) for r in REDUCTIONS),
    loss("mse", (2, 3, 1, 2), (2, 3, 1, 2)),
    *(loss("binary_cross_entropy", ("wide", (3, 4)), ("unit", (3, 4)), reduction=r) for r in REDUCTIONS),
    loss("binary_cross_entropy", (5,), ("unit", (5,))),
]


def counterparts() -> dict[str, Callable[..., Any]]:
    """Each op in PyTorch's terms, of tensors in minicnn's layout."""
    import torch
    from torch.nn import functional as F

    def image(function):
        """function of (N, C, ...), given and giving (N, ..., C)."""
        return lambda x, *args, **options: function(x.movedim(-1, 1), *args, **options).movedim(1, -1)

    def prelu(x, alpha):
        if alpha.ndim > 1:  # PyTorch has a slope for each channel, at most
            return torch.where(x > 0, x, alpha * x)
        return image(F.prelu)(x, alpha)

    def zero_pad2d(x, padding):
        sides = (padding, padding) if isinstance(padding, int) else padding
        top, bottom, left, right = sides if len(sides) == 4 else np.repeat(sides, 2).tolist()
        return F.pad(x, (0, 0, left, right, top, bottom))

    def batch_norm(x, gamma, beta, mean=None, var=None, eps=1e-5):
        return image(F.batch_norm)(x, mean, var, gamma, beta, training=mean is None, eps=eps)

    return {
        "linear": lambda x, w, b: F.linear(x, w.T, b),
        "conv2d": lambda x, w, b, **options: image(F.conv2d)(x, w.permute(3, 2, 0, 1), b, **options),
        "conv_transpose2d": lambda x, w, b, **options: image(F.conv_transpose2d)(
            x, w.permute(3, 2, 0, 1), b, **options
        ),
        "max_pool2d": image(F.max_pool2d),
        "avg_pool2d": image(F.avg_pool2d),
        "global_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x.movedim(-1, 1), 1).flatten(1),
        "zero_pad2d": zero_pad2d,
        "batch_norm": batch_norm,
        "batch_norm_inference": batch_norm,
        "layer_norm": lambda x, gamma, beta, eps=1e-5: F.layer_norm(x, gamma.shape, gamma, beta, eps),
        "group_norm": lambda x, gamma, beta, groups, eps=1e-5: image(F.group_norm)(x, groups, gamma, beta, eps),
        "relu": F.relu,
        "leaky_relu": lambda x, slope=0.01: F.leaky_relu(x, slope),
        "prelu": prelu,
        "elu": F.elu,
        "gelu": lambda x, approximate=False: F.gelu(x, approximate="tanh" if approximate else "none"),
        "silu": F.silu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softplus": lambda x: F.softplus(x, threshold=100),
        "softmax": lambda x: F.softmax(x, -1),
        "log_softmax": lambda x: F.log_softmax(x, -1),
        "flatten": lambda x: x.reshape(len(x), -1),
        "concat": lambda *xs, axis=-1: torch.cat(xs, axis),
        "add": lambda *xs: sum(xs[1:], xs[0]),
        "cross_entropy": F.cross_entropy,
        "mse": F.mse_loss,
        "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    }


Arrays = list[np.ndarray | None]


def torch_results(
    row: Row, inputs: dict[str, np.ndarray | None], cotangent: Callable[[tuple[int, ...]], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, Arrays]:
    """(y, dy, the gradients of the inputs in order) by PyTorch, with dy = cotangent(y.shape)."""
    import torch

    tensors = {k: None if v is None else torch.tensor(v) for k, v in inputs.items()}
    free = [t.requires_grad_() if t is not None else None for k, t in tensors.items() if k not in CONSTANTS]
    options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in row.options.items()}
    y = counterparts()[row.op](*tensors.values(), **options)
    dy = cotangent(tuple(y.shape))
    y.backward(torch.tensor(dy))
    return y.detach().numpy(), dy, [None if t is None else t.grad.numpy() for t in free]


def short(a: np.ndarray) -> np.ndarray:
    """The nearest float16 numbers, as float64; integers as they are."""
    return a.astype("float16").astype("float64") if a.dtype.kind == "f" else a


def dropout_hash(key: int, k: int) -> int:
    """u of (4) of ops.dropout for element k, in whole numbers of Python's."""

    def finalise(c):
        c = (c ^ c >> 16) * 0x85EBCA6B % 2**32
        c = (c ^ c >> 13) * 0xC2B2AE35 % 2**32
        return c ^ c >> 16  # (2)

    a = finalise(key % 2**32)
    b = finalise(key // 2**32 ^ a)  # (3)
    return finalise((finalise(k % 2**32 ^ a) + b + 0x9E3779B9 * (k // 2**32)) % 2**32)  # (4)


def main() -> None:
    import torch

    arrays = {"torch": np.array(torch.__version__), "rows": np.array([str(row) for row in ROWS])}
    for index, row in enumerate(ROWS):
        rng = np.random.default_rng(zlib.crc32(str(row).encode()))
        inputs = {k: None if v is None else short(v) for k, v in row.make(rng).items()}
        y, dy, gradients = torch_results(row, inputs, lambda shape, rng=rng: short(rng.normal(size=shape)))
        given = [v.ravel() for v in inputs.values() if v is not None]
        found = [v.ravel() for v in (y, *gradients) if v is not None]
        arrays[f"{index} inputs"] = np.concatenate(given).astype("float16")
        arrays[f"{index} dy"] = dy.astype("float16")
        arrays[f"{index} results"] = np.concatenate(found)
    arrays["dropout keys"] = np.array(DROPOUT_KEYS, "uint64")
    arrays["dropout hashes"] = np.array([[dropout_hash(key, k) for k in range(64)] for key in DROPOUT_KEYS], "uint32")
    np.savez_compressed(GOLDEN, **arrays)
    print(f"{GOLDEN}: {len(ROWS)} rows, {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
