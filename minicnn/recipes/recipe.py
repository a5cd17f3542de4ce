"""What a recipe says, and the parts of a training that it makes.

    about = "one line on what this is"
    epochs = 60
    batch_size = 64
    label_smoothing = 0.1     # of the cross-entropy
    ema = 0.999               # decay of averaged weights (train.AveragedWeights); 0 for none
    tta = "flip"              # test-time augmentation of the final measurement: "none", "flip" or "ten-crop"
    drop_duplicates = true    # leave out Training images that are exact copies of images of other splits
    seeds = [0, 1]            # one run for each

    [model]                   # a name that `minicnn models` lists, and options of its function
    name = "vgg_fer"
    [optimizer]               # sgd, adam, adamw, rmsprop, adagrad or adadelta, and options of its class
    name = "sgd"
    lr = 0.05
    [schedule]                # none, cosine, one_cycle or plateau, and options of its function
    name = "cosine"
    warmup_epochs = 2         # with every schedule but plateau
    [augment]                 # classes of data.augment in this order, and their options; or augment = "flip"
    RandomHorizontalFlip = {}
    [early_stopping]          # options of train.EarlyStopping; without the section there is none
    monitor = "valid_loss"
    patience = 10

Everything may be left out; the defaults are those of `Recipe`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minicnn import data, models, nn, optim, schedules, train
from minicnn.data import augment

Options = Mapping[str, Any]

OPTIMIZERS: dict[str, type[optim.Optimizer]] = {
    c.__name__.lower(): c for c in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.Adadelta)
}
SCHEDULES: dict[str, Callable[..., Any]] = {
    "none": schedules.warmup,  # of a constant rate
    "cosine": schedules.cosine,
    "one_cycle": schedules.one_cycle,
    "plateau": train.ReduceLROnPlateau,  # a callback: it watches the validation
}
PLATEAU: dict[str, Any] = {"monitor": "valid_loss", "factor": 0.5, "patience": 3}
AUGMENTATIONS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "flip": augment.RandomHorizontalFlip,
    "course": augment.course,
    "strong": augment.strong,
}


def _named(name: str) -> Callable[[], Options]:
    return lambda: {"name": name}


@dataclass(frozen=True)
class Recipe:
    """A recipe, read and checked by `minicnn.recipes.read`; `dataclasses.replace` changes one."""

    name: str = ""
    about: str = ""
    epochs: int = 10
    batch_size: int = 64
    label_smoothing: float = 0.0
    ema: float = 0.0
    tta: str = "none"
    drop_duplicates: bool = False
    seeds: tuple[int, ...] = (0,)
    model: Options = field(default_factory=_named("leaky_bn_cnn"))
    optimizer: Options = field(default_factory=_named("adam"))
    schedule: Options = field(default_factory=_named("none"))
    augment: str | Options = "none"
    early_stopping: Options = field(default_factory=dict)

    def build_model(self, dataset: data.Dataset, seed: int = 0) -> nn.Module:
        """The model for images and classes like these, its first weights drawn by seed."""
        _, H, W, C = dataset.images.shape
        sizes = {"classes": len(dataset.class_names), "input_size": (H, W), "channels": C}
        return models.build(self.model["name"], **sizes, rng=seed, **options(self.model))

    def build_optimizer(self, parameters: Any) -> optim.Optimizer:
        """The optimizer of these parameters."""
        return OPTIMIZERS[self.optimizer["name"]](parameters, **options(self.optimizer))

    def build_schedule(self, lr: float, steps_per_epoch: int) -> Callable[[int], float] | None:
        """step -> learning rate, from `lr` on; None where the rate is constant or a callback's affair."""
        chosen, name = options(self.schedule), self.schedule["name"]
        warmup_steps = round(chosen.pop("warmup_epochs", 0) * steps_per_epoch)
        if name == "plateau" or (name == "none" and not warmup_steps):
            return None
        steps = max(self.epochs * steps_per_epoch - warmup_steps, 1)
        main: Any = lr if name == "none" else SCHEDULES[name](lr, steps, **chosen)
        return schedules.warmup(main, warmup_steps) if warmup_steps else main

    def build_augment(self) -> Callable[..., Any] | None:
        """The changes to training images, or None."""
        if isinstance(self.augment, str):
            return AUGMENTATIONS[self.augment]()
        transforms = [getattr(augment, name)(**chosen) for name, chosen in self.augment.items()]
        return augment.Compose(transforms) if transforms else None

    def build_callbacks(self) -> list[train.Callback]:
        """Early stopping, the plateau's schedule and averaged weights, as far as they are wanted."""
        callbacks: list[train.Callback] = []
        if self.early_stopping:
            callbacks.append(train.EarlyStopping(**self.early_stopping))
        if self.schedule["name"] == "plateau":
            callbacks.append(train.ReduceLROnPlateau(**(PLATEAU | options(self.schedule))))
        if self.ema:
            callbacks.append(train.AveragedWeights(self.ema))
        return callbacks

    def loader(self, dataset: data.Dataset, seed: int = 0) -> data.Loader:
        """Batches to train on, in an order and with changes drawn by seed."""
        return data.Loader(dataset, self.batch_size, shuffle=True, augment=self.build_augment(), seed=seed)

    def trainer(
        self,
        dataset: data.Dataset,
        *,
        seed: int = 0,
        model: nn.Module | None = None,
        callbacks: Sequence[train.Callback] | None = None,
        **others: Any,
    ) -> train.Trainer:
        """A Trainer for these training images; others are its arguments device and log.

        Without `callbacks` it has those of `build_callbacks`.  The model is built where none is given.
        """
        model = self.build_model(dataset, seed) if model is None else model
        optimizer = self.build_optimizer(model.parameters())
        steps_per_epoch = -(-len(dataset) // self.batch_size)
        return train.Trainer(
            model,
            nn.CrossEntropyLoss(label_smoothing=self.label_smoothing),
            optimizer,
            schedule=self.build_schedule(optimizer.param_groups[0]["lr"], steps_per_epoch),
            callbacks=self.build_callbacks() if callbacks is None else callbacks,
            seed=seed,
            **others,
        )

    def fit(self, dataset: data.Dataset, valid: data.Dataset, *, seed: int = 0, **others: Any) -> train.Trainer:
        """Train, and give the model the weights of the epoch that was best on valid; others as those of `trainer`.

        The Trainer returned has the history, and predicts with that model.
        """
        callbacks: list[train.Callback] = [train.TerminateOnNaN(), *self.build_callbacks()]
        best = train.EarlyStopping("valid_accuracy", self.epochs, restore_best_weights=True)
        trainer = self.trainer(dataset, seed=seed, callbacks=[*callbacks, best], **others)
        trainer.fit(self.loader(dataset, seed), valid, self.epochs)
        return trainer


def options(section: Options) -> dict[str, Any]:
    """What a section holds besides the name."""
    return {key: value for key, value in section.items() if key != "name"}
