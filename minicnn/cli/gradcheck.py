"""minicnn gradcheck: is every backward the derivative of its forward, and is every wrong one found out?"""

import argparse
from difflib import get_close_matches

from minicnn.cases import CASES
from minicnn.gradcheck import check_case

HELP = "check the gradient of every op, and that planted wrong ones are rejected"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minicnn gradcheck`."""
    parser.add_argument("ops", nargs="*", metavar="OP", help="which ops (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of inputs, cotangents and directions")


def run(args: argparse.Namespace) -> int:
    """Print a line per op; exit code 1 where any fails."""
    for name in args.ops:
        if name not in CASES:
            near = get_close_matches(name, CASES, 1)
            raise ValueError(f"no op is named {name!r}{f'; did you mean {near[0]}?' if near else ''}")
    results = [check_case(CASES[name], args.seed) for name in args.ops or CASES]
    for result in results:
        print(result)
    bad = sum(not result.ok for result in results)
    planted = sum(len(result.case.wrong) for result in results)
    worst = max(result.max_error for result in results)
    print(f"{len(results)} ops, {bad} wrong; largest relative error {worst:.1e}; {planted} wrong backwards planted")
    return 1 if bad else 0
