"""What `print(fuse(model))` shows: each step, the layers it came from, its ops, its algorithm, and what it keeps."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.backend import Array
from minicnn.nn import Module, record
from minicnn.nn.tape import recorded
from minicnn.plan.chain import Chain
from minicnn.plan.step import Named, Step
from minicnn.plan.twin import Twin, replaced

HEADS = ("step", "layers", "computes", "algorithm", "output", "keeps")
BATCH = 2  # the fewest images that batch norm takes in training
USUAL_BATCH = 64  # for which the algorithms are shown


@dataclass(frozen=True)
class Row:
    """One step; output_shape without the batch axis, and kept, in bytes an image, are None where no shape is known."""

    path: str
    computes: str
    algorithm: str
    output_shape: tuple[int, ...] | None
    kept: int | None


@dataclass(frozen=True)
class Table:
    """What `Fused.table` returns; printing it prints the table."""

    model: str
    input_shape: tuple[int, ...] | None
    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        shape = "" if self.input_shape is None else f" of {self.input_shape}"
        cells = [HEADS]
        for k, row in enumerate(self.rows):
            output = "" if row.output_shape is None else str(row.output_shape)
            cells.append((str(k), row.path, row.computes, row.algorithm, output, _size(row.kept)))
        widths = [max(len(line[k]) for line in cells) for k in range(len(HEADS))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
        total = sum(row.kept or 0 for row in self.rows)
        foot = f"kept for backward, an image: {_size(total)}" if self.input_shape else "shapes follow from a first call"
        return "\n".join([f"{self.model}{shape}, fused", lines[0], "-" * max(map(len, lines)), *lines[1:], foot])


def tabulate(fused: Any) -> Table:
    """The steps of a fused model, in the mode it is in, traced on blank images where their shape is known."""
    name, shape = type(fused.source).__name__, fused.input_shape
    if shape is None:
        return Table(name, None, tuple(Row(path, _computes(s), "", None, None) for path, s in _steps("", fused.body)))
    traced = copy.deepcopy(fused)  # a call in training moves running statistics and draws masks
    traced._watched = ()  # the hooks below are no reason to run the source
    found = list(_steps("", traced.body))
    calls: dict[Module, tuple[Array, Array]] = {}
    for _, step in found:
        step.register_forward_hook(lambda step, x, y: calls.__setitem__(step, (x, y)))
    state = list(traced._state().values())
    like = next((getattr(*slot) for slot in state), np.zeros(0, "float32"))
    with record():
        traced(backend.array_module(like).zeros((BATCH, *shape), like.dtype))
        seen = {_place(getattr(*slot)) for slot in state}
        rows = [_row(path, step, *calls[step], seen) for path, step in found if step in calls]
    return Table(name, shape, tuple(rows))


def _steps(path: str, module: Module) -> Iterator[Named]:
    """(path, module) of every step; a module whose parts are fused comes before them."""
    if isinstance(module, Chain):
        for inner, step in module.steps:
            yield from _steps(inner, step)
        return
    yield path, module
    if isinstance(module, Twin):
        for name, part in replaced(module):
            yield from _steps(f"{path}.{name}" if path else name, part)


def _row(path: str, step: Module, x: Array, y: Array, seen: set[int]) -> Row:
    kept = 0
    for module in [step] if isinstance(step, (Step, Twin)) else step.modules():
        for a in _arrays(_caches(module)):
            if _place(a) not in seen and a.shape[:1] == (BATCH,):
                seen.add(_place(a))
                kept += a.nbytes // BATCH
    algorithm = step.algorithm((USUAL_BATCH, *x.shape[1:])) if isinstance(step, Step) else ""
    return Row(path, _computes(step), algorithm, y.shape[1:], kept)


def _computes(step: Module) -> str:
    return step.computes() if isinstance(step, Step) else type(step).__name__


def _caches(module: Module) -> list[Any]:
    """What the tape keeps of the module's calls; nothing where it was not called."""
    try:
        return recorded(module).caches.get(id(module), [])
    except RuntimeError:
        return []


def _arrays(cache: Any) -> Iterator[Array]:
    if backend.is_array(cache):
        yield cache
    elif isinstance(cache, (list, tuple)):
        for part in cache:
            yield from _arrays(part)


def _place(a: Array) -> int:
    """The same for two arrays that begin at the same place in memory."""
    return a.__array_interface__["data"][0] if isinstance(a, np.ndarray) else id(a)


def _size(kept: int | None) -> str:
    return "" if kept is None else f"{kept / 1024:,.1f} KiB"
