"""Stochastic gradient descent."""

from collections.abc import Iterable
from typing import Any

from minicnn.backend import Array
from minicnn.optim.base import Optimizer, Options, State, decayed


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD.

    For a parameter θ with gradient g, rate γ = lr, μ = momentum, τ = dampening, λ = weight_decay:

        g ← g + λ θ                                                 (1)
        v ← g at the first step, then μ v + (1 − τ) g               (2)
        d = v, or g + μ v with nesterov (d = g without momentum)    (3)
        θ ← θ − γ d                                                 (4)

    Momentum: Polyak 1964; both forms: Sutskever et al. 2013, "On the importance of initialization and momentum in deep
    learning", section 2.  There the rate is inside the velocity, v ← μ v − γ g and θ ← θ + v: the same while γ is
    constant, but here a new rate acts at once on the whole velocity.  Nesterov's gradient is theirs at θ + μ v; this
    form keeps that point as its θ (Bengio et al. 2012, arXiv:1212.0901, section 3.5).

    ValueError for nesterov without momentum or with dampening, besides what `Optimizer` raises.
    """

    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        nesterov: bool = False,
        weight_decay: float = 0,
        *,
        dampening: float = 0,
    ):
        options = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay, "dampening": dampening}
        super().__init__(params, {"lr": lr, **options})

    @staticmethod
    def check(options: Options) -> str | None:
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            return (
                f"nesterov with momentum {options['momentum']} and dampening {options['dampening']}; "
                "wanted momentum above 0 and dampening 0"
            )
        return None

    @staticmethod
    def update(data: Array, grad: Array, state: State, options: Options) -> tuple[Array, State]:
        momentum = options["momentum"]
        grad = decayed(grad, data, options["weight_decay"])  # (1)
        if momentum == 0:
            return data - options["lr"] * grad, state  # (4)
        if "momentum_buffer" in state:
            v = momentum * state["momentum_buffer"] + (1 - options["dampening"]) * grad  # (2)
        else:
            v = grad.copy()  # the gradient's owner may write into it
        direction = grad + momentum * v if options["nesterov"] else v  # (3)
        return data - options["lr"] * direction, {"momentum_buffer": v}  # (4)
