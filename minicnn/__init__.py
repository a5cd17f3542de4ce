"""minicnn: a deep-learning library whose mathematics is its code."""

from minicnn import data, explain, metrics, models, nn, ops, optim, recipes, schedules, train
from minicnn.backend import memory
from minicnn.dispatch import using
from minicnn.gradcheck import GradcheckError, gradcheck
from minicnn.models import load, save
from minicnn.nn import record
from minicnn.plan import fuse
from minicnn.train import Trainer

__version__ = "0.1.0"

__all__ = [
    "GradcheckError",
    "Trainer",
    "data",
    "explain",
    "fuse",
    "gradcheck",
    "load",
    "memory",
    "metrics",
    "models",
    "nn",
    "ops",
    "optim",
    "recipes",
    "record",
    "save",
    "schedules",
    "train",
    "using",
]
