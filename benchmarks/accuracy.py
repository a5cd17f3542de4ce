"""The error of every kernel on the shapes of every model, against the float64 definition.

    python benchmarks/accuracy.py [MODEL ...] [--batch 64] [--json OUT] [--markdown OUT]

One training step of each model, plain and fused; every call of an op in it is done again by its definition in float64
on the same arrays.  An error is the largest one over the largest entry of its tensor.  Exit code 1 where a kernel is
beyond 5e-6 in a forward or 1e-5 in a gradient.
"""

import argparse
import sys
from typing import Any

from minicnn import files
from minicnn.bench import errors, machine, per_op, subjects


def main() -> int:
    """Measure, print a table, write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="narrow models")
    parser.add_argument("--json")
    parser.add_argument("--markdown")
    args = parser.parse_args()
    rows = []
    for subject in subjects.choose(args.models, [args.batch], quick=args.quick):
        rows += measure(subject)
        worst = max(error for row in rows if row["model"] == subject.model for error in row["errors"].values())
        print(f"{subject.model}: {sum(r['model'] == subject.model for r in rows)} calls, worst {worst:.1e}", flush=True)
    table = markdown(rows)
    print(f"\n{table}")
    if args.json:
        files.write_json(args.json, machine.describe() | {"batch": args.batch, "calls": rows})
    if args.markdown:
        files.write_text(args.markdown, table + "\n")
    bad = [row for row in rows if row["kernel"] and not row["within"]]
    for row in bad:
        print(f"beyond its bound: {row['model']} {row['op']} {row['shapes']}: {row['errors']}", file=sys.stderr)
    return 1 if bad else 0


def measure(subject: subjects.Subject) -> list[dict[str, Any]]:
    """A row for every op and shape of a step of the model."""
    rows = []
    for call, through, count in per_op.unique_calls(subject):
        found = errors.of_call(call, through)
        rows.append(
            {
                "model": subject.model,
                "op": call.op.name,
                "shapes": call.shown(),
                "count": count,
                "kernel": per_op.runs_kernel(call),
                "errors": found,
                "within": all(errors.within(name, error) for name, error in found.items()),
            }
        )
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The worst error of every op and tensor in each model, as a table."""
    worst: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        for name, error in row["errors"].items():
            key = (row["model"], row["op"], name.partition(" ")[0])  # of all layers of a dense block
            if key not in worst or error > worst[key]["error"]:
                worst[key] = row | {"error": error}
    lines = ["| model | op | tensor | worst error | at | runs |", "|---|---|---|---:|---|---|"]
    for (model, op, name), row in worst.items():
        runs = "kernel" if row["kernel"] else "definition"
        lines.append(f"| {model} | {op} | {name} | {row['error']:.1e} | {row['shapes']} | {runs} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
