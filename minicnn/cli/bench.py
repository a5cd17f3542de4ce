"""minicnn bench: how fast is it, and against PyTorch?"""

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minicnn import files

if TYPE_CHECKING:
    from minicnn.bench.against import Settings
    from minicnn.bench.subjects import Subject
    from minicnn.bench.work import Peaks

HELP = "measure speed and memory, alone or against PyTorch"
Found = tuple[dict[str, Any], Callable[[], Any] | None]  # a JSON result, and what draws it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minicnn bench`."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=MEASURES,
        help="ops: each op and shape; step: a training step by layer; roofline: the ops under the machine's peaks; "
        "growth: cost against batch, image, channels, depth; startup: import and first step. Default: step, or with "
        "--against the whole models",
    )
    parser.add_argument("--against", choices=("torch",), help="beside PyTorch, which must be installed")
    parser.add_argument("--models", nargs="+", default=(), metavar="MODEL", help="default: all that have names")
    parser.add_argument("--batch", nargs="+", type=int, default=(64,), metavar="N", help="default: 64")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="default: 15")
    parser.add_argument("--threads", type=int, metavar="N", help="default: as many as there are cores")
    parser.add_argument("--compile", action="store_true", help="let PyTorch compile for inference too")
    parser.add_argument("--explain", action="store_true", help="with ops: which algorithm each convolution takes")
    parser.add_argument("--quick", action="store_true", help="narrow models and one round: does it run at all?")
    parser.add_argument("--device", default="cpu", help="cpu")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything that was measured")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw it")


def run(args: argparse.Namespace) -> int:
    """Measure, print a table, write JSON and a figure."""
    from minicnn.bench import against, machine, subjects
    from minicnn.explain import figures

    if args.device != "cpu":
        raise ValueError(f"device {args.device!r}: only the cpu is measured yet")
    if args.rounds < 1:
        raise ValueError(f"{args.rounds} rounds, wanted at least 1")
    if args.against and importlib.util.find_spec("torch") is None:
        raise ValueError("--against torch needs PyTorch: pip install torch")
    settings = against.Settings(
        rounds=1 if args.quick else args.rounds,
        share=0.0 if args.quick else against.Settings.share,
        threads=args.threads or machine.cores(),
        compile=args.compile,
    )
    chosen = subjects.choose(args.models, args.batch, quick=args.quick)
    what = args.what or ("models" if args.against else "step")
    measured, draw = (MEASURES | {"models": _models})[what](args, chosen, settings)
    if args.json:
        head = {"kind": what, "against": args.against} | machine.describe()
        files.write_json(args.json, head | {"threads": settings.threads} | measured)
    if args.plot and draw:
        figures.save(draw(), args.plot)
    return 0


def _models(args: argparse.Namespace, chosen: list["Subject"], settings: "Settings") -> Found:
    from minicnn.bench import against, plots

    peaks = _peaks(args, settings)
    print(against.HEADER)
    rows = []
    for subject in chosen:
        rows.append(against.compare(subject, settings, peaks))
        print(against.line(rows[-1]), flush=True)
    means = against.geometric_means(rows)
    for batch, mean in means.items():
        print(f"batch {batch}: geometric means: {', '.join(f'{kind} {value:.3f}' for kind, value in mean.items())}")
    return {"peaks": peaks._asdict(), "models": rows, "geometric_mean": means}, lambda: plots.models(rows)


def _ops(args: argparse.Namespace, chosen: list["Subject"], settings: "Settings") -> Found:
    from minicnn.bench import per_op, plots

    peaks = _peaks(args, settings)
    rows = []
    for subject in chosen:
        print(f"\n{subject.model}, batch {subject.batch}\n{per_op.HEADER}")
        for row in per_op.measure(subject, settings, peaks, torch=bool(args.against)):
            print(per_op.line(row), flush=True)
            if args.explain and row["explained"]:
                print(f"    {row['explained']}")
            rows.append(row)
    print(per_op.summary(rows))
    draw = plots.roofline if args.what == "roofline" else lambda rows, peaks: plots.ops(rows)
    return {"peaks": peaks._asdict(), "ops": rows}, lambda: draw(rows, peaks)


def _peaks(args: argparse.Namespace, settings: "Settings") -> "Peaks":
    from minicnn.bench import work

    peaks = work.measure(settings.threads, quick=args.quick)
    print(f"measured peaks: {peaks.flops / 1e9:.0f} GFLOP/s, {peaks.bytes / 1e9:.1f} GB/s")
    return peaks


def _step(args: argparse.Namespace, chosen: list["Subject"], settings: "Settings") -> Found:
    from minicnn.bench import per_layer

    found = []
    for subject in chosen:
        found.append(per_layer.measure(subject, settings.rounds))
        print(per_layer.table(found[-1]) + "\n", flush=True)
    return {"steps": found}, None


def _growth(args: argparse.Namespace, chosen: list["Subject"], settings: "Settings") -> Found:
    from minicnn.bench import growth, plots

    found = []
    for axis in growth.QUICK if args.quick else growth.AXES:
        found += growth.measure([axis], settings, torch=bool(args.against))
        print(growth.table(found[-1:]), flush=True)
    return {"growth": found}, lambda: plots.growth(found)


def _startup(args: argparse.Namespace, chosen: list["Subject"], settings: "Settings") -> Found:
    from minicnn.bench import startup

    found = startup.measure(chosen, settings, torch=bool(args.against), processes=1 if args.quick else 7)
    print(startup.table(found))
    return {"startup": found}, None


MEASURES: dict[str, Callable[..., Found]] = {
    "ops": _ops,
    "step": _step,
    "roofline": _ops,
    "growth": _growth,
    "startup": _startup,
}
