"""minicnn train: a run folder from a model, data and a recipe on the command line."""

import argparse
import inspect
import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minicnn import __version__, data, files, metrics, models, nn, optim, report, schedules
from minicnn.cli import runs
from minicnn.data import augment
from minicnn.explain import figures
from minicnn.train import (
    Callback,
    CSVLogger,
    History,
    ModelCheckpoint,
    ProgressBar,
    ReduceLROnPlateau,
    SaveState,
    TerminateOnNaN,
    Trainer,
)

HELP = "train a model and write a run folder"
OPTIMIZERS = {
    c.__name__.lower(): c for c in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.Adadelta)
}
AUGMENTATIONS: dict[str, Callable[[], Any]] = {"none": lambda: None, "flip": augment.RandomHorizontalFlip}
SCHEDULES: dict[str, Callable[[float, int], Any]] = {  # of the rate and the number of steps
    "none": lambda lr, steps: None,
    "cosine": schedules.cosine,
    "one_cycle": schedules.one_cycle,
    "plateau": lambda lr, steps: None,  # a callback: it watches the validation
}
STATE, BEST = "last.safetensors", "best.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minicnn train`."""
    parser.add_argument("--model", default="leaky_bn_cnn", help="a name that `minicnn models` lists")
    parser.add_argument("--data", default=runs.SYNTHETIC, metavar="PATH", help="FER2013 in any form, or: synthetic")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, help="learning rate (default: the optimizer's own)")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam")
    parser.add_argument("--augment", choices=AUGMENTATIONS, default="none")
    parser.add_argument("--schedule", choices=SCHEDULES, default="none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--out", metavar="RUN", help="the run folder (default: runs/MODEL)")
    parser.add_argument("--resume", action="store_true", help="go on where the run in RUN was interrupted")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="save the state within epochs too")
    parser.add_argument("--drop-duplicates", action="store_true", help="leave out training copies of validation images")


