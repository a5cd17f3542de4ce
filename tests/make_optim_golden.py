"""Writes tests/golden/optim.npz: what torch.optim makes of a fixed sequence of gradients, for every row of CASES.

Run `python tests/make_optim_golden.py` where PyTorch is installed, after changing CASES or the sequence.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "golden" / "optim.npz"
SHAPES = ((3, 4), (5,))
STEPS, LOOKS = 30, (1, 2, 10, 30)  # the displacement from the start is kept after these steps

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.9)}),
    ("Adam", {"lr": 0.1, "betas": (0.0, 0.0)}),
    ("Adam", {"lr": 0.1, "eps": 0.1}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.2}),
    ("Adam", {"lr": 0.1, "betas": (0.9, 0.5), "amsgrad": True}),
    ("Adam", {"lr": 0.1, "betas": (0.9, 0.5), "amsgrad": True, "weight_decay": 0.2}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.2}),
    ("AdamW", {"lr": 0.1, "betas": (0.9, 0.5), "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.5}),
    ("RMSprop", {"lr": 0.1, "eps": 0.1}),
    ("RMSprop", {"lr": 0.1, "weight_decay": 0.2}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.9, "weight_decay": 0.2}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "weight_decay": 0.2}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5}),
    ("Adagrad", {"lr": 0.1, "eps": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5}),
    ("Adadelta", {"rho": 0.5}),
    ("Adadelta", {"eps": 1e-3}),
    ("Adadelta", {"weight_decay": 0.2}),
]


def name_of(case: tuple[str, dict[str, Any]]) -> str:
    """E.g. "SGD(lr=0.1)": the key in the file and the test's id."""
    return f"{case[0]}({', '.join(f'{k}={v}' for k, v in case[1].items())})"


def sequence() -> tuple[list[np.ndarray], list[list[np.ndarray | None]]]:
    """The start and every step's gradients: shrinking (or amsgrad would be Adam), and two of them missing."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    grads: list[list[Any]] = [[rng.standard_normal(s) * 0.9**t for s in SHAPES] for t in range(STEPS)]
    grads[3][1] = grads[10][1] = None
    return start, grads


def walk(optimizer: Any, params: list[Any], grads: list[list[Any]], array: Callable[[Any], Any]) -> Iterator[int]:
    """Feed the gradients to an optimiser, PyTorch's or ours; yield the steps taken.  Half-way lr is halved."""
    for t, row in enumerate(grads):
        if t == STEPS // 2:
            optimizer.param_groups[0]["lr"] *= 0.5
        for p, grad in zip(params, row, strict=True):
            p.grad = None if grad is None else array(grad)
        optimizer.step()
        yield t + 1


def flat(params: list[Any]) -> np.ndarray:
    """The data of all parameters, one after the other."""
    return np.concatenate([np.asarray(p.data).ravel() for p in params])


def torch_displacements(case: tuple[str, dict[str, Any]], start: list[np.ndarray], grads: list[Any]) -> np.ndarray:
    """(len(LOOKS), number of values): how far torch's optimiser is from the start after each of LOOKS steps."""
    import torch

    params = [torch.nn.Parameter(torch.tensor(a)) for a in start]
    optimizer = getattr(torch.optim, case[0])(params, **case[1])
    begin = flat(params).copy()
    return np.array([flat(params) - begin for t in walk(optimizer, params, grads, torch.tensor) if t in LOOKS])


def main() -> None:
    start, grads = sequence()
    arrays = {name_of(case): torch_displacements(case, start, grads) for case in CASES}
    given = {f"start {i}": a for i, a in enumerate(start)}
    given |= {f"grad {t} {i}": g for t, row in enumerate(grads) for i, g in enumerate(row) if g is not None}
    GOLDEN.parent.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN, **arrays, **given)
    print(f"{GOLDEN}: {len(arrays)} cases, {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
