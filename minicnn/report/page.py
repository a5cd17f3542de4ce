"""The page, section by section."""

import json
import math
import shlex
from collections.abc import Iterator
from functools import partial
from importlib.resources import files as package_files
from string import Template
from typing import Any

import numpy as np

from minicnn import metrics
from minicnn.explain import figures
from minicnn.report.findings import best_epoch, class_facts, history_facts
from minicnn.report.markup import (
    Markup,
    between,
    bullets,
    element,
    escape,
    interval_bar,
    number,
    percent,
    picture,
    section,
    table,
)
from minicnn.report.run import Result, Run

OPTIONS = "recipe model data epochs batch_size lr optimizer augment schedule seed device".split()


def render(run: Run) -> str:
    """The whole HTML page."""
    heading, lead = _finding(run)
    here = package_files("minicnn.report")
    parts = (_problems, _tiles, _facts, _history, _confusion, _model, _configuration, _reproduce, _notes)
    return Template((here / "page.html").read_text(encoding="utf-8")).substitute(
        style=(here / "style.css").read_text(encoding="utf-8"),
        title=escape(heading),
        heading=escape(heading),
        lead=lead,
        body="\n".join(filter(None, (part(run) for part in parts))),
        footer=escape(f"Written by minicnn {run.config.get('minicnn', '')}".strip() + "."),
    )


def _finding(run: Run) -> tuple[str, Markup]:
    """The headline and the sentence below it."""
    model, data, result = _name(run), run.data.get("name", "unnamed data"), run.result
    if result is None:
        return f"{model} on {data}: no result yet", Markup("No epoch of this run has a validation accuracy.")
    sure = f"95 % interval {between(result.interval)}, " if result.interval else "interval unknown, "
    count = f"n\u00a0=\u00a0{result.n:,} images" if result.n else "number of images unknown"
    lead = element("strong", f"Best validation accuracy {percent(result.accuracy)}")
    where = "" if result.split == "validation" else f" of {result.split}"
    rest = f" ({sure}{count}{where}){_at(run, result)}."
    return f"{model} reaches {percent(result.accuracy)} on {data}", Markup(lead + escape(rest))


def _at(run: Run, result: Result) -> str:
    if result.epoch is None:
        return ""
    return f" at epoch {result.epoch:g}" + (f" of {len(run.history)}" if len(run.history) else "")


def _name(run: Run) -> str:
    return str(run.config.get("model") or (run.summary.model if run.summary else "A model"))


def _problems(run: Run) -> Markup:
    if not run.problems:
        return Markup()
    return element("aside", element("h2", "This report is not complete"), bullets(run.problems), kind="problems")


def _tiles(run: Run) -> Markup:
    """The figures that one looks for first."""
    tiles: list[tuple[str, str, str]] = []
    if (result := run.result) is not None:
        sure = f"95 % interval {between(result.interval)}" if result.interval else "interval unknown"
        tiles.append(("accuracy", percent(result.accuracy), sure))
        if result.n:
            tiles.append(("validation images", f"{result.n:,}", "" if result.split == "validation" else result.split))
        if result.epoch is not None:
            tiles.append(("best epoch", f"{result.epoch:g}", f"of {len(run.history)}" if len(run.history) else ""))
    if isinstance(count := run.data.get("training"), int):
        tiles.append(("training images", f"{count:,}", str(run.data.get("name", ""))))
    parameters = run.summary.total_params if run.summary else run.config.get("parameters")
    if isinstance(parameters, int):
        work = f"{run.summary.total_multiply_adds / 1e6:,.1f} M multiply-adds" if run.summary else ""
        tiles.append(("parameters", f"{parameters:,}", work))
    cells = (
        element("div", element("dt", name), element("dd", value, kind="value"), element("dd", more, kind="more"))
        for name, value, more in tiles
    )
    return element("dl", *cells, kind="tiles") if tiles else Markup()


def _facts(run: Run) -> Markup:
    return section("What stands out", bullets([*history_facts(run), *class_facts(run)]))


def _history(run: Run) -> Markup:
    columns, rows = run.history.columns, run.history.rows
    if not rows or not columns:
        return Markup()
    said = [
        f"{said} at epoch {row.get('epoch', math.nan):g} with {number(row[name])}"
        for name, said in (
            ("valid_accuracy", "validation accuracy is highest"),
            ("valid_loss", "validation loss is lowest"),
        )
        if (row := best_epoch(run, name))
    ]
    alt = "Loss and accuracy against the epoch, training and validation: " + ("; ".join(said) or "no validation") + "."
    chart: Markup = Markup()
    if any(f"{split}_{what}" in columns for split in ("train", "valid") for what in ("loss", "accuracy")):
        draw = partial(figures.history, {name: run.history[name] for name in columns})
        chart = picture(draw, alt, "Loss and accuracy in training (dashed) and validation (solid).")
    best = next((k for k, row in enumerate(rows) if run.result and row.get("epoch") == run.result.epoch), None)
    cells = [[_cell(name, row.get(name, math.nan)) for name in columns] for row in rows]
    caption = "Every epoch" + ("; the best one is set off." if best is not None else ".")
    return section("Training history", chart, table(caption, [c.replace("_", " ") for c in columns], cells, best=best))


