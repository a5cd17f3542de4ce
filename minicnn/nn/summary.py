"""A model as a table: layer, output shape, parameters, multiply-adds."""

from dataclasses import dataclass

import numpy as np

from minicnn import backend
from minicnn.nn.module import Module
from minicnn.nn.tape import record


@dataclass(frozen=True)
class Row:
    """One layer; shapes without the batch axis."""

    path: str
    layer: str
    output_shape: tuple[int, ...]
    params: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """What `Module.summary` returns; printing it prints the table."""

    model: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    total_params: int
    trainable_params: int

    @property
    def total_multiply_adds(self) -> int:
        """Products and sums of one image's forward pass."""
        return sum(row.multiply_adds for row in self.rows)

    def __repr__(self) -> str:
        cells = [("layer", "output shape", "parameters", "multiply-adds"), ("(input)", str(self.input_shape), "", "")]
        for row in self.rows:
            name = f"{row.path}: {row.layer}" if row.path else row.layer
            cells.append((name, str(row.output_shape), f"{row.params:,}", f"{row.multiply_adds:,}"))
        widths = [max(len(cell[k]) for cell in cells) for k in range(4)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in cells]
        rule = "-" * len(lines[0])
        foot = f"total parameters: {self.total_params:,}"
        if self.trainable_params != self.total_params:
            foot += f" (trainable: {self.trainable_params:,})"
        foot += f"; multiply-adds an image: {self.total_multiply_adds:,}"
        return "\n".join([self.model, lines[0], rule, *lines[1:], rule, foot])


def summarize(model: Module, input_shape: tuple[int, ...]) -> Summary:
    """Run one blank image through the model in evaluation mode and note what every layer does with it."""
    calls = []
    paths = {module: path for path, module in model.named_modules()}
    like = next((p.data for p in model.parameters()), np.zeros(0, "float32"))
    x = backend.array_module(like).zeros((1, *input_shape), like.dtype)
    removers = [m.register_forward_hook(lambda m, x, y: calls.append((m, x.shape, y.shape))) for m in paths]
    try:
        with record(), model.evaluating():  # a call under way keeps what it needs for its backward
            model(x)
    finally:
        for remove in removers:
            remove()
    seen: set[Module] = set()
    rows = []
    for module, x_shape, y_shape in calls:
        own = 0 if module in seen else sum(p.data.size for p in module.own_parameters())
        if own or not any(True for _ in module.children()):
            rows.append(Row(paths[module], module.one_line(), y_shape[1:], own, module.multiply_adds(x_shape, y_shape)))
        seen.add(module)
    every = list(model.parameters())
    return Summary(
        type(model).__name__,
        tuple(input_shape),
        tuple(rows),
        sum(p.data.size for p in every),
        sum(p.data.size for p in every if p.requires_grad),
    )