def run(args: argparse.Namespace) -> int:
    """Train, then draw and report."""
    _check(args)
    out = Path(args.out or f"runs/{args.model}")
    if (out / "config.json").exists() and not args.resume:
        raise ValueError(f"{out} holds a run; choose another --out, or --resume to go on with it")
    dataset = runs.read_data(args.data)
    notes = [*dataset.notes, data.audit(dataset).summary]
    if args.drop_duplicates:
        dataset = data.drop_duplicates(dataset)
        notes.append(dataset.notes[-1])
    train, valid, valid_name = runs.divide(dataset, args.seed)
    model = models.build(args.model, classes=len(dataset.class_names), rng=args.seed, **_sizes(dataset))
    config, log = _config(args, dataset, train, valid, model), Log(out / "log.txt")
    trainer = _trainer(args, out, config, model, -(-len(train) // args.batch_size), log)
    _claim(out, config, args.resume)  # last: what is wrong with the options has been said by now
    with log:
        for note in notes:
            log(note)
        log(f"training copies of validation images: {'dropped' if args.drop_duplicates else 'kept'}")
        _resume(trainer, out / STATE, args.resume, log)
        loader = data.Loader(
            train, args.batch_size, shuffle=True, augment=AUGMENTATIONS[args.augment](), seed=args.seed
        )
        try:
            history = trainer.fit(loader, valid, args.epochs)
        except KeyboardInterrupt:
            log(f"interrupted in epoch {trainer.epoch + 1}; the same command with --resume goes on from here")
            return 130
        if not any(row["valid_accuracy"] >= 0 for row in history):  # NaN is not
            log("no epoch ended with a model worth keeping; try a smaller --lr")
            return 1
        _finish(out, trainer, valid, valid_name, config, history, notes, log)
        return 1 if trainer.failed else 0


class Log:
    """Prints lines and appends them to a file."""

    def __init__(self, path: Path):
        self.path = path

    def __call__(self, line: str) -> None:
        print(line, flush=True)
        self.file.write(line + "\n")
        self.file.flush()

    def __enter__(self) -> "Log":
        self.file = open(self.path, "a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


class Interruption(Callback):
    """Ctrl-C ends the training after the batch under way, with its state saved; a second one at once, without.

    In the middle of a step the state is no training's: running statistics and masks have moved on, weights have not.
    """

    def __init__(self, path: Path):
        self.path, self.asked = path, False

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self._ask)

    def on_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        if self.asked and not self.trainer.failed:
            self.trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        self.on_batch_end(0, logs)

    def on_train_end(self, logs: dict[str, Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self.before)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _check(args: argparse.Namespace) -> None:
    for name, value, least in (("epochs", args.epochs, 1), ("batch-size", args.batch_size, 1), ("seed", args.seed, 0)):
        if value < least:
            raise ValueError(f"--{name} is {value}, wanted at least {least}")
    if args.lr is not None and not args.lr > 0:
        raise ValueError(f"--lr is {args.lr}, wanted a number above 0")
    if args.checkpoint_every is not None and args.checkpoint_every < 1:
        raise ValueError(f"--checkpoint-every is {args.checkpoint_every}, wanted at least 1")


def _sizes(dataset: data.Dataset) -> dict[str, Any]:
    _, H, W, C = dataset.images.shape
    return {"input_size": (H, W), "channels": C}


def _config(args, dataset, train, valid, model) -> dict[str, Any]:
    """What the run is: no time, host or path, so that equal runs are equal bytes."""
    return {
        "minicnn": __version__,
        "model": args.model,
        "data": {
            "name": args.data if args.data == runs.SYNTHETIC else "fer2013",
            "digest": runs.digest(dataset),
            "training": len(train),
            "validation": len(valid),
        },
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "lr": args.lr if args.lr is not None else _default_lr(args.optimizer),
        "optimizer": args.optimizer,
        "augment": args.augment,
        "schedule": args.schedule,
        "seed": args.seed,
        "device": args.device,
        "drop_duplicates": args.drop_duplicates,
        "parameters": sum(p.data.size for p in model.parameters()),
        "input_shape": list(dataset.images.shape[1:]),
        "class_names": list(dataset.class_names),
    }


def _default_lr(optimizer: str) -> float:
    return inspect.signature(OPTIMIZERS[optimizer]).parameters["lr"].default


def _claim(out: Path, config: dict[str, Any], resume: bool) -> None:
    """Make the folder this run's.  ValueError where it holds a run with another configuration."""
    path = out / "config.json"
    if resume and path.exists():
        was = files.read_json(path)
        if not isinstance(was, dict):
            raise ValueError(f"{path}: holds a {type(was).__name__}, wanted a run's options by name")
        changed = [f"{k} was {was.get(k)!r}, is {v!r}" for k, v in config.items() if was.get(k) != v]
        if changed:
            raise ValueError(f"{out} holds another run: {'; '.join(changed)}")
    for folder in (out, out / "checkpoints", out / "figures"):
        folder.mkdir(parents=True, exist_ok=True)
        files.remove_unfinished(folder)
    files.write_json(path, config)


def _trainer(args, out: Path, config, model, steps_per_epoch: int, log: Log) -> Trainer:
    metadata = {k: json.dumps(config[k]) for k in ("class_names", "input_shape")} | {"model": args.model}
    best: dict[str, Any] = {"monitor": "valid_accuracy", "save_best_only": True, "metadata": metadata}
    callbacks: list[Callback] = [
        TerminateOnNaN(),
        ModelCheckpoint(out / "checkpoints" / "model_{epoch}.safetensors", keep=1, verbose=True, **best),
        ModelCheckpoint(out / BEST, **best),
        *([ReduceLROnPlateau("valid_loss", factor=0.5, patience=3)] if args.schedule == "plateau" else []),
        CSVLogger(out / "history.csv"),
        ProgressBar(),
        SaveState(out / STATE, every=args.checkpoint_every),
        Interruption(out / STATE),
    ]
    return Trainer(
        model,
        nn.CrossEntropyLoss(),
        OPTIMIZERS[args.optimizer](model.parameters(), lr=config["lr"]),
        schedule=SCHEDULES[args.schedule](config["lr"], args.epochs * steps_per_epoch),
        callbacks=callbacks,
        device=args.device,
        seed=args.seed,
        log=log,
    )


def _resume(trainer: Trainer, state: Path, wanted: bool, log: Log) -> None:
    if not wanted:
        return
    if not state.exists():
        log("nothing to resume yet: starting from the beginning")
        return
    trainer.resume(state)
    log(f"resumed after {trainer.epoch} epochs and {trainer.batch} batches")


def _finish(out, trainer, valid, valid_name, config, history: History, notes, log) -> None:
    """Measure the best model on the validation data, draw the figures and write the report."""
    trainer.model.load_state_dict(models.load(out / BEST).state_dict())
    names, scores = config["class_names"], trainer.predict(valid)
    matrix = metrics.confusion_matrix(valid.labels, scores, len(names))
    accuracy, n = metrics.accuracy(valid.labels, scores), len(valid)
    low, high = metrics.wilson_interval(round(accuracy * n), n)
    best = history.best("valid_accuracy")
    result = {
        "split": valid_name,
        "epoch": int(best["epoch"]),
        "n": n,
        "loss": best["valid_loss"],
        "accuracy": accuracy,
        "interval": [low, high],
        "confusion": matrix.tolist(),
        "class_names": names,
        "notes": notes,
    }
    files.write_json(out / "metrics.json", result)
    figures.save(figures.history(history), out / "figures" / "history.png")
    figures.save(figures.confusion(matrix, names), out / "figures" / "confusion.png")
    page = report.write(out)
    log(
        f"best validation accuracy {accuracy:.4f} in epoch {result['epoch']} "
        f"(95 % interval {low:.3f} to {high:.3f}, n = {n:,}, {valid_name})"
    )
    log(f"look at {page} and {out / 'figures'}")
