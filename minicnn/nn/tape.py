"""What a call of a module leaves behind for its backward, and for the message when it fails.

The outermost call under way in a thread opens a Tape, and every module called on the way writes to it.  In `train()`
(of the outermost module) or under `record()` the tape keeps caches; in `eval()` it keeps nothing and no module is
written to, so several threads may call one model at once.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

_active: ContextVar["Tape | None"] = ContextVar("minicnn.nn.tape.active", default=None)
_record: ContextVar["dict[Any, Tape] | None"] = ContextVar("minicnn.nn.tape.record", default=None)


class Tape:
    """The calls of one outermost call, in order."""

    def __init__(self, keeps: bool):
        self.keeps = keeps
        self.caches: dict[Any, list[Any]] = {}  # a module that is called twice has two
        self.under_way: list[Any] = []  # the modules whose calls are not over, outermost first
        self.trail: list[tuple[Any, Any, Any]] = []  # (module, x.shape, y.shape) of the calls that are

    def enter(self, module: Any) -> None:
        """A call of module begins."""
        self.under_way.append(module)

    def leave(self, x: Any, y: Any, cache: Any) -> None:
        """The call under way ends well."""
        module = self.under_way.pop()
        self.trail.append((module, getattr(x, "shape", None), getattr(y, "shape", None)))
        if self.keeps:
            self.caches.setdefault(module, []).append(cache)

    def pop(self, module: Any) -> Any:
        """The cache of the module's last call that has had no backward yet."""
        if calls := self.caches.get(module):
            return calls.pop()
        raise RuntimeError(
            f"{type(module).__name__}.backward: each call of a module allows one backward; call it again"
        )


@contextlib.contextmanager
def record() -> Iterator[None]:
    """Inside the block, in this thread, modules in `eval()` keep caches too, so that `backward` works on them.

    What was kept is gone when the block ends; the modules themselves are not written to.
    """
    token = _record.set({})
    try:
        yield
    finally:
        _record.reset(token)


@contextlib.contextmanager
def active(module: Any) -> Iterator[Tape]:
    """The tape of the outermost call under way in this thread; opened, and kept for backward, if module is outermost."""
    tape = _active.get()
    if tape is not None:
        yield tape
        return
    kept = _record.get()
    tape = Tape(keeps=module.training or kept is not None)
    if (old := module._tape if kept is None else kept.get(module)) is not None:
        old.caches.clear()  # before the new call takes as much memory again
    token = _active.set(tape)
    try:
        yield tape
    except (ValueError, TypeError) as error:
        _say_where(error, module, tape)
        raise
    finally:
        _active.reset(token)
    if not tape.keeps:
        return
    for called in tape.caches:  # each module finds its own calls again, also when backward is called on a part
        if kept is None:
            called._tape = tape
        else:
            kept[called] = tape


def recorded(module: Any) -> Tape:
    """The tape that holds the module's last call.  RuntimeError names the remedy where there is none."""
    kept = _record.get()
    tape = module._tape if kept is None else kept.get(module)
    if tape is None:
        name = type(module).__name__
        remedy = (
            "call it first, on an input"
            if module.training or kept is not None
            else "in eval() a call keeps nothing for backward; use `with minicnn.record():` around both, or train()"
        )
        raise RuntimeError(f"{name}.backward: {remedy}")
    return tape


def _say_where(error: Exception, root: Any, tape: Tape) -> None:
    """Add to the message the path of the layer that failed and the shapes on the way to it."""
    if not tape.under_way or not error.args:
        return
    paths = {module: path or "(the model itself)" for path, module in root.named_modules()}
    failed = tape.under_way[-1]
    if failed is root and not any(True for _ in root.children()):
        return  # one layer on its own: the op's message says it all
    way = [(m, x, y) for m, x, y in tape.trail if not any(True for _ in m.children())]
    lines = [f"{error.args[0]}", f"  in layer {paths.get(failed, '')}: {failed.one_line()}"]
    if way:
        steps = " -> ".join([f"{way[0][1]}", *(f"{paths.get(m) or type(m).__name__} {y}" for m, _, y in way)])
        lines.append(f"  shapes on the way to it: {steps}")
    error.args = ("\n".join(lines), *error.args[1:])
