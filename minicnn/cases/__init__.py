"""The table: one row per op, which tests, `minicnn gradcheck` and benchmarks walk.

A new op adds a row, and with it gets its gradient, dtype, stride, read-only, error-message, kernel and pairing tests.
"""

from minicnn.cases import activations, classification, dense, fused, norms, shapes, targets, transposed, windows
from minicnn.cases.case import Case, Error, Sample

ROOMS = (windows, transposed, norms, activations, shapes, classification, targets, fused, dense)
CASES: dict[str, Case] = {case.name: case for room in ROOMS for case in room.CASES}

__all__ = ["CASES", "Case", "Error", "Sample"]
