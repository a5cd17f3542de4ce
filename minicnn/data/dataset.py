"""Labelled images with the split each belongs to: what every loader returns and every tool takes."""

from dataclasses import dataclass, replace

import numpy as np

SPLITS = ("Training", "PublicTest", "PrivateTest")  # Kaggle's names: train, choose, report once
FER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # Kaggle's labels 0 to 6
UNLABELLED = -1


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """N images, their labels and their splits.

    images       uint8 (N, H, W, C), values 0 to 255
    labels       int64 (N,), an index into class_names, or -1 where the label is not known
    usage        (N,) array of str: the split of each image, by custom one of SPLITS
    class_names  the name of each label
    notes        what the reader of the data should know (rows left out, copies removed), one sentence each
    ids          (N,) array of str: what the source calls each image, "" where it does not; None where it names none

    TypeError where an array has another dtype, ValueError where lengths or label values do not fit.
    """

    images: np.ndarray
    labels: np.ndarray
    usage: np.ndarray
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        named = (("ids", "str"),) if self.ids is not None else ()
        for name, kind in (("images", "uint8"), ("labels", "int64"), ("usage", "str"), *named):
            array = getattr(self, name)
            got = f"{array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            if not isinstance(array, np.ndarray) or array.dtype.kind != np.dtype(kind).kind or kind not in (got, "str"):
                raise TypeError(f"Dataset: {name} is {got}, wanted a NumPy array of {kind}")
        if self.images.ndim != 4:
            raise ValueError(f"Dataset: images has shape {self.images.shape}, wanted (N, H, W, C)")
        for name in ("labels", "usage", *(name for name, _ in named)):
            if getattr(self, name).shape != (len(self),):
                raise ValueError(
                    f"Dataset: {name} has shape {getattr(self, name).shape}, wanted ({len(self)},): one for each image"
                )
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "notes", tuple(self.notes))
        wrong = (self.labels < UNLABELLED) | (self.labels >= len(self.class_names))
        if wrong.any():
            raise ValueError(
                f"Dataset: label {self.labels[wrong][0]} of image {wrong.argmax()} is no index into "
                f"{len(self.class_names)} class names (nor {UNLABELLED}, which means unlabelled)"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.images.shape[1:]))
        splits = ", ".join(f"{name} {count}" for name, count in self.split_counts().items()) or "empty"
        return f"<Dataset {len(self)} images {size}: {splits}; {len(self.class_names)} classes>"

    def split_counts(self) -> dict[str, int]:
        """{split: number of images}, Kaggle's splits first in their order, others after them by name."""
        names, counts = np.unique(self.usage, return_counts=True)
        found = {str(name): int(count) for name, count in zip(names, counts, strict=True)}
        return {name: found[name] for name in (*SPLITS, *sorted(found.keys() - set(SPLITS))) if name in found}

    def subset(self, which: np.ndarray) -> "Dataset":
        """The images at these integer indices, or where this boolean (N,) mask is true; the notes are kept."""
        which = np.asarray(which)
        if which.size == 0 and which.dtype.kind == "f":  # an empty list
            which = which.astype(np.intp)
        if which.ndim != 1 or which.dtype.kind not in "iub":
            raise TypeError(f"Dataset.subset: got {which.dtype} {which.shape}, wanted 1-D integers or booleans")
        if which.dtype.kind == "b" and which.shape != (len(self),):
            raise ValueError(f"Dataset.subset: a mask of {len(which)} values for {len(self)} images")
        ids = None if self.ids is None else self.ids[which]
        return replace(self, images=self.images[which], labels=self.labels[which], usage=self.usage[which], ids=ids)

    def split(self, name: str) -> "Dataset":
        """The images of one split; ValueError names the splits there are."""
        there = self.split_counts()
        if name not in there:
            raise ValueError(f"no split {name!r} here; there is {', '.join(there) or 'no image at all'}")
        return self.subset(self.usage == name)
