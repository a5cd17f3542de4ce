"""A layer without parameters is an op and its keyword arguments."""

from types import ModuleType
from typing import Any

from minicnn.nn.module import Module


class Plain(Module):
    """Calls `op` with `options`."""

    op: ModuleType

    def __init__(self):
        self.options: dict[str, Any] = {}

    def forward(self, x):
        return self.op.forward(x, **self.options)

    def gradient(self, dy, cache):
        return self.op.backward(dy, cache)[0]
