"""Averaged parameters."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from minicnn.backend import to_host
from minicnn.dispatch import fast
from minicnn.optim.base import BELOW_ONE, ParameterLike, checked_number, fit, parameter_list
from minicnn.optim.together import averaged


class EMA:
    """The exponential moving average a of every parameter θ of a Module, or of the Parameters given.

        a = θ when the EMA is made                                  (1)
        a ← a + (1 − decay) (θ − a) at every `update`               (2)

    It averages over about the last 1/(1 − decay) updates.  Polyak & Juditsky 1992 averaged all of them; this form as in
    Tarvainen & Valpola 2017, arXiv:1703.01780, section 2.  Buffers (running statistics) stay the model's own.

        for x, y in batches:
            ...; optimizer.step(); ema.update()
        with ema.applied():
            evaluate(model)

    Raises ValueError for a decay outside [0, 1), no parameters or one given twice; TypeError for what is no Parameter.
    """

    def __init__(self, model_or_params: Any, decay: float = 0.999):
        params = getattr(model_or_params, "parameters", None)
        given: Iterable[Any] = params() if callable(params) else model_or_params
        if not isinstance(given, Iterable):
            raise TypeError(f"EMA: got a {type(given).__name__}; wanted a Module or an iterable of Parameters")
        self.decay = checked_number("EMA", "decay", decay, *BELOW_ONE)
        self.params: list[ParameterLike] = parameter_list(given, "EMA")
        if not self.params:
            raise ValueError("EMA: params is empty; wanted at least one Parameter")
        self.averages = [p.data.copy() for p in self.params]  # (1)

    def update(self) -> None:
        """Take the present parameters into the averages."""
        for i, p in enumerate(self.params):
            if self.averages[i].shape != p.data.shape:
                raise ValueError(
                    f"EMA.update: parameter {i} has shape {p.data.shape}; wanted that of its average, "
                    f"{self.averages[i].shape}"
                )
        values = [p.data for p in self.params]
        averages = [fit(average, value) for average, value in zip(self.averages, values, strict=True)]
        self.averages = (fast() and averaged(averages, values, 1 - self.decay)) or [
            average + (1 - self.decay) * (value - average)  # (2)
            for average, value in zip(averages, values, strict=True)
        ]

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the parameters are the averages; after it, however it ends, what they were before."""
        before = [p.data for p in self.params]
        try:
            for p, average in zip(self.params, self.averages, strict=True):
                p.data = fit(average, p.data).copy()  # a user may write into what a Parameter holds
            yield
        finally:
            for p, data in zip(self.params, before, strict=True):
                p.data = data

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: {"average": NumPy array, a copy}}, "decay": number}: the form of an optimiser's."""
        state = {i: {"average": np.array(to_host(average))} for i, average in enumerate(self.averages)}
        return {"state": state, "decay": self.decay}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over (copies of) what `state_dict` returned; ValueError for other keys, numbers or shapes."""
        where = "EMA.load_state_dict"
        if not isinstance(state_dict, Mapping) or state_dict.keys() != {"state", "decay"}:
            raise ValueError(f"{where}: got {list(state_dict)}; wanted a dict with 'state' and 'decay'")
        decay = checked_number(where, "decay", state_dict["decay"], *BELOW_ONE)
        averages = {int(i): entry["average"] for i, entry in state_dict["state"].items()}
        if sorted(averages) != list(range(len(self.params))):
            raise ValueError(f"{where}: got averages of {len(averages)} parameters; wanted {len(self.params)}")
        for i, p in enumerate(self.params):
            if np.shape(averages[i]) != p.data.shape:
                raise ValueError(f"{where}: average {i} has shape {np.shape(averages[i])}; wanted {p.data.shape}")
        self.decay = decay
        self.averages = [np.array(to_host(averages[i])) for i in range(len(self.params))]
