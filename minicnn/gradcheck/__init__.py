"""Numeric against analytic gradients: of an op, a Module, a loss, and of every row of minicnn.cases."""

from minicnn.gradcheck.check import gradcheck
from minicnn.gradcheck.report import GradcheckError, Report, Row
from minicnn.gradcheck.rows import CaseResult, check_case

__all__ = ["CaseResult", "GradcheckError", "Report", "Row", "check_case", "gradcheck"]
