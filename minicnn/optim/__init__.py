"""Optimisers with PyTorch's names, updates and defaults; gradient clipping; averaged parameters."""

from minicnn.optim.adam import Adam, AdamW
from minicnn.optim.adaptive import Adadelta, Adagrad, RMSprop
from minicnn.optim.base import Optimizer
from minicnn.optim.clip import clip_grad_norm_
from minicnn.optim.ema import EMA
from minicnn.optim.sgd import SGD

__all__ = ["EMA", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "clip_grad_norm_"]
