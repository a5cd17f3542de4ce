"""What every optimiser shares: parameter groups, checks, state, and the walk over the parameters.

An optimiser is the names of its options and of its state, and one pure function of arrays,

    update(data, grad, state, options) -> (data, state)

which makes new arrays and writes into none, so an array that a user holds is never overwritten.  State that is missing
(the first step) stands for the initial value given in the class's equations.  Float32 parameters on the host are
updated all in one kernel launch instead, see `together`; there too a user's array is never overwritten.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from minicnn import threads
from minicnn.backend import Array, array_module, is_array, to_host
from minicnn.dispatch import fast, one_pool

Options = dict[str, Any]
State = dict[str, Any]  # name -> array of the parameter's shape, or the number of steps under "step"


class ParameterLike(Protocol):
    """What is used of a `minicnn.nn.Parameter`; data and grad may be replaced by their owner at any time."""

    data: Array
    grad: Array | None
    requires_grad: bool


NOT_NEGATIVE = ("wanted a finite number, 0 or more", lambda x: 0 <= x < math.inf)
BELOW_ONE = ("wanted a number in [0, 1)", lambda x: 0 <= x < 1)
UP_TO_ONE = ("wanted a number in [0, 1]", lambda x: 0 <= x <= 1)
RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "lr": NOT_NEGATIVE,
    "lr_decay": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "momentum": NOT_NEGATIVE,
    "dampening": ("wanted a finite number", math.isfinite),
    "betas": BELOW_ONE,
    "alpha": UP_TO_ONE,
    "rho": UP_TO_ONE,
    "eps": NOT_NEGATIVE,
    "initial_accumulator_value": NOT_NEGATIVE,
}  # every other option is a flag


class Optimizer:
    """Walks over parameters, replacing `p.data` by what `update` makes of it.

    `params` is an iterable of Parameters, or of parameter groups: dicts {"params": [...], "lr": ...} whose options
    stand in for the optimiser's own.  `param_groups` is a list of such dicts with every option filled in; writing
    `group["lr"] = 0.01` there takes effect at the next step.

    Raises ValueError for no parameters, a parameter given twice, an unknown option and an option out of its range, and
    TypeError for what is not a Parameter or not a number.
    """

    state_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Iterable[ParameterLike] | Iterable[dict[str, Any]], defaults: Options):
        self._name = type(self).__name__
        self.defaults = self._checked(defaults, defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[ParameterLike, State] = {}
        self._known: dict[ParameterLike, Any] = {}  # what `together` remembers of parameters
        if isinstance(params, dict) or not isinstance(params, Iterable):
            raise TypeError(
                f"{self._name}: params is a {type(params).__name__}; wanted an iterable of Parameters "
                f"(model.parameters()) or of dicts {{'params': [...], 'lr': ...}}"
            )
        given: list[Any] = list(params)
        groups = given if any(isinstance(g, dict) for g in given) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)
        if not self._parameters():
            raise ValueError(f"{self._name}: params is empty; wanted at least one Parameter")

    @staticmethod
    def check(options: Options) -> str | None:
        """What is wrong with options that are each in range but do not go together, or None."""
        return None

    @staticmethod
    def update(data: Array, grad: Array, state: State, options: Options) -> tuple[Array, State]:
        """One step for one parameter: (new data, new state), of the dtype of data; a pure function."""
        raise NotImplementedError

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add {"params": Parameters, option: value, ...}; an option that is left out takes the optimiser's default."""
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(
                f"{self._name}: a parameter group is {_describe(group)}; wanted a dict {{'params': [...], ...}}"
            )
        given = group["params"]
        params = parameter_list(given if isinstance(given, Iterable) else [given], self._name, self._parameters())
        options = {name: value for name, value in group.items() if name != "params"}
        self.param_groups.append({"params": params, **self._checked(self.defaults | options, self.defaults)})

    def step(self) -> None:
        """Update every parameter that has a gradient and requires one.

        All are checked before the first is changed: ValueError where a gradient or a state has another shape than the
        data, TypeError where a gradient is no array or lives elsewhere than the data.  Meanwhile no other thread may
        begin to use the parameters.
        """
        from minicnn.optim.together import RULES, Launch

        rule = RULES.get(type(self).update) if fast() and not threads.lost() else None
        launch = Launch(rule, self.state, self._known) if rule else None
        work, index = [], -1
        for group in self.param_groups:
            options = self._group_options(group)
            if launch:
                launch.group(options)
            for p in group["params"]:
                index += 1
                if p.grad is not None and p.requires_grad and not (launch and launch.takes(p)):
                    where = f"{self._name}.step: parameter {index}"
                    work.append((p, _fitted_gradient(p, where), self._fitted_state(p, where), options))
        with one_pool():
            if launch:
                launch.run()
            for p, grad, state, options in work:
                data, self.state[p] = self.update(p.data, grad, state, options)
                p.data = array_module(data).asarray(data)  # NumPy makes scalars of 0-d arrays

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to None."""
        for p in self._parameters():
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: {name: NumPy array or number}}, "param_groups": [{"params": [index, ...], option: value}]}.

        Parameters are numbered through the groups in order.  Arrays are copies on the host; all else can be JSON.
        """
        index = {p: i for i, p in enumerate(self._parameters())}
        state = {i: _copied(self.state[p]) for p, i in index.items() if p in self.state}
        groups = [{"params": [index[p] for p in g["params"]], **self._group_options(g)} for g in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the options and (copies of) the state that `state_dict` returned; indices may be text, as in JSON.

        Everything is checked before anything is changed: ValueError for another number of groups or parameters, an
        option or a state this class does not have, and a state of another shape than its parameter.
        """
        where = f"{self._name}.load_state_dict"
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
            raise ValueError(f"{where}: got {_describe(state_dict)}; wanted a dict with 'state' and 'param_groups'")
        saved = state_dict["param_groups"]
        sizes, wanted = [len(g["params"]) for g in saved], [len(g["params"]) for g in self.param_groups]
        if sizes != wanted:
            raise ValueError(f"{where}: got groups of {sizes} parameters; this optimiser has groups of {wanted}")
        options = [self._group_options(g) for g in saved]
        by_index = dict(zip((int(i) for g in saved for i in g["params"]), self._parameters(), strict=True))
        state = {}
        for key, entry in state_dict["state"].items():
            if int(key) not in by_index:
                raise ValueError(f"{where}: got state of parameter {key}; the groups name {sorted(by_index)}")
            p = by_index[int(key)]
            state[p] = self._loaded_state(p, entry, f"{where}: parameter {key}")
        for group, new in zip(self.param_groups, options, strict=True):
            group.update(new)
        self.state = state

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_known": {}}

    def _parameters(self) -> list[ParameterLike]:
        return [p for group in self.param_groups for p in group["params"]]

    def _group_options(self, group: Mapping[str, Any]) -> Options:
        return self._checked({name: value for name, value in group.items() if name != "params"}, self.defaults)

    def _checked(self, options: Options, known: Options) -> Options:
        if options.keys() != known.keys():
            odd = sorted(options.keys() ^ known.keys())
            raise ValueError(f"{self._name}: unknown or missing option {', '.join(odd)}; wanted {', '.join(known)}")
        checked = {name: _checked_option(self._name, name, value) for name, value in options.items()}
        if wrong := self.check(checked):
            raise ValueError(f"{self._name}: {wrong}")
        return checked

    def _loaded_state(self, p: ParameterLike, entry: Mapping[str, Any], where: str) -> State:
        if odd := sorted(set(entry) - set(self.state_names)):
            raise ValueError(f"{where}: unknown state {', '.join(odd)}; {self._name} has {', '.join(self.state_names)}")
        for name, value in entry.items():
            if name != "step" and np.shape(value) != p.data.shape:
                raise ValueError(f"{where}: {name} has shape {np.shape(value)}; wanted {p.data.shape}")
        return _copied(entry)

    def _fitted_state(self, p: ParameterLike, where: str) -> State:
        state = self.state.get(p, {})
        for name, value in state.items():
            if name != "step" and value.shape != p.data.shape:
                raise ValueError(f"{where}: data of shape {p.data.shape} but {name} of {value.shape}; was it replaced?")
        return {name: value if name == "step" else fit(value, p.data) for name, value in state.items()}


def decayed(grad: Array, data: Array, weight_decay: float) -> Array:
    """The gradient of L + λ/2 ‖θ‖²: grad + λ data, or grad itself for λ = 0."""
    return grad + weight_decay * data if weight_decay else grad


def fit(value: Array, data: Array) -> Array:
    """value in the array library and dtype of data: a model may have moved or changed its dtype since."""
    xp = array_module(data)
    return xp.asarray(value if array_module(value) is xp else to_host(value), dtype=data.dtype)


def parameter_list(
    params: Iterable[ParameterLike], where: str, present: Iterable[ParameterLike] = ()
) -> list[ParameterLike]:
    """params as a list; TypeError where one is not a Parameter, ValueError where one occurs twice or is in present."""
    seen, result = {id(p) for p in present}, []
    for p in params:
        if not (is_array(getattr(p, "data", None)) and hasattr(p, "grad") and hasattr(p, "requires_grad")):
            raise TypeError(f"{where}: params holds {_describe(p)}; wanted Parameters")
        if id(p) in seen:
            raise ValueError(f"{where}: a Parameter of shape {p.data.shape} is given twice")
        seen.add(id(p))
        result.append(p)
    return result


def checked_number(where: str, name: str, value: object, wanted: str, fits: Callable[[float], bool]) -> float:
    """value as a Python float (NumPy's would turn float32 arrays into float64); TypeError, ValueError."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{where}: {name} is {value!r}; {wanted}")
    if not fits(float(value)):
        raise ValueError(f"{where}: {name} is {value!r}; {wanted}")
    return float(value)


def _checked_option(where: str, name: str, value: Any) -> Any:
    if name not in RANGES:
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{where}: {name} is {value!r}; wanted True or False")
        return bool(value)
    if name != "betas":
        return checked_number(where, name, value, *RANGES[name])
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{where}: betas is {value!r}; wanted a pair of numbers")
    return tuple(checked_number(where, f"betas[{i}]", beta, *RANGES[name]) for i, beta in enumerate(value))


def _fitted_gradient(p: ParameterLike, where: str) -> Array:
    grad: Any = p.grad
    if not is_array(grad) or array_module(grad) is not array_module(p.data):
        raise TypeError(f"{where}: the gradient is a {_type(grad)}; wanted a {_type(p.data)} like the data")
    if grad.shape != p.data.shape:
        raise ValueError(f"{where}: the gradient has shape {grad.shape}; wanted {p.data.shape} like the data")
    return grad.astype(p.data.dtype, copy=False)


def _copied(state: Mapping[str, Any]) -> State:
    return {name: int(value) if name == "step" else np.array(to_host(value)) for name, value in state.items()}


def _type(x: object) -> str:
    return f"{type(x).__module__}.{type(x).__qualname__}"


def _describe(x: object) -> str:
    return f"a dict with keys {list(x)}" if isinstance(x, Mapping) else f"a {_type(x)}"
