"""minicnn report: the page of a run."""

import argparse
from pathlib import Path

from minicnn import report

HELP = "write RUN/report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minicnn report`."""
    parser.add_argument("run_folder", metavar="RUN", help="a run folder")


def run(args: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    if not (Path(args.run_folder) / "config.json").exists():
        raise ValueError(f"{args.run_folder}: holds no run (no config.json)")
    print(report.write(Path(args.run_folder)))
    return 0
