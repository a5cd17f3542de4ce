"""The normalisation layers."""

import numpy as np

from minicnn.nn.module import Module
from minicnn.nn.parameter import Parameter
from minicnn.ops import batch_norm, batch_norm_inference, checks, group_norm, layer_norm


class _Norm(Module):
    """A learned scale (weight, gamma) and shift (bias, beta) for each of num_features channels."""

    def __init__(self, num_features: int, eps: float = 1e-5):
        self.weight = Parameter(np.ones(num_features, "float32"))
        self.bias = Parameter(np.zeros(num_features, "float32"))
        self.eps = eps

    def _accumulate(self, dx, dgamma, dbeta):
        self.weight.accumulate(dgamma)
        self.bias.accumulate(dbeta)
        return dx


class _BatchNorm(_Norm):
    """`ops.batch_norm` in training, `ops.batch_norm_inference` with the running statistics in evaluation.

    With momentum a and a batch of m values a channel, of mean μ and biased variance σ², a training call does

        running_mean <- (1 − a) running_mean + a μ
        running_var  <- (1 − a) running_var + a σ² m/(m − 1)

    that is, it normalises with the biased variance and stores the unbiased one, as PyTorch does.  (Keras's momentum is
    1 − a.)
    """

    buffers = ("running_mean", "running_var")
    ndims: tuple[int, ...]
    wanted: str

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__(num_features, eps)
        self.running_mean = np.zeros(num_features, "float32")
        self.running_var = np.ones(num_features, "float32")
        self.momentum = momentum

    def forward(self, x):
        checks.floating(type(self).__name__, x=x)
        if x.ndim not in self.ndims:
            raise ValueError(f"{type(self).__name__}: x has shape {x.shape}, wanted {self.wanted}")
        gamma, beta = self.weight.data, self.bias.data
        if not self.training:
            return batch_norm_inference.forward(x, gamma, beta, self.running_mean, self.running_var, eps=self.eps)
        y, cache = batch_norm.forward(x, gamma, beta, eps=self.eps)
        self.observe(cache.mean, cache.var, x.size // x.shape[-1])
        return y, cache

    def observe(self, mean, var, m):
        """Move the running statistics towards the mean and the biased variance of a batch of m values a channel."""
        a, dtype = self.momentum, self.running_mean.dtype
        self.running_mean = ((1 - a) * self.running_mean + a * mean).astype(dtype, copy=False)
        self.running_var = ((1 - a) * self.running_var + (a * m / (m - 1)) * var).astype(dtype, copy=False)

    def gradient(self, dy, cache):
        op = batch_norm if isinstance(cache, batch_norm.Cache) else batch_norm_inference
        return self._accumulate(*op.backward(dy, cache))


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, L, C)."""

    ndims, wanted = (2, 3), "(N, C) or (N, L, C)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, H, W, C)."""

    ndims, wanted = (4,), "(N, H, W, C)"


class LayerNorm(_Norm):
    """`ops.layer_norm` over the last axis, of normalized_shape entries."""

    def __init__(self, normalized_shape: int, eps: float = 1e-5):
        super().__init__(normalized_shape, eps)

    def forward(self, x):
        return layer_norm.forward(x, self.weight.data, self.bias.data, eps=self.eps)

    def gradient(self, dy, cache):
        return self._accumulate(*layer_norm.backward(dy, cache))


class GroupNorm(_Norm):
    """`ops.group_norm`: num_channels channels in num_groups groups."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5):
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}")
        super().__init__(num_channels, eps)
        self.num_groups = num_groups

    def forward(self, x):
        return group_norm.forward(x, self.weight.data, self.bias.data, groups=self.num_groups, eps=self.eps)

    def gradient(self, dy, cache):
        return self._accumulate(*group_norm.backward(dy, cache))
