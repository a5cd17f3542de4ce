"""What a call of a module leaves behind for its backward, and for the message when it fails.

The outermost call under way in a thread opens a Tape, and every module called on the way writes to it.  In `train()`
(of the outermost module) or under `record()` the tape keeps caches; in `eval()` it keeps nothing and no module is
written to, so several threads may call one model at once.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Self

from minicnn.dispatch import one_pool

_active: ContextVar["Tape | None"] = ContextVar("minicnn.nn.tape.active", default=None)
_record: ContextVar["dict[Any, Tape] | None"] = ContextVar("minicnn.nn.tape.record", default=None)

# why there is nothing to go back through, and what to do
NOT_CALLED = "call it first, on an input"
NOT_KEPT = "in eval() a call keeps nothing for backward; use `with minicnn.record():` around both, or train()"
SPENT = "each call of a module allows one backward; call it again"
SUPERSEDED = "a part of it has been called on its own or in another model since; call it again"


class Tape:
    """The calls of one outermost call, in order."""

    def __init__(self, keeps: bool):
        self.keeps = keeps
        # id(module) -> caches, two of a module that is called twice; the module itself would close a circle, in which
        # a model that nobody uses any more would stay in memory
        self.caches: dict[int, list[Any]] = {}
        self.under_way: list[Any] = []  # the modules whose calls are not over, outermost first
        self.trail: list[tuple[Any, Any, Any]] = []  # (module, x.shape, y.shape) of the calls that are
        self.missing = SPENT  # why a cache is not here

    def __enter__(self) -> Self:
        """A call on the way begins a block of the tape that is open already, so neither this nor its end does much."""
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def enter(self, module: Any) -> None:
        """A call of module begins."""
        self.under_way.append(module)

    def leave(self, module: Any, x: Any, y: Any, cache: Any) -> None:
        """A call of module ends well, and with it calls that failed and whose error was caught on the way."""
        while self.under_way.pop() is not module:
            pass
        self.trail.append((module, getattr(x, "shape", None), getattr(y, "shape", None)))
        if self.keeps:
            self.caches.setdefault(id(module), []).append(cache)

    def pop(self, module: Any) -> Any:
        """The cache of the module's last call that has had no backward yet."""
        if calls := self.caches.get(id(module)):
            return calls.pop()
        raise RuntimeError(f"{type(module).__name__}.backward: {self.missing}")

    def forget(self, why: str) -> None:
        """Free the caches."""
        self.caches.clear()
        self.missing = why


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


def active(module: Any) -> contextlib.AbstractContextManager[Tape]:
    """The tape of the outermost call under way in this thread: opened, and kept for backward, if that is module's."""
    return _active.get() or _opened(module)


@contextlib.contextmanager
def _opened(module: Any) -> Iterator[Tape]:
    kept = _record.get()
    tape = Tape(keeps=module.training or kept is not None)
    if (old := _latest(module, kept)) is not None:
        old.forget(SUPERSEDED if tape.keeps else NOT_KEPT)  # before the new call takes as much memory again
    token = _active.set(tape)
    try:
        with one_pool():
            yield tape
    except (ValueError, TypeError) as error:
        _say_where(error, module, tape)
        raise
    finally:
        _active.reset(token)
    if not tape.keeps:
        return
    every = {module for module, _, _ in tape.trail}
    tape.trail.clear()
    for called in every:  # each module finds its own calls again, also when backward is called on a part
        if (old := _latest(called, kept)) is not None:
            old.forget(SUPERSEDED)  # or the rest of that model would go back through this call
        if kept is None:
            called._tape = tape
        else:
            kept[called] = tape


def recorded(module: Any) -> Tape:
    """The tape that holds the module's last call.  RuntimeError names the remedy where there is none."""
    kept = _record.get()
    tape = _latest(module, kept)
    if tape is None:
        why = NOT_CALLED if module.training or kept is not None else NOT_KEPT
        raise RuntimeError(f"{type(module).__name__}.backward: {why}")
    return tape


def _latest(module: Any, kept: dict[Any, Tape] | None) -> Tape | None:
    """The tape of the module's last call that kept its caches: the block's under `record()`, else the module's own."""
    return module._tape if kept is None else kept.get(module)


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
        steps = " -> ".join(
            [f"{way[0][1]}", *(f"{paths.get(m) or getattr(m, 'path', type(m).__name__)} {y}" for m, _, y in way)]
        )
        lines.append(f"  shapes on the way to it: {steps}")
    error.args = ("\n".join(lines), *error.args[1:])
