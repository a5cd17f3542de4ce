"""Several models as one: a linear combination of their probabilities.

With logits z_m of model m and weights w_m >= 0 of sum 1, the probability of class k is Σ_m w_m softmax(z_m)_k.  Softmax
belongs to the loss and to `predict`, so what the ensemble returns is the logarithm, on which softmax gives the same
probabilities back because they sum to 1:

    ℓ_m = log_softmax(z_m),   y_k = ln Σ_m w_m exp(ℓ_mk)                                  (1)

    ∂y_k/∂ℓ_mk = w_m exp(ℓ_mk − y_k)                                                      (2)
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend
from minicnn.backend import Array, array_module
from minicnn.models.mixture import check_labels, solve
from minicnn.nn import Module
from minicnn.ops import add, log_softmax
from minicnn.plan import fuse


class Cache(NamedTuple):
    each: list[log_softmax.Cache]
    y: Array


class Ensemble(Module):
    """The logarithm (N, K) of the models' mixed probabilities, by (1); usable wherever a model is.

    models   the models, which take the same images and give logits of the same classes; they are held, not copied
    weights  one for each, not negative; divided by their sum.  None: equal.  Kept as the buffer `weights`.

    Gradients (2) reach every model: an ensemble can be explained, evaluated, saved and trained.  `fit_weights` chooses
    the weights on validation images.  ValueError for no model, for weights of another number, negative, infinite or NaN
    or all 0, and, when called, for models that give different shapes.
    """

    buffers = ("weights",)

    def __init__(self, models: Sequence[Module], weights: Sequence[float] | Array | None = None):
        self.models = list(models)
        if not self.models:
            raise ValueError("Ensemble: no model")
        for k, model in enumerate(self.models):
            if not isinstance(model, Module):
                raise TypeError(f"Ensemble: model {k} is a {type(model).__name__}, wanted a Module")
        w = np.ones(len(self.models)) if weights is None else np.asarray(weights, "float64")
        if w.shape != (len(self.models),) or not (np.isfinite(w).all() and (w >= 0).all() and w.any()):
            raise ValueError(
                f"Ensemble: weights {w.tolist()}, wanted {len(self.models)} numbers of at least 0, not all 0"
            )
        self.weights: Array = (w / w.sum()).astype("float32")

    def config(self) -> dict[str, Any]:
        return {"models": self.models}  # the weights are of the state

    def forward(self, x: Array) -> tuple[Array, Cache]:
        pairs = [log_softmax.forward(model(x)) for model in self.models]
        shapes = {logs.shape for logs, _ in pairs}
        if len(shapes) > 1:
            raise ValueError(f"Ensemble: the models give {sorted(shapes)}, wanted one shape")
        each = [cache for _, cache in pairs]
        logs = [w + log for w, (log, _) in zip(self._log_weights(), pairs, strict=True)]
        xp = array_module(x)
        y = logs[0]
        for log in logs[1:]:
            y = xp.logaddexp(y, log)  # (1)
        return y, Cache(each, y)

    def gradient(self, dy: Array, cache: Cache) -> Array:
        parts = []
        for model, w, part in reversed(list(zip(self.models, self._log_weights(), cache.each, strict=True))):
            dlog = dy * array_module(dy).exp(w + part.y - cache.y)  # (2)
            parts.append(model.backward(*log_softmax.backward(dlog, part)))  # last call first: they may share a module
        return add.forward(*parts)[0]

    def _log_weights(self) -> list[Any]:
        """ln w_m of each model; −inf, which adds nothing to (1), where that is 0."""
        with np.errstate(divide="ignore"):
            return list(array_module(self.weights).log(self.weights))

    def fit_weights(self, x: Array, y: Array, *, batch_size: int = 256, tolerance: float = 1e-9) -> np.ndarray:
        """Set the weights that give the labels y (N,) of the images x the least mean negative log-likelihood.

        x is (N, H, W, C), uint8 (scaled to [0, 1]) or float, and must be images that no model was trained on.  The
        problem is convex, and the result within tolerance (in nats) of the least (`mixture_weights`).  Returns the
        weights, (M,) float64, as found; the buffer holds them in its own dtype.  ValueError for labels that do not fit.
        """
        x, labels = backend.to_host(x), backend.to_host(y)
        if labels.shape != x.shape[:1]:
            raise ValueError(f"Ensemble.fit_weights: labels have shape {labels.shape}, wanted {x.shape[:1]}")
        logs = np.stack([self._of_labels(model, x, labels, batch_size) for model in self.models])
        found = solve(np.exp(logs - logs.max(0)), tolerance)  # a factor a sample, so that none of them is 0
        self.weights = array_module(self.weights).asarray(found.astype(self.weights.dtype))
        return found

    def _of_labels(self, model: Module, x: np.ndarray, labels: np.ndarray, batch_size: int) -> np.ndarray:
        """float64 (N,): the logarithm of the probability that model gives to each label."""
        run, xp, parts = fuse(model), array_module(self.weights), []
        with model.evaluating():
            for start in range(0, len(x), batch_size):
                batch = x[start : start + batch_size]
                batch = batch / np.float32(255) if batch.dtype == np.uint8 else batch
                parts.append(backend.to_host(log_softmax.forward(run(xp.asarray(batch)))[0]))
        check_labels("Ensemble.fit_weights", labels, parts[0].shape[-1] if parts else 0)
        return np.concatenate(parts)[np.arange(len(x)), labels].astype("float64")
