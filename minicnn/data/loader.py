"""Batches in an order that the seed and the epoch decide, so that training can stop and go on anywhere."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.data.dataset import Dataset

Batch = tuple[np.ndarray, np.ndarray]


class Loader:
    """Batches (x, y) of a Dataset, or of a pair of arrays.

    dataset     a Dataset, or (x, y): x uint8 or float, images (N, H, W, C) or features (N, F); y integer labels (N,),
                or probabilities (N, K) as floats
    batch_size  the last batch may be smaller, or with drop_last is left out
    shuffle     a new order in every epoch
    augment     called `augment(x, y, rng=rng) -> (x, y)` on each batch (see `minicnn.data.augment`)
    seed        decides the orders and the augmentation
    prefetch    how many batches a thread of the loader's own makes ready while the caller works; 0 for no thread.
                Batches and their order are the same; augment is called in that thread, one batch after the other

    A batch is float32 x, uint8 scaled by 1/255 to [0, 1] and floats taken as they are, and y, int64 labels or the
    probabilities in their own dtype.  Both are the caller's to keep and change; the data are read, never copied whole.

    `len(loader)` is the number of batches, `loader.n` of samples.  Iterating gives `batches(loader.epoch)` and then
    sets `epoch` to the next one; an iteration broken off leaves it.

    TypeError and ValueError for other types, ranks and lengths, unlabelled images, and data without a single batch.
    """

    def __init__(
        self,
        dataset: Dataset | Batch,
        batch_size: int,
        shuffle: bool = False,
        augment: Callable[..., Any] | None = None,
        seed: int = 0,
        drop_last: bool = False,
        prefetch: int = 1,
    ) -> None:
        self.x, self.y = _pair(dataset)
        self.prefetch = _integer("prefetch", prefetch, 0)
        self.batch_size = _integer("batch_size", batch_size, 1)
        self.seed = _integer("seed", seed, 0)
        if augment is not None and not callable(augment):
            raise TypeError(f"Loader: augment is {augment!r}, wanted a callable augment(x, y, rng=rng)")
        self.shuffle, self.augment, self.drop_last = shuffle, augment, drop_last
        self.n, self.epoch = len(self.x), 0
        if not len(self):
            raise ValueError(f"Loader: drop_last leaves none of {self.n} samples in batches of {batch_size}")

    def __len__(self) -> int:
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        yield from self.batches(epoch)
        self.epoch = epoch + 1

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number `start` on: always the same for this seed and epoch."""
        epoch, start = _integer("epoch", epoch, 0), _integer("start", start, 0)
        if start > len(self):
            raise ValueError(f"Loader: start is {start}, but an epoch has {len(self)} batches")
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        order = self._rng(2, epoch).permutation(self.n) if self.shuffle else np.arange(self.n)
        numbers = range(start, len(self))
        if self.prefetch == 0:
            yield from (self._batch(order, epoch, b) for b in numbers)
            return
        executor = ThreadPoolExecutor(1, "minicnn-loader")
        try:
            ready: deque[Future[Batch]] = deque()
            for b in numbers:
                context = copy_context()  # minicnn.using holds in the thread too
                ready.append(executor.submit(context.run, self._batch, order, epoch, b))
                if len(ready) > self.prefetch:
                    yield ready.popleft().result()
            while ready:
                yield ready.popleft().result()
        finally:  # also where the caller breaks off
            executor.shutdown(cancel_futures=True)

    def _batch(self, order: np.ndarray, epoch: int, b: int) -> Batch:
        chosen = order[b * self.batch_size : (b + 1) * self.batch_size]
        x, y = self.x[chosen], self.y[chosen]  # copies: an array of indices never gives a view
        if x.dtype == np.uint8:
            x = np.divide(x, 255, out=backend.empty(x.shape), dtype=np.float32)
        x = x.astype(np.float32, copy=False)
        if self.augment is not None:
            x, y = self.augment(x, y, rng=self._rng(3, epoch, b))
            if len(x) != len(y) or x.dtype != np.float32:
                raise ValueError(
                    f"Loader: augment returned {x.dtype} x {x.shape} and y {y.shape}, wanted float32 and one length"
                )
        return x, y

    def _rng(self, *key: int) -> np.random.Generator:
        """A stream of its own for each use: weights are drawn from the seed itself, dropout masks from key (1, ...)."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def _pair(dataset: Dataset | Batch) -> Batch:
    """(x, y) as a Loader keeps them."""
    if isinstance(dataset, Dataset):
        x, y = dataset.images, dataset.labels
    elif isinstance(dataset, (tuple, list)) and len(dataset) == 2:
        x, y = (np.asarray(a) for a in dataset)
    else:
        raise TypeError(f"Loader: data is {type(dataset).__name__}, wanted a Dataset or a pair of arrays (x, y)")
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise TypeError(f"Loader: x is {x.dtype}, wanted uint8 (scaled to [0, 1]) or float (taken as it is)")
    if x.ndim not in (2, 4):
        raise ValueError(f"Loader: x has shape {x.shape}, wanted images (N, H, W, C) or features (N, F)")
    if y.dtype.kind not in "iuf":
        raise TypeError(f"Loader: y is {y.dtype}, wanted integer labels or float probabilities")
    wanted = "probabilities (N, K)" if y.dtype.kind == "f" else "labels (N,)"
    if y.ndim != (2 if y.dtype.kind == "f" else 1):
        raise ValueError(f"Loader: y is {y.dtype} of shape {y.shape}, wanted {wanted} for this dtype")
    if len(x) != len(y):
        raise ValueError(f"Loader: {len(x)} samples in x but {len(y)} in y")
    if not len(x):
        raise ValueError("Loader: the data hold no sample")
    if y.dtype.kind == "f":
        return x, y
    if unlabelled := int((y < 0).sum()):
        raise ValueError(f"Loader: {unlabelled} of {len(y)} samples are unlabelled (below 0); leave them out first")
    return x, y.astype(np.int64, copy=False)


def _integer(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"Loader: {name} is {value!r}, wanted an integer of at least {least}")
    return int(value)
