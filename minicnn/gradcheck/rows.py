"""The gradient check of a row of minicnn.cases: the right backward passes, and every wrong one is rejected."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from minicnn.cases import Case
from minicnn.gradcheck.check import gradcheck
from minicnn.gradcheck.report import GradcheckError


@dataclass(frozen=True)
class CaseResult:
    """What became of one row of minicnn.cases."""

    case: Case
    max_error: float
    failures: tuple[str, ...]  # what the right backward is accused of
    missed: tuple[str, ...]  # wrong backwards that passed

    @property
    def ok(self) -> bool:
        """The right backward passes to 1e-7 and every wrong one is rejected."""
        return not self.failures and not self.missed

    def __str__(self) -> str:
        wrong = f"{len(self.case.wrong) - len(self.missed)}/{len(self.case.wrong)} wrong backwards rejected"
        said = "ok" if self.ok else "; ".join([*self.failures, *(f"PASSES: {name}" for name in self.missed)])
        samples = f"{len(self.case.samples)} samples"
        return f"{self.case.name:<22} {samples:<11} largest error {self.max_error:.1e}   {wrong}   {said}"


def check_case(case: Case, seed: int = 0) -> CaseResult:
    """Check an op on every sample of its row, and that each planted wrong backward is rejected on one of them."""
    calls = [(tuple(s.inputs(np.random.default_rng(seed)).values()), dict(s.kwargs)) for s in case.samples]
    errors, failures = [0.0], []
    for inputs, kwargs in calls:
        try:
            errors.append(gradcheck(case.op, inputs, kwargs=kwargs, rtol=1e-7, seed=seed).max_error)
        except GradcheckError as error:
            failures.append(str(error))
    missed = []
    for name, wrong in case.wrong.items():
        impostor = SimpleNamespace(__name__=name, forward=case.op.forward, backward=wrong)
        if not any(_rejected(impostor, inputs, kwargs, seed) for inputs, kwargs in calls):
            missed.append(name)
    return CaseResult(case, max(errors), tuple(failures), tuple(missed))


def _rejected(impostor: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], seed: int) -> bool:
    """Whether the check calls the gradient wrong (a kink or a vanishing derivative does not count)."""
    try:
        gradcheck(impostor, inputs, kwargs=kwargs, seed=seed)
    except GradcheckError as error:
        return "WRONG" in str(error)
    return False
