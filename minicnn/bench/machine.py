"""What a result must say of where it was measured."""

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from minicnn import __version__

PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "torch")


def describe() -> dict[str, Any]:
    """Machine, versions, commit and date, for the head of every JSON result."""
    return {
        "machine": {"cpu": _cpu(), "cores": cores(), "caches": _caches(), "system": platform.platform()},
        "versions": {"minicnn": __version__, "python": platform.python_version()} | _packages(),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    """The processor's name, with LLVM's name for what it can do."""
    import llvmlite.binding

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.processor() or platform.machine()} ({llvmlite.binding.get_host_cpu_name()})"


def _caches() -> dict[str, str]:
    """{"L1 Data": "48K", ...} of the first core, where the system tells."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        found[f"L{level} {kind}"] = size
    return found


def _packages() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _commit() -> str | None:
    """The commit of the working tree the package lies in, with a + where files differ from it."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    found = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
    return found.stdout.strip()
