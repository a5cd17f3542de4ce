"""What a training has seen: one row an epoch."""

import csv
import io
import math
from collections.abc import Iterator
from typing import Any

ALIASES = {"loss": "train_loss", "accuracy": "train_accuracy"}  # Keras's names for what is measured in training


def canonical(name: str) -> str:
    """minicnn's name of a logged quantity: Keras's "val_loss" is "valid_loss", its "loss" "train_loss"."""
    return "valid_" + name.removeprefix("val_") if name.startswith("val_") else ALIASES.get(name, name)


def larger_is_better(name: str, mode: str = "auto") -> bool:
    """Whether a quantity is to grow: mode "max" or "min" says so, "auto" takes losses and errors to shrink."""
    if mode not in ("auto", "max", "min"):
        raise ValueError(f'mode {mode!r}, wanted "auto", "max" or "min"')
    return mode == "max" or (mode == "auto" and not any(word in name for word in ("loss", "error")))


class History:
    """Rows {"epoch": 1, "lr": ..., "train_loss": ..., "valid_accuracy": ...}; `history["valid_loss"]` is a column."""

    def __init__(self, rows: list[dict[str, float]] | None = None):
        self.rows = rows or []

    @property
    def columns(self) -> list[str]:
        """The names of the quantities, in order."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    @property
    def history(self) -> dict[str, list[float]]:
        """Keras's view: name -> values."""
        return {name: self[name] for name in self.columns}

    def __getitem__(self, name: str) -> list[float]:
        name = canonical(name)
        if name not in self.columns:
            raise KeyError(f"history has no {name!r}; it has {', '.join(self.columns)}")
        return [row.get(name, math.nan) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.rows)

    def best(self, name: str, mode: str = "auto") -> dict[str, float]:
        """The row in which the quantity was best, the first of equals; NaNs never are.  ValueError if all are NaN."""
        name = canonical(name)
        sign = 1 if larger_is_better(name, mode) else -1
        rows = [row for row in self.rows if not math.isnan(row.get(name, math.nan))]
        if not rows:
            raise ValueError(f"history: no epoch has a number for {name!r}")
        return max(rows, key=lambda row: sign * row[name])

    def to_csv(self) -> str:
        """The rows as CSV, floats so that reading gives the same bits."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    @classmethod
    def from_csv(cls, text: str) -> "History":
        """The inverse of `to_csv`.  ValueError where a cell is not a number."""
        rows: list[dict[str, float]] = []
        for line, row in enumerate(csv.DictReader(io.StringIO(text)), 2):
            try:
                rows.append({k: int(v) if k == "epoch" else float(v) for k, v in row.items() if v not in ("", None)})
            except (TypeError, ValueError) as error:
                raise ValueError(f"history, line {line}: {error}") from error
        return cls(rows)

    def __repr__(self) -> str:
        last: dict[str, Any] = self.rows[-1] if self.rows else {}
        shown = ", ".join(f"{k}={v:.4g}" for k, v in last.items() if k != "epoch")
        return f"History({len(self.rows)} epochs{'; last: ' + shown if shown else ''})"
