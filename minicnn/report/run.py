"""Reading a run folder, whatever state it is in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import files, metrics, models
from minicnn.nn.summary import Summary
from minicnn.train.history import History


@dataclass(frozen=True)
class Result:
    """metrics.json: the best model on the images it was validated on.  interval is the 95 % one; None is unknown."""

    split: str
    epoch: float | None
    n: int | None
    loss: float | None
    accuracy: float
    interval: tuple[float, float] | None
    confusion: np.ndarray | None
    class_names: list[str]


@dataclass
class Run:
    """What a run folder holds; problems says in whole sentences what it should hold and does not."""

    config: dict[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)
    result: Result | None = None
    summary: Summary | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def data(self) -> dict[str, Any]:
        """The part of the configuration that names the data."""
        data = self.config.get("data", {})
        return data if isinstance(data, dict) else {"name": data}


def read(folder: Path) -> Run:
    """Everything a run folder holds that can be read."""
    run = Run()
    run.config = _try(run, folder / "config.json", _object) or {}
    run.history = _try(run, folder / "history.csv", _history) or History()
    given = _try(run, folder / "metrics.json", _object)
    if given is not None:
        run.result = _try(run, folder / "metrics.json", lambda path: _result(given, run.config))
        notes = given.get("notes", [])
        run.notes = [str(note) for note in (notes if isinstance(notes, list) else [notes])]
    run.result = run.result or _from_history(run)
    run.summary = _try(run, folder / "best.safetensors", lambda path: _summary(path, run.config))
    done, planned = len(run.history), run.config.get("epochs")
    if isinstance(planned, int) and done < planned:
        run.problems.append(
            f"{planned} epochs were planned and {done} {'is' if done == 1 else 'are'} recorded: "
            "the run stopped early, was interrupted or is still going."
        )
    return run


def _try(run: Run, path: Path, reader: Callable[[Path], Any]) -> Any:
    """reader(path), or None and a problem: one that does not give away where the folder is."""
    if not path.is_file():
        run.problems.append(f"{path.name} is missing.")
        return None
    try:
        return reader(path)
    except (ValueError, TypeError, KeyError, ArithmeticError, OSError) as error:
        said = str(error).replace(str(path), path.name)
        run.problems.append(f"{path.name} could not be read: {said}")
        return None


def _object(path: Path) -> dict[str, Any]:
    value = files.read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}; wanted an object")
    return value


def _history(path: Path) -> History:
    return History.from_csv(path.read_text(encoding="utf-8"))


def _result(given: dict[str, Any], config: dict[str, Any]) -> Result:
    """metrics.json as a Result; ValueError or TypeError where it contradicts itself."""
    accuracy, n = float(_need(given, "accuracy")), int(_need(given, "n"))
    if not 0 <= accuracy <= 1 or n < 1:
        raise ValueError(f"accuracy is {accuracy} of n = {n}; wanted a share in [0, 1] of at least 1 image")
    low, high = map(float, given.get("interval") or metrics.wilson_interval(round(accuracy * n), n))
    if not 0 <= low <= high <= 1:
        raise ValueError(f"interval is {low} to {high}; wanted two shares in [0, 1], the lower one first")
    names = _names(given) or _names(config)
    matrix = np.asarray(given["confusion"]) if given.get("confusion") is not None else None
    if matrix is not None:
        names = names or [str(k) for k in range(len(matrix))]
        K = len(names)
        if matrix.shape != (K, K) or matrix.dtype.kind != "i" or (matrix < 0).any() or matrix.sum() != n:
            raise ValueError(f"confusion is no matrix of counts for {K} classes and n = {n} images")
    return Result(
        split=str(given.get("split", "validation")),
        epoch=int(given["epoch"]) if given.get("epoch") is not None else None,
        n=n,
        loss=float(given["loss"]) if given.get("loss") is not None else None,
        accuracy=accuracy,
        interval=(low, high),
        confusion=matrix,
        class_names=names,
    )


def _names(given: dict[str, Any]) -> list[str]:
    names = given.get("class_names")
    return [str(name) for name in names] if isinstance(names, list) else []


def _need(given: dict[str, Any], key: str) -> Any:
    if given.get(key) is None:
        raise ValueError(f"it has no {key!r}")
    return given[key]


def _summary(path: Path, config: dict[str, Any]) -> Summary:
    shape = config.get("input_shape")
    if not isinstance(shape, list):
        raise ValueError("config.json has no input_shape to run the model on")
    return models.load(path).summary(tuple(shape))


def _from_history(run: Run) -> Result | None:
    """The best validation epoch of the history, where no metrics.json was written."""
    try:
        best = run.history.best("valid_accuracy")
    except ValueError:
        return None
    n, accuracy = run.data.get("validation"), best["valid_accuracy"]
    count = n if isinstance(n, int) and n > 0 and 0 <= accuracy <= 1 else None
    interval = metrics.wilson_interval(round(accuracy * count), count) if count else None
    loss = best.get("valid_loss")
    return Result("validation", best.get("epoch"), count, loss, accuracy, interval, None, _names(run.config))
