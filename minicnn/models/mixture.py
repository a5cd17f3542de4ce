"""The best weights of a linear combination of models: a convex problem, solved to a certified distance.

Model m gives the label of sample n the probability p_mn > 0.  Weights w >= 0 of sum 1 mix the models; with the mixed
probability and the mean negative log-likelihood

    s_n = Σ_m w_m p_mn,   f(w) = −1/N Σ_n ln s_n                                          (1)

the derivatives are

    ∂f/∂w_m = −r_m,   r_m = 1/N Σ_n p_mn/s_n,   ∂²f/∂w_l∂w_m = 1/N Σ_n p_ln p_mn/s_n²     (2)

Convexity.  For any v, vᵀ(∂²f)v = 1/N Σ_n ((Σ_m v_m p_mn)/s_n)² >= 0, and the weights allowed are a convex set: there is
no minimum but the least value.  (−ln of a linear function is convex, and so is a mean of such.)

How far is it?  Σ_m w_m r_m = 1 by (1) and (2).  A convex function lies above its tangents, so with the minimiser w*

    f(w) − f(w*) <= Σ_m r_m (w*_m − w_m) <= max_m r_m − 1                                 (3)

which anybody can compute: the solver stops by it.  It is 0 exactly where the Karush-Kuhn-Tucker conditions hold,
r_m <= 1, with equality where w_m > 0.

The sum needs no constraint: F(w) = f(w) + Σ_m w_m has the same minimiser on w >= 0 alone, for along a ray
d/dc F(c w) = −1/c + Σ_m w_m is 0 where the weights c w have the sum 1, and there F = f + 1.  The bounds w >= 0 become a
barrier: for a falling μ,

    Φ(w) = F(w) − μ Σ_m ln w_m   is least where   w_m (1 − r_m) = μ,  so that (3) is at most M μ       (4)

Newton's step on Φ, with w_m e_m the change of w_m and u_mn = w_m p_mn/s_n the share of model m in s_n, is

    (1/N u uᵀ + μ I) e = 1/N Σ_n u_n − w + μ                                              (5)

(the right side is −w_m ∂Φ/∂w_m).  Setting w to 1/N Σ_n u_n instead would be a step of the EM algorithm, which gets to
the same place in thousands of steps where this takes tens (Boyd & Vandenberghe 2004, "Convex Optimization", 11.3).
"""

import numpy as np

STEPS = 500  # of Newton; 10 to 30 are usual
FALL = 0.2  # of μ, when a step was as good as a whole one


def mixture_weights(probabilities: np.ndarray, labels: np.ndarray, *, tolerance: float = 1e-9) -> np.ndarray:
    """The weights w (M,), float64, >= 0 and of sum 1, that give labels the least mean negative log-likelihood.

    probabilities  (M, N, K), those of M models for N samples of K classes
    labels         integers (N,)
    tolerance      how far the likelihood may be above the least, in nats, by the certificate (3)

    Fit on samples that no model was trained on.  ValueError for other shapes, for no sample, for a label outside the K
    classes, for a probability that is negative, infinite or NaN, and for a sample whose label no model thinks possible.
    """
    p, y = np.asarray(probabilities, "float64"), np.asarray(labels)
    if p.ndim != 3 or y.shape != p.shape[1:2]:
        raise ValueError(f"mixture_weights: shapes {p.shape} and {y.shape}, wanted (M, N, K) and (N,)")
    check_labels("mixture_weights", y, p.shape[2])
    return solve(p[:, np.arange(len(y)), y], tolerance)


def check_labels(what: str, y: np.ndarray, K: int) -> None:
    """ValueError unless there are labels, and all are integers from 0 to K − 1."""
    if not len(y):
        raise ValueError(f"{what}: no sample to fit to")
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= K:
        raise ValueError(f"{what}: labels are {y.dtype} from {y.min()} to {y.max()}, wanted integers from 0 to {K - 1}")


def solve(p: np.ndarray, tolerance: float) -> np.ndarray:
    """w (M,) from p (M, N); each column may be scaled by a number of its own, which changes f by a constant."""
    if not (np.isfinite(p).all() and (p >= 0).all()):
        raise ValueError("mixture_weights: a probability is negative, infinite or NaN")
    best = p.max(0)
    if not best.all():
        raise ValueError(f"mixture_weights: every model gives the label of sample {(best == 0).argmax()} no chance")
    p = p / best
    M, N = p.shape
    w, mu = np.full(M, 1 / M), 0.1 / M
    for _ in range(STEPS):
        r = (p / (w @ p)).mean(1)  # (2)
        if r.max() * w.sum() - 1 <= tolerance:  # (3), of w / Σ w
            return w / w.sum()
        u = w[:, None] * p / (w @ p)
        right = u.mean(1) - w + mu
        e = np.linalg.solve(u @ u.T / N + mu * np.eye(M), right)  # (5)
        size = _step(p, w, e, mu, decrease=right @ e)
        w = w * (1 + size * e)
        mu *= FALL if size == 1 else 1
    raise RuntimeError(f"mixture_weights: not within {tolerance} of the least likelihood after {STEPS} steps")


def _step(p: np.ndarray, w: np.ndarray, e: np.ndarray, mu: float, decrease: float) -> float:
    """The largest of 1, 1/2, 1/4, ... that keeps w above 0 and lowers Φ by its part of what the tangent promises."""
    before, size = _barrier(p, w, mu), 1.0
    while size > 1e-12:
        if (1 + size * e).min() > 0:
            after = _barrier(p, w * (1 + size * e), mu)
            if after <= before - 1e-4 * size * decrease + 1e-14:  # what rounding may add
                return size
        size /= 2
    return 0.0


def _barrier(p: np.ndarray, w: np.ndarray, mu: float) -> float:
    return float(-np.log(w @ p).mean() + w.sum() - mu * np.log(w).sum())  # Φ of (4)
