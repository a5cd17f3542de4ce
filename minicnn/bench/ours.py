"""The process that times minicnn: one model, one batch."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

import minicnn
from minicnn import dispatch, nn, optim
from minicnn.bench import worker
from minicnn.models.saved import rebuild


class Training:
    """A model with its optimiser on one random batch, fused where the library fuses."""

    def __init__(self, specification: dict[str, Any]):
        rng = np.random.default_rng(0)
        self.plain = rebuild(specification["model"])
        self.x = rng.random((specification["batch"], *specification["shape"]), dtype="float32")
        self.y = rng.integers(0, specification["classes"], specification["batch"])
        self.optimizer = optim.Adam(self.plain.parameters(), 1e-4)
        self.loss = nn.CrossEntropyLoss()
        fuse: Callable[[nn.Module], nn.Module] | None = getattr(minicnn, "fuse", None)
        self.model = fuse(self.plain) if fuse and specification.get("fuse", True) else self.plain
        # Nobody asks for the gradient of the images; a model that can leave it out does.
        known = inspect.signature(self.model.backward).parameters
        self.options = {"input_gradient": False} if "input_gradient" in known else {}

    def step(self) -> float:
        """One step of training; returns the loss."""
        loss = self.loss(self.model(self.x), self.y)
        self.model.zero_grad()
        self.model.backward(self.loss.backward(), **self.options)
        self.optimizer.step()
        return loss

    def infer(self) -> Any:
        """The logits of the batch."""
        return self.model(self.x)


def prepare(specification: dict[str, Any]) -> tuple[dict[str, worker.Action], dict[str, Any]]:
    """The actions of the specified model, in which mode they run (strict, or fast where a kernel declines), and which
    of "step" and "inference" the batch allows."""
    training = Training(specification)
    mode, declined, kinds = specification.get("mode", "strict"), None, ["step", "inference"]
    if mode == "strict":
        try:
            kinds = _possible(training, mode)
        except RuntimeError as error:
            mode, declined = "fast", str(error)
            kinds = _possible(training, mode)

    def under(act: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            with dispatch.using(mode):
                return act()

        return run

    model = training.model
    actions: dict[str, worker.Action] = {
        "step": (model.train, under(training.step)),
        "inference": (model.eval, under(training.infer)),
    } | worker.IDLE
    about = {"mode": mode, "declined": declined, "fused": training.model is not training.plain, "kinds": kinds}
    return actions, about


def _possible(training: Training, mode: str) -> list[str]:
    """What can be done with the batch: a batch norm that would see one value a channel cannot be trained."""
    with dispatch.using(mode):
        with training.model.evaluating():
            training.infer()
        try:
            training.step()
        except ValueError:
            return ["inference"]
    return ["step", "inference"]


if __name__ == "__main__":
    worker.serve(prepare)
