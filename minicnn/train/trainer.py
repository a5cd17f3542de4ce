"""The loop: batches, a step, an epoch, a training that may be interrupted anywhere and goes on in the same bits."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minicnn import backend, metrics, nn, ops, plan
from minicnn.backend import Array
from minicnn.data import Dataset, Loader
from minicnn.optim import Optimizer
from minicnn.train import checkpoint
from minicnn.train.callbacks import Callback
from minicnn.train.history import History

Metric = Callable[[np.ndarray, np.ndarray], float]
Data = Dataset | Loader | tuple[Any, Any]
SHORT = {"accuracy": "Acc", "loss": "Loss"}  # the words of the log
EVALUATION_BATCH = 256


class Trainer:
    """Trains a model: loss and optimizer as PyTorch's, `fit` as Keras's.

    schedule   a function step -> learning rate (see minicnn.schedules); groups keep their ratios to the first one
    callbacks  see minicnn.train.callbacks
    metrics    functions of minicnn.metrics or their names, which get labels (of distributions the likeliest class) and
               scores; or functions of your own (targets as they came, scores) -> float
    device     "cpu", "cuda" or "cuda:1"; the model is moved there
    fuse       whether the steps of minicnn.fuse(model) run; the model keeps its parameters and is what callbacks see
    seed       orders the batches and draws the dropout masks: same seed, same thread count, same machine, same bits
    log        where a line of the log goes (print)

    ValueError for an unknown metric and for a loss with reduction "none", TypeError for what is no Callback or metric.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Loss,
        optimizer: Optimizer,
        *,
        schedule: Callable[[int], float] | None = None,
        callbacks: Sequence[Callback] = (),
        metrics: Sequence[str | Metric] = ("accuracy",),
        device: str = "cpu",
        seed: int = 0,
        fuse: bool = True,
        log: Callable[[str], Any] = print,
    ):
        if getattr(loss, "options", {}).get("reduction") == "none":
            raise ValueError(f'Trainer: {loss!r} is a number for each sample; wanted reduction "mean" or "sum"')
        self.model, self.loss, self.optimizer = model.to(device), loss, optimizer
        self.schedule, self.callbacks, self.device, self.seed, self.log = schedule, list(callbacks), device, seed, log
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"Trainer: callback {callback!r} is no instance of minicnn.train.Callback")
        self.metrics = dict(_metric(m) for m in metrics)
        self.history = History()
        self.epoch = self.batch = self.step = 0  # epochs done, batches done of the next one, steps done in all
        self.stopped: str | None = None  # why, once a callback has ended the training
        self.failed = False
        self._seen = _Seen()
        self._resumed = False
        self.fuse = fuse
        self._running = self._prepared()
        self._rates = [group["lr"] for group in optimizer.param_groups]
        for index, layer in enumerate(self._random_layers()):
            layer.rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, index)))

    # the loop

    def fit(self, train: Data, valid: Data | None = None, epochs: int = 1, *, batch_size: int = 64) -> History:
        """Train for this many epochs and validate after each; after `resume`, until this many are done in all.

        train and valid are a Dataset, a Loader or (x, y); batch_size is for those that are no Loader.
        """
        loader = train if isinstance(train, Loader) else Loader(train, batch_size, shuffle=True, seed=self.seed)
        last = epochs if self._resumed else self.epoch + epochs
        self.stopped = self.stopped if self._resumed else None  # what had stopped stays so
        self._resumed = self.failed = False
        for callback in self.callbacks:
            callback.trainer = self
        self._running = self._prepared()
        self._tell("on_train_begin", {"epochs": last})
        interrupted = True
        try:
            while self.epoch < last and self.stopped is None:
                self._train_epoch(loader, last)
                if not self.failed:
                    self._end_epoch(valid)
            interrupted = False
        finally:
            self._tell("on_train_end", {"interrupted": interrupted})
        if self.stopped:
            self.log(f"stopped: {self.stopped}")
        return self.history

    def stop(self, reason: str, *, failed: bool = False) -> None:
        """End the training after the epoch under way; at once if it has failed."""
        self.stopped, self.failed = reason, failed or self.failed

    def _train_epoch(self, loader: Loader, last: int) -> None:
        self.model.train()
        images = min(loader.n, len(loader) * loader.batch_size)  # drop_last may leave some out
        done = min(images, self.batch * loader.batch_size)
        self._tell("on_epoch_begin", self.epoch + 1, {"images": images, "images_done": done, "epochs": last})
        for x, y in loader.batches(self.epoch, self.batch):
            loss = self.train_step(x, y)
            self.batch += 1
            self._tell("on_batch_end", self.batch, {"loss": loss, "step": self.step, "size": len(x)})
            if self.failed:
                return

    def train_step(self, x: Array, y: Array) -> float:
        """One step on one batch: forward, loss, backward, update.  Returns the loss."""
        if self.schedule is not None:
            rate = float(self.schedule(self.step))
            for group, first in zip(self.optimizer.param_groups, self._rates, strict=True):
                group["lr"] = rate * (first / self._rates[0] if self._rates[0] else 1)
        scores = self._running(backend.to_device(x, self.device))
        loss = self.loss(scores, backend.to_device(y, self.device))
        self.model.zero_grad()
        self._running.backward(self.loss.backward(), **({"input_gradient": False} if self.fuse else {}))
        self.optimizer.step()
        self.step += 1
        self._seen.add(loss, scores, y)
        return loss

    def _prepared(self) -> nn.Module:
        """What runs for the model: it may have got other layers since."""
        return plan.fuse(self.model) if self.fuse else self.model

    def _end_epoch(self, valid: Data | None) -> None:
        row: dict[str, float] = {"epoch": self.epoch + 1, "lr": self.optimizer.param_groups[0]["lr"]}
        row |= {f"train_{k}": v for k, v in self._measure(self._seen).items()}
        if valid is not None:
            row |= {f"valid_{k}": v for k, v in self.evaluate(valid).items()}
        self.epoch, self.batch, self._seen = self.epoch + 1, 0, _Seen()
        self.history.rows.append(row)
        for split in ("train", "valid") if valid is not None else ("train",):
            words = [f"{split} {SHORT.get(k, k)}: {row[f'{split}_{k}']:.4f}" for k in ("loss", *self.metrics)]
            self.log(f"Epoch: {self.epoch}, " + ", ".join(words))
        self._tell("on_epoch_end", self.epoch, row)

    def _tell(self, event: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(*args)

    # using the model

    def evaluate(self, data: Data) -> dict[str, float]:
        """{"loss": ..., "accuracy": ...} of the model in evaluation mode on a Dataset, a Loader or (x, y)."""
        loader = data if isinstance(data, Loader) else Loader(data, EVALUATION_BATCH)
        seen, model = _Seen(), self._prepared()
        with self.model.evaluating():
            for x, y in loader.batches(0):
                scores = model(backend.to_device(x, self.device))
                seen.add(self.loss(scores, backend.to_device(y, self.device)), scores, y)
        return self._measure(seen)

    def predict(self, x: Any) -> np.ndarray:
        """What the model says of images (N, H, W, C), uint8 or float, or of a Dataset: probabilities (N, K).

        Softmax of the logits; the sigmoid after BCEWithLogitsLoss; the bare output after another loss.  TypeError for
        images of another dtype.
        """
        images = x.images if isinstance(x, Dataset) else backend.to_host(x)
        if images.dtype != np.uint8 and images.dtype.kind != "f":
            raise TypeError(f"predict: x is {images.dtype}, wanted uint8 (scaled to [0, 1]) or float (taken as it is)")
        finals = {nn.CrossEntropyLoss: ops.softmax, nn.BCEWithLogitsLoss: ops.sigmoid}
        final = next((op for kind, op in finals.items() if isinstance(self.loss, kind)), None)
        parts, model = [], self._prepared()
        with self.model.evaluating():
            for start in range(0, max(len(images), 1), EVALUATION_BATCH):
                batch = _unit(images[start : start + EVALUATION_BATCH])
                y = model(backend.to_device(batch, self.device))
                parts.append(backend.to_host(final.forward(y)[0] if final else y))
        return np.concatenate(parts)

    def _measure(self, seen: "_Seen") -> dict[str, float]:
        """The loss and every metric; metrics of scores that are NaN are NaN."""
        targets, scores = seen.joined()
        lost = bool(np.isnan(scores).any())
        found = {name: math.nan if lost else float(f(targets, scores)) for name, f in self.metrics.items()}
        return {"loss": seen.mean_loss()} | found

    # stopping and going on

    def save_checkpoint(self, path: Any) -> None:
        """Write everything the training needs to go on, whole or not at all; in the middle of an epoch too."""
        checkpoint.write(
            path,
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "callbacks": [callback.state_dict() for callback in self._with_state()],
                "kinds": self._kinds(),
                "position": {"epoch": self.epoch, "batch": self.batch, "step": self.step, "stopped": self.stopped},
                "seed": self.seed,
                "rates": self._rates,
                "random": [layer.rng.bit_generator.state for layer in self._random_layers()],
                "history": [dict(row) for row in self.history.rows],
                "seen": self._seen.state_dict(),
            },
        )

    def resume(self, path: Any) -> None:
        """Take up a training where save_checkpoint left it; `fit` with the same data then goes on in the same bits.

        ValueError where the file is damaged or belongs to another model, optimiser, set of callbacks or seed.
        """
        state = checkpoint.read(path)
        came = [*state["kinds"], f"seed {state['seed']}"]
        if came != [*self._kinds(), f"seed {self.seed}"]:
            raise ValueError(f"{path}: belongs to another training: {came}, wanted {self._kinds()}, seed {self.seed}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for callback, saved in zip(self._with_state(), state["callbacks"], strict=True):
            callback.load_state_dict(saved)
        for layer, saved in zip(self._random_layers(), state["random"], strict=True):
            layer.rng = np.random.default_rng()
            layer.rng.bit_generator.state = saved
        position = state["position"]
        self.epoch, self.batch, self.step = position["epoch"], position["batch"], position["step"]
        self.stopped = position["stopped"]
        self._rates, self.history = state["rates"], History(state["history"])
        self._seen = _Seen.from_state(state["seen"])
        self._resumed = True

    def _kinds(self) -> list[str]:
        random = f"{sum(1 for _ in self._random_layers())} random layers"
        return [type(self.optimizer).__name__, random, *(type(c).__name__ for c in self._with_state())]

    def _with_state(self) -> list[Callback]:
        return [c for c in self.callbacks if type(c).state_dict is not Callback.state_dict]

    def _random_layers(self) -> Iterable[Any]:
        return [m for m in self.model.modules() if hasattr(m, "rng")]


class _Seen:
    """What an epoch has shown so far: losses, scores and labels, from which metrics of the whole are taken."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0
        self.scores: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []

    def add(self, loss: float, scores: Array, labels: Array) -> None:
        self.total, self.count = self.total + loss * len(labels), self.count + len(labels)
        self.scores.append(backend.to_host(scores))
        self.labels.append(backend.to_host(labels))

    def mean_loss(self) -> float:
        return self.total / self.count if self.count else math.nan

    def joined(self) -> tuple[np.ndarray, np.ndarray]:
        """(targets, scores) of all samples."""
        return np.concatenate(self.labels), np.concatenate(self.scores)

    def state_dict(self) -> dict[str, Any]:
        if not self.count:
            return {"total": 0.0, "count": 0}
        return {
            "total": self.total,
            "count": self.count,
            "scores": np.concatenate(self.scores),
            "labels": np.concatenate(self.labels),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "_Seen":
        seen = cls()
        seen.total, seen.count = state["total"], state["count"]
        if seen.count:
            seen.scores, seen.labels = [state["scores"]], [state["labels"]]
        return seen


def _unit(images: np.ndarray) -> np.ndarray:
    """uint8 to float32 in [0, 1]; float64 to float32, which models take."""
    return np.divide(images, 255, dtype="float32") if images.dtype == np.uint8 else images.astype("float32", copy=False)


def _metric(metric: str | Metric) -> tuple[str, Metric]:
    found = getattr(metrics, metric, None) if isinstance(metric, str) else metric
    ours = callable(found) and found.__module__ == metrics.__name__
    if isinstance(metric, str) and (not ours or metric.startswith("_")):
        raise ValueError(f"Trainer: there is no metric {metric!r} in minicnn.metrics")
    if not callable(found):
        raise TypeError(f"Trainer: metric {metric!r} is neither a name nor a function (targets, scores) -> float")
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
    return name, functools.partial(_of_labels, found) if ours else found


def _of_labels(metric: Metric, targets: np.ndarray, scores: np.ndarray) -> float:
    return metric(targets.argmax(-1) if targets.ndim == 2 else targets, scores)
