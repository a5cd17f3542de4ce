"""Training: the loop, what happens around it, and going on after an interruption."""

from minicnn.train import self_training, tta
from minicnn.train.averaging import AveragedWeights
from minicnn.train.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ProgressBar,
    ReduceLROnPlateau,
    SaveState,
    TerminateOnNaN,
)
from minicnn.train.history import History
from minicnn.train.trainer import Trainer

__all__ = [
    "AveragedWeights",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "SaveState",
    "TerminateOnNaN",
    "Trainer",
    "self_training",
    "tta",
]
