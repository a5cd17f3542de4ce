"""minicnn train: a run folder from a model, data and a recipe on the command line."""

import argparse
import json
import signal
import threading
from pathlib import Path
from typing import Any

from minicnn import data, files, metrics, models, report
from minicnn.cli import runs, setting
from minicnn.explain import figures
from minicnn.recipes import Recipe
from minicnn.recipes.recipe import AUGMENTATIONS, OPTIMIZERS, SCHEDULES
from minicnn.train import (
    Callback,
    CSVLogger,
    History,
    ModelCheckpoint,
    ProgressBar,
    SaveState,
    TerminateOnNaN,
    Trainer,
    tta,
)

HELP = "train a model and write a run folder"
STATE, BEST = "last.safetensors", "best.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minicnn train`."""
    parser.add_argument("--recipe", metavar="NAME|FILE", help="what `minicnn recipes` lists, or a file like those")
    parser.add_argument("--model", help="a name that `minicnn models` lists (default: leaky_bn_cnn)")
    parser.add_argument("--data", default=runs.SYNTHETIC, metavar="PATH", help="FER2013 in any form, or: synthetic")
    parser.add_argument("--epochs", type=int, help="default: 10")
    parser.add_argument("--batch-size", type=int, help="default: 64")
    parser.add_argument("--lr", type=float, help="learning rate (default: the optimizer's own)")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, help="default: adam")
    parser.add_argument("--augment", choices=AUGMENTATIONS, help="default: none")
    parser.add_argument("--schedule", choices=SCHEDULES, help="default: none")
    parser.add_argument("--seed", type=int, help="default: 0")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="S", help="a run for each, in RUN/seedS, and a table")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--out", metavar="RUN", help="the run folder (default: runs/MODEL or runs/RECIPE)")
    parser.add_argument("--resume", action="store_true", help="go on where the run in RUN was interrupted")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="save the state within epochs too")
    parser.add_argument(
        "--drop-duplicates",
        action=argparse.BooleanOptionalAction,
        help="leave out training copies of validation images",
    )


def run(args: argparse.Namespace) -> int:
    """Train once, or once for each of several seeds, then draw and report."""
    recipe = setting.recipe_of(args)
    out = Path(args.out or f"runs/{recipe.name or recipe.model['name']}")
    several = args.seeds is not None or len(recipe.seeds) > 1
    folders = {seed: out / f"seed{seed}" if several else out for seed in recipe.seeds}
    for folder in folders.values():
        if (folder / "config.json").exists() and not args.resume:
            raise ValueError(f"{folder} holds a run; choose another --out, or --resume to go on with it")
    dataset = runs.read_data(args.data)
    notes = [*dataset.notes, data.audit(dataset).summary]
    if recipe.drop_duplicates:
        dataset = data.drop_duplicates(dataset)
        notes.append(dataset.notes[-1])
    codes = []
    for seed, folder in folders.items():
        codes.append(_run(args, recipe, seed, folder, dataset, notes))
        if codes[-1] == 130:
            return 130
    if several:
        runs.write_table(out, list(folders.values()), recipe.name or recipe.model["name"])
    return max(codes)


def _run(args, recipe: Recipe, seed: int, out: Path, dataset: data.Dataset, notes: list[str]) -> int:
    """One training in one folder; returns the exit code."""
    train, valid, valid_name = runs.divide(dataset, seed)
    model = recipe.build_model(dataset, seed)
    config = setting.config(args, recipe, seed, dataset, (len(train), len(valid)), model)
    log = Log(out / "log.txt")
    callbacks = _callbacks(recipe, out, config, args.checkpoint_every)
    trainer = recipe.trainer(train, seed=seed, model=model, callbacks=callbacks, device=args.device, log=log)
    loader = recipe.loader(train, seed)
    _claim(out, config, args.resume)  # last: what is wrong with the options has been said by now
    with log:
        for note in notes:
            log(note)
        log(f"training copies of validation images: {'dropped' if recipe.drop_duplicates else 'kept'}")
        _resume(trainer, out / STATE, args.resume, log)
        try:
            history = trainer.fit(loader, valid, recipe.epochs)
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


def _claim(out: Path, config: dict[str, Any], resume: bool) -> None:
    """Make the folder this run's.  ValueError where it holds a run with another configuration."""
    path = out / "config.json"
    if resume and path.exists():
        was = files.read_json(path)
        if not isinstance(was, dict):
            raise ValueError(f"{path}: holds a {type(was).__name__}, wanted a run's options by name")
        keys = [*config, *(k for k in was if k not in config)]
        changed = [f"{k} was {was.get(k)!r}, is {config.get(k)!r}" for k in keys if was.get(k) != config.get(k)]
        if changed:
            raise ValueError(f"{out} holds another run: {'; '.join(changed)}")
    for folder in (out, out / "checkpoints", out / "figures"):
        folder.mkdir(parents=True, exist_ok=True)
        files.remove_unfinished(folder)
    files.write_json(path, config)


def _callbacks(recipe: Recipe, out: Path, config: dict[str, Any], every: int | None) -> list[Callback]:
    metadata = {k: json.dumps(config[k]) for k in ("class_names", "input_shape")} | {"model": config["model"]}
    best: dict[str, Any] = {"monitor": "valid_accuracy", "save_best_only": True, "metadata": metadata}
    return [
        TerminateOnNaN(),
        ModelCheckpoint(out / "checkpoints" / "model_{epoch}.safetensors", keep=1, verbose=True, **best),
        ModelCheckpoint(out / BEST, **best),
        *recipe.build_callbacks(),
        CSVLogger(out / "history.csv"),
        ProgressBar(),
        SaveState(out / STATE, every=every),
        Interruption(out / STATE),
    ]


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
    result: dict[str, Any] = {
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
    if way := config.get("tta"):
        averaged = metrics.accuracy(valid.labels, tta.averaged(trainer.predict, valid.images, way))
        result["tta"] = {
            "way": way,
            "accuracy": averaged,
            "interval": [*metrics.wilson_interval(round(averaged * n), n)],
        }
    files.write_json(out / "metrics.json", result)
    figures.save(figures.history(history), out / "figures" / "history.png")
    figures.save(figures.confusion(matrix, names), out / "figures" / "confusion.png")
    page = report.write(out)
    log(
        f"best validation accuracy {accuracy:.4f} in epoch {result['epoch']} "
        f"(95 % interval {low:.3f} to {high:.3f}, n = {n:,}, {valid_name})"
    )
    if way:
        log(f"with test-time augmentation ({way}) {averaged:.4f}")
    log(f"look at {page} and {out / 'figures'}")
