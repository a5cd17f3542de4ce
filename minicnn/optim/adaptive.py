"""Optimisers that divide by a running size of the gradient: Adagrad, RMSprop, Adadelta."""

from collections.abc import Iterable
from typing import Any

from minicnn.backend import Array, array_module
from minicnn.optim.base import Optimizer, Options, State, decayed


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients, as torch.optim.Adagrad.

    For a parameter θ with gradient g, rate γ = lr, η = lr_decay, λ = weight_decay, ε = eps;
    s = initial_accumulator_value, t = 0:

        t ← t + 1                                                   (1)
        g ← g + λ θ                                                 (2)
        s ← s + g²                                                  (3)
        θ ← θ − γ/(1 + (t − 1) η) · g / (√s + ε)                    (4)

    Duchi, Hazan & Singer 2011, JMLR 12, Figure 1 with diagonal matrices: ε is their δ, the start of s is 0 and η = 0.
    """

    state_names = ("step", "sum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
    ):
        options = {"lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        super().__init__(params, {"lr": lr, **options, "initial_accumulator_value": initial_accumulator_value})

    @staticmethod
    def update(data: Array, grad: Array, state: State, options: Options) -> tuple[Array, State]:
        t = state.get("step", 0) + 1  # (1)
        grad = decayed(grad, data, options["weight_decay"])  # (2)
        s = state.get("sum", options["initial_accumulator_value"]) + grad * grad  # (3)
        rate = options["lr"] / (1 + (t - 1) * options["lr_decay"])
        return data - rate * grad / (array_module(grad).sqrt(s) + options["eps"]), {"step": t, "sum": s}  # (4)


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient, as torch.optim.RMSprop.

    For a parameter θ with gradient g, rate γ = lr, α = alpha, ε = eps, μ = momentum, λ = weight_decay; v = m = b = 0:

        g ← g + λ θ                                                 (1)
        v ← α v + (1 − α) g²                                        (2)
        m ← α m + (1 − α) g with centered, else 0                   (3)
        d = g / (√(v − m²) + ε)                                     (4)
        b ← μ b + d                                                 (5)
        θ ← θ − γ b                                                 (6)

    Tieleman & Hinton 2012, Coursera, Neural Networks for Machine Learning, lecture 6.5.  Centred and with momentum:
    Graves 2013, arXiv:1308.0850, section 4.2, with ε under the root and the rate inside b.  Rounding can make
    v − m² slightly negative, whose root is NaN in PyTorch; here it counts as 0.
    """

    state_names = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
    ):
        options = {"eps": eps, "weight_decay": weight_decay, "momentum": momentum, "centered": centered}
        super().__init__(params, {"lr": lr, "alpha": alpha, **options})

    @staticmethod
    def update(data: Array, grad: Array, state: State, options: Options) -> tuple[Array, State]:
        xp, alpha, momentum = array_module(grad), options["alpha"], options["momentum"]
        grad = decayed(grad, data, options["weight_decay"])  # (1)
        v = variance = alpha * state.get("square_avg", 0.0) + (1 - alpha) * grad * grad  # (2)
        state = state | {"square_avg": v}
        if options["centered"]:
            m = state["grad_avg"] = alpha * state.get("grad_avg", 0.0) + (1 - alpha) * grad  # (3)
            variance = xp.maximum(v - m * m, 0.0)
        direction = grad / (xp.sqrt(variance) + options["eps"])  # (4)
        if momentum:
            direction = state["momentum_buffer"] = momentum * state.get("momentum_buffer", 0.0) + direction  # (5)
        return data - options["lr"] * direction, state  # (6)


class Adadelta(Optimizer):
    """Steps in the units of the parameter, from running means of squares, as torch.optim.Adadelta.

    For a parameter θ with gradient g, rate γ = lr, ρ = rho, ε = eps, λ = weight_decay; v = w = 0:

        g ← g + λ θ                                                 (1)
        v ← ρ v + (1 − ρ) g²                                        (2)
        d = √(w + ε) / √(v + ε) · g                                 (3)
        w ← ρ w + (1 − ρ) d²                                        (4)
        θ ← θ − γ d                                                 (5)

    Zeiler 2012, arXiv:1212.5701, Algorithm 1, which has no rate: γ = 1.
    """

    state_names = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
    ):
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay})

    @staticmethod
    def update(data: Array, grad: Array, state: State, options: Options) -> tuple[Array, State]:
        xp, rho, eps = array_module(grad), options["rho"], options["eps"]
        grad = decayed(grad, data, options["weight_decay"])  # (1)
        w = state.get("acc_delta", 0.0)
        v = rho * state.get("square_avg", 0.0) + (1 - rho) * grad * grad  # (2)
        step = (w + eps) ** 0.5 / xp.sqrt(v + eps) * grad  # (3)
        w = rho * w + (1 - rho) * step * step  # (4)
        return data - options["lr"] * step, {"square_avg": v, "acc_delta": w}  # (5)
