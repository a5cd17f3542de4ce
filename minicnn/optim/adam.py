"""Adam and AdamW."""

from collections.abc import Iterable
from typing import Any

from minicnn.backend import Array, array_module
from minicnn.optim.base import Optimizer, Options, State, decayed


class Adam(Optimizer):
    """Steps scaled by running moments of the gradient, as torch.optim.Adam.

    For a parameter θ with gradient g, rate γ = lr, (β₁, β₂) = betas, ε = eps, λ = weight_decay; m = v = u = 0, t = 0:

        t ← t + 1                                                   (1)
        g ← g + λ θ                                                 (2)
        m ← β₁ m + (1 − β₁) g                                       (3)
        v ← β₂ v + (1 − β₂) g²                                      (4)
        u ← max(u, v) with amsgrad, else v                          (5)
        θ ← θ − γ/(1 − β₁ᵗ) · m / (√u / √(1 − β₂ᵗ) + ε)             (6)

    Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1: the factors 1 − βᵗ undo the pull of m and v towards their start, 0.
    The weight decay (2) is L2 regularisation, which the paper has not; `AdamW` decouples it.  amsgrad: Reddi, Kale &
    Kumar 2018, arXiv:1904.09237, Algorithm 2, which has neither the factors of (6) nor ε; here, as in PyTorch, the
    largest v is kept uncorrected and corrected by the factor of the present step.
    """

    state_names = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
    ):
        options = {"betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, {"lr": lr, **options})

    @staticmethod
    def update(data: Array, grad: Array, state: State, options: Options) -> tuple[Array, State]:
        xp, (beta1, beta2) = array_module(grad), options["betas"]
        t = state.get("step", 0) + 1  # (1)
        grad = decayed(grad, data, options["weight_decay"])  # (2)
        m = beta1 * state.get("exp_avg", 0.0) + (1 - beta1) * grad  # (3)
        v = u = beta2 * state.get("exp_avg_sq", 0.0) + (1 - beta2) * grad * grad  # (4)
        state = state | {"step": t, "exp_avg": m, "exp_avg_sq": v}
        if options["amsgrad"]:
            u = state["max_exp_avg_sq"] = xp.maximum(state.get("max_exp_avg_sq", 0.0), v)  # (5)
        rate, root = options["lr"] / (1 - beta1**t), (1 - beta2**t) ** 0.5
        return data - rate * m / (xp.sqrt(u) / root + options["eps"]), state  # (6)


class AdamW(Adam):
    """Adam with decoupled weight decay, as torch.optim.AdamW.

        θ ← (1 − γ λ) θ                                             (1)

    and then the step of `Adam` with λ = 0, whose gradient was taken before (1).  So the decay is the same for every
    weight, where L2 regularisation through Adam decays weights with large gradients less.

    Loshchilov & Hutter 2019, arXiv:1711.05101, Algorithm 2, with the rate γ where the paper has only its schedule
    multiplier η: λ here is the paper's divided by its α.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)

    @staticmethod
    def update(data: Array, grad: Array, state: State, options: Options) -> tuple[Array, State]:
        data = (1 - options["lr"] * options["weight_decay"]) * data  # (1)
        return Adam.update(data, grad, state, options | {"weight_decay": 0.0})
