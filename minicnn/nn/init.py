"""Initial weights.  Each takes a shape and a Generator (or a seed) and gives an array.

With fan_in the number of inputs that meet in one output, and fan_out the number of outputs that one input reaches,
weights of variance 1/fan_in keep the variance of a linear layer's output, 2/fan_in that of a rectified one (He et al.
2015, arXiv:1502.01852, section 2.2), 2/(fan_in + fan_out) is the compromise of both passes (Glorot & Bengio 2010,
section 4.2.1), and 1/fan_in is LeCun's (LeCun et al. 1998, "Efficient backprop", section 4.6).  A uniform distribution
on [-a, a] has variance a²/3.
"""

import math

import numpy as np

Seed = np.random.Generator | int | None


def generator(rng: Seed) -> np.random.Generator:
    """A Generator: rng itself, one seeded by an int, or one of fresh entropy for None."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a linear weight (in, out) or a convolution's (kh, kw, in/groups, out)."""
    if len(shape) < 2:
        raise ValueError(f"init: a weight of shape {shape} has no fan-in, wanted (in, out) or (kh, kw, in, out)")
    taps = math.prod(shape[:-2])
    return taps * shape[-2], taps * shape[-1]


def normal(shape: tuple[int, ...], rng: Seed = None, *, std: float = 1.0, dtype="float32") -> np.ndarray:
    """Normal numbers of mean 0."""
    return (generator(rng).standard_normal(shape) * std).astype(dtype)


def uniform(shape: tuple[int, ...], rng: Seed = None, *, bound: float = 1.0, dtype="float32") -> np.ndarray:
    """Uniform numbers in [-bound, bound]."""
    return generator(rng).uniform(-bound, bound, shape).astype(dtype)


def he_normal(shape, rng: Seed = None, *, dtype="float32") -> np.ndarray:
    """Normal, variance 2/fan_in."""
    return normal(shape, rng, std=math.sqrt(2 / fans(shape)[0]), dtype=dtype)


def he_uniform(shape, rng: Seed = None, *, dtype="float32") -> np.ndarray:
    """Uniform, variance 2/fan_in."""
    return uniform(shape, rng, bound=math.sqrt(6 / fans(shape)[0]), dtype=dtype)


def glorot_normal(shape, rng: Seed = None, *, dtype="float32") -> np.ndarray:
    """Normal, variance 2/(fan_in + fan_out)."""
    return normal(shape, rng, std=math.sqrt(2 / sum(fans(shape))), dtype=dtype)


def glorot_uniform(shape, rng: Seed = None, *, dtype="float32") -> np.ndarray:
    """Uniform, variance 2/(fan_in + fan_out)."""
    return uniform(shape, rng, bound=math.sqrt(6 / sum(fans(shape))), dtype=dtype)


def lecun_normal(shape, rng: Seed = None, *, dtype="float32") -> np.ndarray:
    """Normal, variance 1/fan_in."""
    return normal(shape, rng, std=math.sqrt(1 / fans(shape)[0]), dtype=dtype)


def lecun_uniform(shape, rng: Seed = None, *, dtype="float32") -> np.ndarray:
    """Uniform, variance 1/fan_in."""
    return uniform(shape, rng, bound=math.sqrt(3 / fans(shape)[0]), dtype=dtype)


def orthogonal(shape, rng: Seed = None, *, gain: float = 1.0, dtype="float32") -> np.ndarray:
    """gain times a matrix (fan_in, out) with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014,
    arXiv:1312.6120): the Q of a QR decomposition of normal numbers, its signs made unique by diag(R) > 0."""
    rows, columns = fans(shape)[0], shape[-1]
    tall = generator(rng).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    return (gain * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)


def trunc_normal(shape, rng: Seed = None, *, std: float = 0.02, limit: float = 2.0, dtype="float32") -> np.ndarray:
    """Normal numbers of standard deviation std (before truncation), none beyond limit standard deviations."""
    from scipy.special import ndtr, ndtri

    low = ndtr(-limit)
    return (ndtri(generator(rng).uniform(low, 1 - low, shape)) * std).astype(dtype)


def torch_default(shape, fan_in: int, rng: Seed = None) -> np.ndarray:
    """PyTorch's default for Linear and Conv weights and biases: uniform in ±1/sqrt(fan_in)."""
    return uniform(shape, rng, bound=1 / math.sqrt(fan_in) if fan_in else 0.0)
