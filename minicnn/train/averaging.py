"""Validate and keep the average of the weights, train on the weights themselves."""

from typing import Any

from minicnn.backend import Array, to_device, to_host
from minicnn.optim import EMA
from minicnn.train.callbacks import Callback, Logs


class AveragedWeights(Callback):
    """The moving average of the model's state stands in the model from an epoch's last step to the next one's first.

    So validation, checkpoints and whoever takes the model after the training get the average, and every step of the
    training the weights as they are.  After step t, with θ a parameter or a running statistic and a its average,

        a ← a + (1 − d) (θ − a),    d = min(decay, (1 + t)/(10 + t))

    The decay begins small, as TensorFlow's ExponentialMovingAverage does with num_updates: otherwise the average would
    hold the first, random weights for 1/(1 − decay) steps.  Running statistics are averaged along, for those of the
    weights do not fit their average.  The weights are averaged by `optim.EMA`, which names the sources.

    Among the callbacks it stands before SaveState.  ValueError for a decay outside [0, 1), at the training's begin.
    """

    def __init__(self, decay: float = 0.999):
        self.decay = decay
        self.ema: EMA | None = None
        self.statistics: dict[str, Array] = {}  # the averages of the running statistics
        self.weights: dict[str, Array] = {}  # what is being trained, while the average stands in the model
        self.images_left = 0  # of the epoch
        self.saved: dict[str, Any] = {}  # a state to take up when the training begins

    def on_train_begin(self, logs: Logs) -> None:
        if self.ema is None:
            model = self.trainer.model
            self.ema = EMA(model, self.decay)
            self.statistics = {name: buffer.copy() for name, buffer in model.named_buffers()}
        if self.saved:
            self.ema.load_state_dict(self.saved["ema"])
            self.statistics = {name: to_device(a, self.trainer.device) for name, a in self.saved["statistics"].items()}
            self.weights, self.saved = self.saved["weights"], {}

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self.images_left = logs["images"] - logs["images_done"]
        if self.weights and self.images_left:  # without images left, a resumed epoch has only its validation to do
            self.trainer.model.load_state_dict(self.weights)
            self.weights = {}

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        assert self.ema is not None  # on_train_begin has made it
        if self.trainer.failed:
            return
        self.ema.decay = min(self.decay, (1 + logs["step"]) / (10 + logs["step"]))
        self.ema.update()
        for name, value in self.trainer.model.named_buffers():
            average = self.statistics[name]
            self.statistics[name] = (average + (1 - self.ema.decay) * (value - average)).astype(value.dtype)
        self.images_left -= logs["size"]
        if not self.images_left:
            self._stand_in(self.ema)

    def _stand_in(self, ema: EMA) -> None:
        model = self.trainer.model
        names = [name for name, _ in model.named_parameters()]
        self.weights = model.state_dict()
        model.load_state_dict(self.weights | dict(zip(names, ema.averages, strict=True)) | self.statistics)

    def state_dict(self) -> dict[str, Any]:
        if self.ema is None:
            return self.saved
        statistics = {name: to_host(a).copy() for name, a in self.statistics.items()}
        return {"ema": self.ema.state_dict(), "statistics": statistics, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.saved = state
