"""Write the figures of benchmarks/results/cpu into docs/performance.md, and draw its pictures.

    python benchmarks/performance_page.py

Of the folder it takes what is there: models_1.json, models_16.json, … (a batch each), startup.json, growth.json and
roofline.json of `minicnn bench --json`, and accuracy.json of benchmarks/accuracy.py.
"""

from pathlib import Path
from typing import Any

from minicnn import files
from minicnn.bench import plots
from minicnn.bench.against import KINDS, OURS
from minicnn.bench.work import Peaks
from minicnn.explain import figures

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "cpu", ROOT / "docs" / "performance.md"
IMAGES = "images"  # beside the page
TOP = 15  # kernels
START, END = "<!-- figures -->\n", "<!-- end of figures -->"


def main() -> None:
    """Exchange what stands between the two marks."""
    parts = []
    batches = sorted(RESULTS.glob("models_*.json"), key=lambda path: int(path.stem.partition("_")[2]))
    sections = [(path, models) for path in batches]
    sections += [(RESULTS / f"{write.__name__}.json", write) for write in (startup, growth, roofline, accuracy)]
    for path, write in sections:
        if path.exists():
            found = files.read_json(path)
            parts += [f"{write(found)}\n{picture(path.stem, found)}\n{origin(found)}\n"]
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    after = rest.partition(END)[2]
    files.write_text(PAGE, before + START + "\n".join(parts) + END + after)


def picture(name: str, found: dict[str, Any]) -> str:
    """The picture of a result, drawn now, as the page shows it; nothing where a result has none."""
    if "growth" in found:
        figure, says = plots.growth(found["growth"]), "time and memory of a training step against four sizes"
    elif "ops" in found:
        figure, says = plots.roofline(found["ops"], Peaks(**found["peaks"])), "every kernel under the measured peaks"
    elif "models" in found:
        figure, says = plots.models(found["models"]), "bars of the time ratios; below 1 is faster than PyTorch"
    else:
        return ""
    (PAGE.parent / IMAGES).mkdir(exist_ok=True)
    figures.save(figure, PAGE.parent / IMAGES / f"{name}.png")
    return f"\n![{says}]({IMAGES}/{name}.png)\n"


def origin(found: dict[str, Any]) -> str:
    """Where and when it was measured."""
    machine, versions = found["machine"], found["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    commit = (found["commit"] or "no commit")[:12]
    return f"({machine['cpu']}, {machine['cores']} cores; {named}; commit {commit}, {found['date']}.)"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the columns but the first to the right."""
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows))


def models(found: dict[str, Any]) -> str:
    """Steps and inference against PyTorch, with floors and memory; the geometric means."""
    heads = ["model", "batch"]
    heads += [f"{kind} {what}" for kind in KINDS for what in ("ms", "floor", "PyTorch", "ratio")]
    rows = []
    for row in found["models"]:
        cells = [row["model"], str(row["batch"])]
        for kind in KINDS:
            if kind not in row:  # one value a channel cannot be normalised
                cells += [""] * 4
                continue
            ours, best = (row["modes"][mode][kind]["median"] * 1e3 for mode in (OURS, row[kind]["best"]))
            floor = row["floors"][kind]["winograd_floor"] * 1e3
            cells += [f"{ours:.2f}", f"{floor:.2f}", f"{best:.2f}", f"**{row[kind]['ratio']:.2f}**"]
        rows.append([*cells, f"{row['memory']['ratio']:.2f}" if "memory" in row else ""])
    means = [
        f"batch {batch}: " + ", ".join(f"{kind} {value:.3f}" for kind, value in mean.items())
        for batch, mean in found["geometric_mean"].items()
    ]
    batch = ", ".join(found["geometric_mean"])
    text = f"### Against PyTorch, batch {batch}\n\n"
    text += "Milliseconds; ratios below 1 are faster than PyTorch, or take less memory.\n\n"
    return text + table([*heads, "peak memory ratio"], rows) + f"\n\nGeometric means of the ratios: {'; '.join(means)}."


def startup(found: dict[str, Any]) -> str:
    """Import and first steps."""
    kinds = ("empty cache", "second process", "torch")
    rows = [
        [model, *(f"{times[k]:.2f}" if k in times else "" for k in kinds)]
        for model, times in found["startup"]["first_step"].items()
    ]
    text = (
        f"### Getting going\n\n`import minicnn` takes {found['startup']['import']:.2f} s. From the start of a process"
    )
    text += " to the end of its first training step, in seconds:\n\n"
    return text + table(["model", "empty kernel cache", "second process", "PyTorch"], rows)


def growth(found: dict[str, Any]) -> str:
    """The exponents."""
    rows = []
    for grown in found["growth"]:
        for side, measured in grown["sides"].items():
            sizes = [p["size"] for p in measured["points"]]
            powers = [f"{measured['time']:.2f}", f"{measured['memory']:.2f}"]
            rows.append([grown["axis"], side, f"{sizes[0]} to {sizes[-1]}", *powers])
    text = "### Growth\n\nA training step's time and memory as powers of a size.\n\n"
    return text + table(["size", "side", "range", "time", "memory"], rows)


def roofline(found: dict[str, Any]) -> str:
    """The slowest kernels."""
    rows = []
    for row in sorted(found["ops"], key=lambda row: -row["seconds"].get("kernel", 0))[:TOP]:
        seconds = row["seconds"]["kernel"]
        rates = [f"{row['flops'] / seconds / 1e9:.0f}", f"{row['bytes'] / seconds / 1e9:.0f}"]
        rows.append([f"{row['op']} {row['shapes']}", f"{seconds * 1e3:.2f}", *rates])
    models = ", ".join(dict.fromkeys(row["model"] for row in found["ops"]))
    text = (
        f"### Kernels\n\nThe slowest calls of {models}, plain and fused, as one short run saw them. A plain first layer"
    )
    text += " also makes the gradient of the images, which training leaves out. Convolutions are counted as defined, so"
    text += " Winograd's may exceed the peak.\n\n"
    return text + table(["op and shapes", "ms", "GFLOP/s", "GB/s"], rows)


def accuracy(found: dict[str, Any]) -> str:
    """The worst error of each op over all models and shapes."""
    worst: dict[str, dict[str, tuple[float, str]]] = {}
    for call in found["calls"]:
        op, _, direction = call["op"].partition(".")
        for error in call["errors"].values():
            worst.setdefault(op, {})
            worst[op][direction] = max(worst[op].get(direction, (0.0, "")), (error, call["model"]))
    rows = [
        [op, *(f"{of[d][0]:.1e} ({of[d][1]})" if d in of else "" for d in ("forward", "backward"))]
        for op, of in sorted(worst.items())
    ]
    text = (
        "### Accuracy\n\nThe largest error over the largest entry of a tensor, float32 against the float64 definition,"
    )
    return text + " over every shape of every model.\n\n" + table(["op", "forward", "gradients"], rows)


if __name__ == "__main__":
    main()
