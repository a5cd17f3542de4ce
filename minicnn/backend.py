"""Which array library an array belongs to, and moving arrays between libraries.

An array says by its type where it lives, so nothing here is global and CuPy is never imported by `import minicnn`:
it is looked up among the modules that are already loaded.  This is the only module outside the GPU's own files that
names CuPy.
"""

import sys
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray | cupy.ndarray

DEVICE_LIBRARIES = {"cupy": "cupyx.scipy.special"}  # array library of a GPU -> where its special functions are


def _device_library(x: object) -> str | None:
    root = type(x).__module__.partition(".")[0]
    return root if root in DEVICE_LIBRARIES else None


def array_module(x: object) -> ModuleType:
    """`numpy` or `cupy`, whichever x belongs to; TypeError where x is neither's array."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    if library := _device_library(x):
        return sys.modules[library]
    raise TypeError(f"expected a NumPy or CuPy array, got {type(x).__name__}: {str(x)[:60]}")


def special_module(x: object) -> ModuleType:
    """`scipy.special`, or its counterpart for the device x lives on (for erf)."""
    import importlib

    library = _device_library(x)
    return importlib.import_module(DEVICE_LIBRARIES[library] if library else "scipy.special")


def kind(x: object) -> str:
    """The accelerator that can run on x: "numba" for host arrays, "cuda" for device arrays."""
    return "cuda" if _device_library(x) else "numba"


def is_array(x: object) -> bool:
    """Whether x is an array of a library minicnn computes with."""
    return isinstance(x, (np.ndarray, np.generic)) or _device_library(x) is not None


def to_host(x: Array) -> np.ndarray:
    """x as a NumPy array: itself if it is one, a copy from the device otherwise."""
    return np.asarray(x) if not _device_library(x) else x.get()


def to_device(x: Array, device: str) -> Array:
    """x on "cpu", "cuda" or "cuda:1".  ValueError names the devices there are; RuntimeError says what CuPy lacks."""
    name, _, index = device.partition(":")
    if name == "cpu" and not index:
        return to_host(x)
    if name != "cuda" or not (index == "" or index.isdecimal()):
        raise ValueError(f'device {device!r}: wanted "cpu", "cuda" or "cuda:<index>"')
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            f"device {device!r} needs CuPy, which is not installed: pip install 'minicnn[cuda13]' "
            f"(or cuda12, after the driver); `minicnn doctor` tells more"
        ) from error
    if not cupy.is_available():
        raise RuntimeError(f"device {device!r}: CuPy {cupy.__version__} finds no GPU; see `minicnn doctor`")
    with cupy.cuda.Device(int(index or 0)):
        return cupy.asarray(x)
