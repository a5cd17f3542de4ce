"""Training: the loop, what happens around it, and going on after an interruption."""

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
]
