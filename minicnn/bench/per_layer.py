"""One training step, layer by layer and pass by pass."""

import statistics
import time
from typing import Any

from minicnn.bench.calls import watching
from minicnn.bench.ours import Training
from minicnn.bench.subjects import Subject

SHOWN = 40  # layers, the longest ones; a JSON result has them all


def measure(subject: Subject, rounds: int) -> dict[str, Any]:
    """Medians over rounds: the seconds of a step, and of each layer's forward and backward within it.

    "rest" is what no op of a layer explains: the optimiser, and Python.
    """
    training = Training(subject.specification())
    training.model.train()
    training.step()
    training.step()
    steps, watched = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        training.step()
        steps.append(time.perf_counter() - start)
        with watching(training.model, keep=False) as calls:
            training.step()
        watched.append(calls)
    places: dict[tuple[str, str], float] = {}
    for same in zip(*watched, strict=True):
        name, _, direction = same[0].op.name.partition(".")
        layer = same[0].path or f"({name})"
        places[layer, direction] = places.get((layer, direction), 0) + statistics.median(c.seconds for c in same)
    layers = [
        {"layer": layer, "forward": places.get((layer, "forward"), 0), "backward": places.get((layer, "backward"), 0)}
        for layer in dict.fromkeys(layer for layer, _ in places)
    ]
    total = statistics.median(steps)
    modules = dict(training.model.named_modules())
    for row in layers:
        module = modules.get(row["layer"])
        row["is"] = module.one_line() if module is not None and row["layer"] else ""
    return {
        "model": subject.model,
        "batch": subject.batch,
        "fused": training.model is not training.plain,
        "seconds": total,
        "layers": layers,
        "rest": total - sum(places.values()),
    }


def table(found: dict[str, Any]) -> str:
    """The measured step as text; layers in order, the shortest left out where there are many."""
    total = found["seconds"]
    title = (
        f"{found['model']}, batch {found['batch']}{', fused' if found['fused'] else ''}: {total * 1e3:.2f} ms a step"
    )
    lines = [title, f"{'layer':<34} {'forward':>9} {'backward':>9} {'share':>6}"]
    cost = {row["layer"]: row["forward"] + row["backward"] for row in found["layers"]}
    kept = set(sorted(cost, key=lambda layer: -cost[layer])[:SHOWN])
    for row in found["layers"]:
        if row["layer"] in kept:
            share = cost[row["layer"]] / total
            times = f"{row['forward'] * 1e3:9.3f} {row['backward'] * 1e3:9.3f} {share:6.1%}"
            lines.append(f"{row['layer']:<34} {times}  {row['is'][:60]}")
    if left := [cost[layer] for layer in cost if layer not in kept]:
        lines.append(f"{f'({len(left)} more layers)':<34} {sum(left) * 1e3:19.3f} {sum(left) / total:6.1%}")
    lines.append(f"{'(optimiser, Python)':<34} {found['rest'] * 1e3:19.3f} {found['rest'] / total:6.1%}")
    return "\n".join(lines)
