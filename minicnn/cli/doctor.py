"""minicnn doctor: which pieces are there, and do they really work?"""

import argparse
import functools
import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Callable

import numpy as np

from minicnn import __version__, threads

HELP = "say which pieces are there and really work"
OPTIONAL = {"h5py": "keras", "onnx": "onnx", "sklearn": "sklearn", "pyarrow": "parquet", "mpi4py": "mpi"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`minicnn doctor` has no options."""


def run(args: argparse.Namespace) -> int:
    """Print a line per piece; exit code 1 where something that every installation needs is broken."""
    print(f"minicnn {__version__}, Python {platform.python_version()}, {platform.machine()}")
    needed = {"numpy": _numpy, "blas": _blas, "numba": _numba, "gradients": _gradients, "files": _files}
    broken = sum(not _examine(name, look) for name, look in needed.items())
    _examine("gpu", _gpu, optional=True)
    for module, extra in OPTIONAL.items():
        _examine(module, functools.partial(_package, module, extra), optional=True)
    return 1 if broken else 0


def _examine(name: str, look: Callable[[], str], *, optional: bool = False) -> bool:
    try:
        print(f"  ok    {name:<10} {look()}")
        return True
    except Exception as error:  # a doctor reports whatever is wrong
        print(f"  {'-' if optional else 'WRONG':<5} {name:<10} {' '.join(str(error).split())}")
        return False


def _numpy() -> str:
    a = np.random.default_rng(0).standard_normal((64, 64))
    assert np.allclose(a @ np.linalg.inv(a), np.eye(64), atol=1e-6), "a matrix times its inverse is not the identity"
    return f"{np.__version__}"


def _blas() -> str:
    from threadpoolctl import threadpool_info

    np.ones((8, 8)) @ np.ones((8, 8))
    pools = [p for p in threadpool_info() if p["user_api"] == "blas"]
    if not pools:
        return "not known to threadpoolctl"
    return ", ".join(f"{p['internal_api']} {p['version']}, {p['num_threads']} threads" for p in pools)


def _numba() -> str:
    import numba

    @numba.njit(parallel=True)
    def total(x):
        s = 0.0
        for i in numba.prange(x.size):
            s += x[i]
        return s

    layer = threads.layer()  # starts the threads as the kernels do
    assert total(np.ones(1000)) == 1000, "a compiled sum of 1000 ones is not 1000"
    slow = f"; for quicker kernels: {threads.remedy()}" if layer == "workqueue" else ""
    return f"{numba.__version__} compiles; {threads.count()} threads, layer {layer}{slow}"


def _gradients() -> str:
    from minicnn.cases import CASES
    from minicnn.gradcheck import check_case

    result = check_case(CASES["conv2d"])
    assert result.ok, str(result)
    return f"conv2d to {result.max_error:.0e}"


def _files() -> str:
    import tempfile
    from pathlib import Path

    from minicnn import files

    with tempfile.TemporaryDirectory() as folder:
        transposed = np.arange(6.0).reshape(2, 3).T
        files.write_arrays(Path(folder) / "a.safetensors", {"a": transposed})
        back, _ = files.read_arrays(Path(folder) / "a.safetensors")
    assert np.array_equal(back["a"], transposed), "a transposed array comes back changed; another safetensors, please"
    return f"safetensors {importlib.metadata.version('safetensors')} keeps transposed arrays"


def _gpu() -> str:
    """Really launch a kernel and multiply matrices; say which step failed and what mends it."""
    mend = "pip install 'minicnn[cuda13]' (or cuda12, after the driver), and only one of the two"
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(f"CuPy is not installed: {mend}") from error
    steps: dict[str, Callable[[], object]] = {
        "finding a GPU": lambda: cupy.cuda.Device(0).compute_capability,
        "allocating memory": lambda: cupy.zeros(4),
        "launching a kernel": lambda: cupy.ElementwiseKernel("float32 x", "float32 y", "y = x + 1", "probe")(
            cupy.zeros(4, "float32")
        ).get(),
        "multiplying matrices": lambda: (cupy.ones((2, 2)) @ cupy.ones((2, 2))).get(),
    }
    for step, attempt in steps.items():
        try:
            attempt()
        except Exception as error:  # whatever CuPy or the driver throws
            raise RuntimeError(f"CuPy {cupy.__version__}: {step} failed ({error}); {mend}") from error
    return f"CuPy {cupy.__version__} on {cupy.cuda.runtime.getDeviceProperties(0)['name'].decode()}"


def _package(module: str, extra: str) -> str:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise RuntimeError(f"not installed: pip install 'minicnn[{extra}]'") from error
    return sys.modules[module].__version__
