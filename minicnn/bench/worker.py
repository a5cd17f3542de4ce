"""A live process that times its actions on request, so that several can take turns under the same weather.

Request and reply are one line of JSON each.  This file is all that the two sides of a pipe share.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Action = tuple[Callable[[], object], Callable[[], object]]  # what prepares it, untimed, and what is timed
IDLE: dict[str, Action] = {"idle": (lambda: None, lambda: None)}  # to ask for the memory alone
PACKAGE = Path(__file__).parents[1]
# The rival's process must not pay for the library, in time or memory: it enters the package past its __init__.
BARE = (
    "import sys, types; package = types.ModuleType('minicnn'); package.__path__ = [sys.argv[1]]; "
    "sys.modules['minicnn'] = package; from minicnn.bench import rival; rival.main()"
)
COMMANDS = {
    "minicnn": [sys.executable, "-m", "minicnn.bench.ours"],
    "torch": [sys.executable, "-P", "-c", BARE, str(PACKAGE)],
}


def serve(prepare: Callable[[dict[str, Any]], tuple[Mapping[str, Action], dict[str, Any]]]) -> None:
    """Take a specification, then answer requests until standard input ends; what else is printed goes to the errors."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    actions, about = prepare(json.loads(sys.stdin.readline()))
    reply(about)
    for line in sys.stdin:
        request = json.loads(line)
        ready, act = actions[request["action"]]
        ready()
        for _ in range(request["warm"]):
            act()
        reply({"seconds": [_seconds(act) for _ in range(request["calls"])], "peak_bytes": peak_bytes()})


def _seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def peak_bytes() -> int:
    """The most memory this process has had in use.

    On Linux getrusage begins with the peak of the process that started this one, so the system's own count is read.
    """
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


class Worker:
    """A process of one side ("minicnn" or "torch") that has taken a specification.

    RuntimeError, with the last line it said, where it dies or is not ready within `limit` seconds.
    """

    def __init__(self, side: str, specification: dict[str, Any], environment: Mapping[str, str], limit: float = 600):
        self.errors = tempfile.TemporaryFile("w+")
        self.side, self.limit = side, limit
        self.process = subprocess.Popen(
            COMMANDS[side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=os.environ | dict(environment),
        )
        try:
            self.about = self._exchange(specification)
        except RuntimeError:
            self.close()
            raise

    def ask(self, action: str, calls: int, warm: int = 1) -> dict[str, Any]:
        """{"seconds": of each call, "peak_bytes": so far} of an action, after `warm` calls that do not count."""
        return self._exchange({"action": action, "calls": calls, "warm": warm})

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        guard = threading.Timer(self.limit, self.process.kill)
        guard.start()
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            guard.cancel()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            said = (self.errors.read().strip().splitlines() or [f"nothing within {self.limit:.0f} s"])[-1]
            raise RuntimeError(f"the {self.side} process ended with {self.process.returncode}: {said}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):  # what it died before reading
                    pipe.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
