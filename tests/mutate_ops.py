"""Mutation testing of minicnn/ops: change one sign, number or comparison, and see whether the op's own tests notice.

    python tests/mutate_ops.py [OP...]        needs `pip install cosmic-ray`, whose mutation operators it applies

Each mutant runs in a process forked from this one, where everything is imported already, against the tests named in
TESTS that carry the op's name.  Prints the mutants that survive, with their line, and a count.
"""

import contextlib
import io
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

from minicnn import ops
from minicnn.cases import CASES

TESTS = ("tests/test_ops.py", "tests/test_conventions.py", "tests/test_golden.py", "tests/test_shapes_hypothesis.py")
SECONDS = 60  # a mutant that takes longer is caught: it loops
BINARY = (
    "Add_Sub Add_Mul Sub_Add Sub_Div Mul_Div Mul_Add Div_Mul Div_Sub FloorDiv_Mul FloorDiv_Div Mod_Mul Pow_Mul "
    "RShift_LShift LShift_RShift BitOr_BitAnd BitAnd_BitOr BitXor_BitAnd BitXor_BitOr"
)
COMPARISON = "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Is_IsNot IsNot_Is"
OPERATORS = [
    *(f"core/ReplaceBinaryOperator_{name}" for name in BINARY.split()),
    *(f"core/ReplaceComparisonOperator_{name}" for name in COMPARISON.split()),
    *(f"core/ReplaceUnaryOperator_{name}" for name in ("USub_UAdd", "Delete_USub", "Delete_Not", "Delete_Invert")),
    *(f"core/{name}" for name in "AddNot ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr".split()),
    *(f"core/{name}" for name in "ReplaceOrWithAnd NumberReplacer ZeroIterationForLoop".split()),
]
MODULES = {name: getattr(ops, name) for name in CASES}


def mutants(code: str):
    """(operator's name, occurrence, mutated code) of every change."""
    for name in OPERATORS:
        for occurrence in range(1000):
            mutated = mutate_code(code, get_operator(name)(), occurrence)
            if mutated is None:
                break
            yield name.removeprefix("core/"), occurrence, mutated


def caught(name: str, mutated: str) -> bool:
    """Whether a test of the op fails on the mutant, in a process of its own."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        with open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 1)
            os.dup2(null.fileno(), 2)
        try:
            exec(compile(mutated, MODULES[name].__file__, "exec"), vars(MODULES[name]))
        except Exception:  # it cannot even be loaded
            os._exit(1)
        os._exit(int(run(name)))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def run(name: str) -> int:
    """pytest's exit code of the op's own tests."""
    files = [path for path in TESTS if Path(path).exists()]
    here = str(Path(__file__).parent)
    for module in [m for m, v in sys.modules.items() if (getattr(v, "__file__", None) or "").startswith(here)]:
        del sys.modules[module]  # a test module imported before would hold functions from before the mutation
    with contextlib.redirect_stdout(io.StringIO()):
        # test ids are like "test[conv2d-0]"
        return pytest.main([*files, "-x", "-q", "-p", "no:cacheprovider", "-k", selection(name)])


def selection(name: str) -> str:
    """A -k expression: names that contain this one are other ops."""
    others = [f"not {other}" for other in CASES if name != other and name in other]
    return " and ".join([name, *others])


def line_of(original: str, mutated: str) -> str:
    """Where the two differ: number, before, after."""
    for k, (a, b) in enumerate(zip(original.splitlines(), mutated.splitlines(), strict=False), 1):
        if a != b:
            return f"{k}: {re.sub(' +', ' ', a.strip())}  ->  {re.sub(' +', ' ', b.strip())}"
    return "?"


def main(names: list[str]) -> None:
    """Mutate the named ops, or all."""
    total = survived = 0
    for name in names or CASES:
        code = Path(MODULES[name].__file__).read_text(encoding="utf-8")
        if run(name):
            sys.exit(f"{name}: its tests fail without any mutation")
        found = [(operator, mutated) for operator, _, mutated in mutants(code)]
        alive = [(operator, mutated) for operator, mutated in found if not caught(name, mutated)]
        total, survived = total + len(found), survived + len(alive)
        print(f"{name}: {len(found)} mutants, {len(alive)} survive", flush=True)
        for operator, mutated in alive:
            print(f"    {operator}  {line_of(code, mutated)}", flush=True)
    print(f"{total} mutants, {survived} survive")


if __name__ == "__main__":
    main(sys.argv[1:])
