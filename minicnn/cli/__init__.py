"""The command `minicnn`: one file per sub-command, each with HELP, add_arguments(parser) and run(args) -> exit code.

Exit codes: 0 success, 1 a training or check that failed, 2 bad usage or bad input, told in one line.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

COMMANDS = ("train", "evaluate", "predict", "report", "models", "recipes", "gradcheck", "bench", "doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print(f"\nminicnn {args.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone; say nothing, also not at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if os.environ.get("MINICNN_DEBUG"):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"minicnn {args.command}: {message}", file=sys.stderr)
        return 2


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="minicnn", description="Train, check and look into convolutional networks on NumPy.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"minicnn {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"minicnn.cli.{name}")
        sub = commands.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def _version() -> str:
    from minicnn import __version__

    return __version__
