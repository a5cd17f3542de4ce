"""What a gradient check found."""

from dataclasses import dataclass


class GradcheckError(AssertionError):
    """The analytic gradient is not the derivative, or it cannot be told; the message holds the report."""


@dataclass(frozen=True)
class Row:
    """What was found for one input or parameter."""

    name: str
    shape: tuple[int, ...]
    analytic: float
    numeric: float
    error: float  # |analytic - numeric| / |numeric|; in full mode the largest over entries, over the largest |numeric|
    step: float
    where: str = ""  # in full mode, the index of the worst entry
    problem: str = ""

    def __str__(self) -> str:
        numbers = f"{self.analytic:+.9e} {self.numeric:+.9e} {self.error:8.1e}"
        return f"  {self.name:<24} {self.shape!s:<18} {numbers}  {self.where or ''} {self.problem}".rstrip()


@dataclass(frozen=True)
class Report:
    """One row per tensor; true, since a check that fails raises."""

    subject: str
    rows: tuple[Row, ...]

    @property
    def max_error(self) -> float:
        """The largest relative error of any tensor."""
        return max(row.error for row in self.rows)

    def __str__(self) -> str:
        head = f"  {'gradient of':<24} {'shape':<18} {'analytic':>16} {'numeric':>16} {'error':>8}"
        return "\n".join([f"gradcheck {self.subject}", head, *map(str, self.rows)])