def _cell(name: str, value: float) -> str:
    return f"{value:g}" if name in ("epoch", "lr") else number(value)


def _confusion(run: Run) -> Markup:
    if run.result is None or run.result.confusion is None:
        return Markup()
    counts, names = run.result.confusion, run.result.class_names
    n, right = counts.sum(axis=1), counts.diagonal()
    alt = f"Confusion matrix: {right.sum():,} of {n.sum():,} images are on its diagonal. {' '.join(class_facts(run))}"
    caption = "True class down, predicted class across: the counts, and each row in per cent of its sum."
    rows = []
    for k, name in enumerate(names):
        if n[k] == 0:
            rows.append([name, "0", "–", "–", "", "–"])
            continue
        interval = metrics.wilson_interval(int(right[k]), int(n[k]))
        share = right[k] / n[k]
        others = np.where(np.arange(len(names)) == k, -1, counts[k])
        j = int(others.argmax())
        mistaken = f"{names[j]} ({others[j]:,}, {percent(others[j] / n[k])})" if others[j] > 0 else "none"
        bar = interval_bar(interval[0], share, interval[1])
        rows.append([name, f"{n[k]:,}", percent(share), between(interval), bar, mistaken])
    head = ["class", "n", "accuracy", "95 % interval", "0 to 100 %", "most often mistaken for"]
    return section(
        "Which classes, and which mistakes",
        picture(partial(figures.confusion, counts, names), alt, caption),
        table("Accuracy for each class, with Wilson's 95 % interval.", head, rows, text=(4, 5)),
    )


def _model(run: Run) -> Markup:
    if (summary := run.summary) is None:
        return Markup()
    rows = [
        [r.path, element("span", r.layer, kind="wrap"), _shape(r.output_shape), f"{r.params:,}", f"{r.multiply_adds:,}"]
        for r in summary.rows
    ]
    total = ["total", "", "", f"{summary.total_params:,}", f"{summary.total_multiply_adds:,}"]
    trained = (
        "" if summary.trainable_params == summary.total_params else f", {summary.trainable_params:,} of them trained"
    )
    caption = (
        f"{_name(run)} for an input of {_shape(summary.input_shape)}: {summary.total_params:,} parameters{trained}; "
        "multiply-adds are for one image."
    )
    head = ["path", "layer", "output shape", "parameters", "multiply-adds"]
    return section("The model", table(caption, head, rows, foot=total, text=(1, 2)))


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield f"{prefix}{key}", ", ".join(v if isinstance(v, str) else json.dumps(v) for v in value)
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _configuration(run: Run) -> Markup:
    rows = [[key, element("span", value, kind="wrap")] for key, value in _flat(run.config)]
    return section(
        "Configuration", table("Everything in config.json.", ["option", "value"], rows, text=(1,)) if rows else ""
    )


def command(config: dict[str, Any]) -> str:
    """The command line that trains the same model again; data that are not drawn by minicnn are called PATH."""
    words = []
    for name in OPTIONS:
        value = config.get(name)
        if name == "data" and value is not None:
            value = "synthetic" if (value.get("name") if isinstance(value, dict) else value) == "synthetic" else "PATH"
        if value is not None and not isinstance(value, dict):  # a recipe's own augmentation has no option
            words.append(shlex.join([f"--{name.replace('_', '-')}", str(value)]))
    if config.get("drop_duplicates"):
        words.append("--drop-duplicates")
    elif "recipe" in config:
        words.append("--no-drop-duplicates")
    return _lines(["minicnn train", *words, "--out RUN"])


def _lines(words: list[str], width: int = 76) -> str:
    """Words in shell lines of about this length: as long as they are, where one is longer."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) < width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"    {word}")
    return " \\\n".join(lines)


def _reproduce(run: Run) -> Markup:
    if not run.config:
        return Markup()
    line = command(run.config)
    again = element("pre", element("code", f"{line}\nminicnn report RUN"))
    digest = run.data.get("digest")
    said = [f"The data have the digest {digest}."] if digest else []
    said.append("The same command gives the same bits on the same machine with as many threads.")
    return section("How to reproduce", again, element("p", " ".join(said)))


def _notes(run: Run) -> Markup:
    notes: list[str] = list(run.notes)
    if (dropped := run.config.get("drop_duplicates")) is not None:
        notes.append(
            "Training images that are exact copies of validation images were "
            + ("left out." if dropped else "kept (--drop-duplicates leaves them out).")
        )
    rows, result = run.history.rows, run.result
    chosen = next((row.get("valid_accuracy") for row in rows if result and row.get("epoch") == result.epoch), None)
    if result and chosen is not None and abs(chosen - result.accuracy) < 5e-4 and len(rows) > 1:
        notes.append(
            f"The best of {len(rows)} epochs was chosen on the very images it is measured on, so the accuracy leans "
            "high. The interval stands for the images being a sample; it holds neither that choice nor another seed."
        )
    return section("Notes", bullets(notes))
