"""What a training does besides training.

A callback defines any of Keras's methods `on_train_begin(logs)`, `on_epoch_begin(epoch, logs)`, `on_batch_end(batch,
logs)`, `on_epoch_end(epoch, logs)`, `on_train_end(logs)`; before the first of them its `trainer` is set.  Epochs and
batches count from 1.  logs of an epoch hold its row of the history, logs of a batch "loss", "step" and "size", logs of
the end "interrupted": whether an exception ends the training.  A callback ends it with `self.trainer.stop(reason)`.
What it must remember over an interruption is in its `state_dict()`: numbers, strings, None and arrays by name.
"""

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minicnn import files
from minicnn.models import save
from minicnn.train.history import canonical, larger_is_better

if TYPE_CHECKING:
    from minicnn.train.trainer import Trainer

Logs = dict[str, Any]


class Callback:
    """The base of all callbacks: does nothing."""

    trainer: "Trainer"

    def on_train_begin(self, logs: Logs) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs) -> None: ...
    def on_train_end(self, logs: Logs) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """What must survive an interruption."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where a state was left."""


class _Watcher(Callback):
    """A callback that watches one quantity for an improvement of more than min_delta."""

    def __init__(self, monitor: str, mode: str, min_delta: float):
        self.monitor, self.min_delta = canonical(monitor), abs(min_delta)
        self.sign = 1 if larger_is_better(self.monitor, mode) else -1
        self.best = -math.inf  # sign * the quantity
        self.waited = 0  # epochs since then

    def improved(self, logs: Logs) -> bool:
        """Whether this epoch is the best so far; a NaN never is."""
        if self.monitor not in logs:
            wanted = ", ".join(k for k in logs if k != "epoch")
            raise ValueError(f"{type(self).__name__}: nothing is called {self.monitor!r} here; there is {wanted}")
        value = self.sign * logs[self.monitor]
        if value > self.best + self.min_delta:
            self.best, self.waited = value, 0
            return True
        self.waited += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class EarlyStopping(_Watcher):
    """Stop when `monitor` has not improved for `patience` epochs (as Keras; 0 is as 1).

    restore_best_weights gives the model the weights of its best epoch back when the training ends, but not when an
    exception interrupts it: it may yet go on.
    """

    def __init__(
        self,
        monitor: str = "valid_loss",
        patience: int = 0,
        restore_best_weights: bool = False,
        *,
        min_delta: float = 0.0,
        mode: str = "auto",
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience, self.restore_best_weights = patience, restore_best_weights
        self.weights: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.improved(logs):
            if self.restore_best_weights:
                self.weights = self.trainer.model.state_dict()
        elif self.waited >= self.patience:
            self.trainer.stop(f"{self.monitor} has not improved for {self.waited} epochs")

    def on_train_end(self, logs: Logs) -> None:
        if self.weights and not logs["interrupted"]:
            self.trainer.model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {f"weights.{k}": v for k, v in self.weights.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights = {k.removeprefix("weights."): v for k, v in state.items() if k.startswith("weights.")}
        super().load_state_dict({k: v for k, v in state.items() if not k.startswith("weights.")})


class ModelCheckpoint(_Watcher):
    """Write the model to `path` with minicnn.save at the end of an epoch: with save_best_only, of one that improves.

    "{epoch}" in the file's name stands for the epoch's number ("{epoch:03d}" as in format); with `keep`, the files of
    earlier epochs are removed when a new one is whole, save for the last `keep`.  verbose logs "model saved to <file
    name>"; metadata goes into the file.  ValueError for another field in braces and for a keep below 1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "valid_loss",
        save_best_only: bool = False,
        *,
        mode: str = "auto",
        keep: int | None = None,
        verbose: bool = False,
        metadata: dict[str, str] | None = None,
    ):
        super().__init__(monitor, mode, 0.0)
        self.path, self.save_best_only, self.keep, self.verbose = Path(path), save_best_only, keep, verbose
        self.metadata = metadata or {}
        self.epochs: list[int] = []  # whose files are there
        if keep is not None and keep < 1:
            raise ValueError(f"ModelCheckpoint: keep is {keep}, wanted at least 1, or None for all")
        try:
            self.numbered = self._file(0) != self._file(1)
        except (LookupError, AttributeError, ValueError) as error:
            raise ValueError(f'ModelCheckpoint: {self.path.name!r} has braces other than "{{epoch}}"') from error

    def _file(self, epoch: int) -> Path:
        return self.path.with_name(self.path.name.format(epoch=epoch))

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.save_best_only and not self.improved(logs):
            return
        path = self._file(epoch)
        save(self.trainer.model, path, self.metadata | {"epoch": str(epoch)})
        if self.verbose:
            self.trainer.log(f"model saved to {path.name}")
        if self.numbered and self.keep is not None:
            self.epochs.append(epoch)
            while len(self.epochs) > self.keep:
                self._file(self.epochs.pop(0)).unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"epochs": list(self.epochs)}


class ReduceLROnPlateau(_Watcher):
    """Multiply the learning rate by `factor` when `monitor` has not improved for more than `patience` epochs.

    After a reduction, `cooldown` epochs are not counted.  No rate is lowered below min_lr.  This counts as torch's
    ReduceLROnPlateau with threshold_mode="abs" does; Keras's reduces one epoch earlier.
    """

    def __init__(
        self,
        monitor: str = "valid_loss",
        factor: float = 0.1,
        patience: int = 10,
        *,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        mode: str = "auto",
    ):
        if not 0 < factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor is {factor}, wanted 0 < factor < 1")
        super().__init__(monitor, mode, min_delta)
        self.factor, self.patience, self.cooldown, self.min_lr = factor, patience, cooldown, min_lr
        self.resting = 0

    def on_train_begin(self, logs: Logs) -> None:
        if self.trainer.schedule is not None:
            raise ValueError("ReduceLROnPlateau and a schedule would both set the learning rate; choose one")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        improved = self.improved(logs)
        if self.resting:
            self.resting, self.waited = self.resting - 1, 0
        if improved or self.waited <= self.patience:
            return
        groups = self.trainer.optimizer.param_groups
        before = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = min(group["lr"], max(group["lr"] * self.factor, self.min_lr))
        if [group["lr"] for group in groups] != before:
            self.trainer.log(f"learning rate reduced to {groups[0]['lr']:.3g}")
        self.resting, self.waited = self.cooldown, 0

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"resting": self.resting}


class TerminateOnNaN(Callback):
    """Stop at the first batch whose loss is NaN or infinite."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        if not math.isfinite(logs["loss"]):
            epoch = self.trainer.epoch + 1
            self.trainer.stop(f"the loss became {logs['loss']} in epoch {epoch}, batch {batch}", failed=True)


class CSVLogger(Callback):
    """Write the history to `path` as CSV at the end of every epoch, whole or not at all."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        files.write_text(self.path, self.trainer.history.to_csv())


class SaveState(Callback):
    """Write the whole state of the training to `path` at the end of every epoch, and every `every` batches if given.

    Last among the callbacks, it saves what the others have just learned.
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None = None):
        self.path, self.every = Path(path), every

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        if self.every and logs["step"] % self.every == 0 and not self.trainer.failed:
            self.trainer.save_checkpoint(self.path)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.trainer.save_checkpoint(self.path)


class ProgressBar(Callback):
    """A bar on the error stream for each epoch: batches done, images a second, the loss of the last batch."""

    def __init__(self) -> None:
        self.bar: Any = None

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        from tqdm import tqdm

        every = 0.1 if sys.stderr.isatty() else 10.0  # seconds; a log file needs no animation
        self.bar = tqdm(
            total=logs["images"], desc=f"epoch {epoch}/{logs['epochs']}", unit=" images", leave=False, mininterval=every
        )
        self.bar.update(logs["images_done"])

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        self.bar.set_postfix_str(f"loss {logs['loss']:.4f}", refresh=False)
        self.bar.update(logs["size"])
        if self.bar.n == self.bar.total:
            self.close()  # the log's lines come next

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.close()

    def on_train_end(self, logs: Logs) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the screen."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
