"""What the commands share: run folders, data by name, models in files."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import data, files, models, nn, recipes
from minicnn.data.dataset import UNLABELLED

SYNTHETIC, SYNTHETIC_FACES = "synthetic", 5000  # what --data means without a path, and how many faces it draws
HELD_OUT = 0.1  # of Training, where the data have no PublicTest

ROW = ("epoch", "accuracy", "interval", "tta", "n", "split")  # of a run's metrics.json, in the table of several


def read_data(path: str, *, split: str | None = None) -> data.Dataset:
    """The faces that --data names: the embedded ones or a file or folder of FER2013."""
    if path == SYNTHETIC:
        faces = data.synthetic_faces(SYNTHETIC_FACES, seed=0)
        return faces.split(split) if split else faces
    return data.load_fer2013(path, split)


def divide(dataset: data.Dataset, seed: int) -> tuple[data.Dataset, data.Dataset, str]:
    """(training, validation, what validation is): Training and PublicTest, or a tenth of Training held out by seed.

    Of the images that have labels: the course's test.csv comes without.
    """
    dataset = dataset.subset(dataset.labels != UNLABELLED)
    splits = dataset.split_counts()
    if "Training" not in splits:
        raise ValueError(f"the data have no Training split to train on; there is {', '.join(splits) or 'nothing'}")
    train = dataset.split("Training")
    if "PublicTest" in splits:
        return train, dataset.split("PublicTest"), "PublicTest"
    order = np.random.default_rng(seed).permutation(len(train))
    held = int(len(train) * HELD_OUT)
    if not held:
        raise ValueError(f"{len(train)} Training images are too few to hold a tenth out for validation")
    return train.subset(np.sort(order[held:])), train.subset(np.sort(order[:held])), "a held-out tenth of Training"


def digest(dataset: data.Dataset) -> str:
    """What tells these images and labels from any others, wherever they were read from."""
    content = hashlib.sha256(f"{dataset.images.shape} {dataset.class_names}".encode())
    for array in (dataset.images, dataset.labels, dataset.usage.astype("S16")):
        content.update(np.ascontiguousarray(array).reshape(-1).view("uint8").data)
    return f"sha256:{content.hexdigest()}"


def write_table(out: Path, folders: list[Path], name: str) -> None:
    """results.json and results.md in `out`, of those runs in the folders that have a result; prints the table."""
    found = []
    for folder in folders:
        if (folder / "metrics.json").exists():
            config, result = files.read_json(folder / "config.json"), files.read_json(folder / "metrics.json")
            found.append({"seed": config["seed"]} | {k: result[k] for k in ROW if k in result})
    if not found:
        return
    summary = recipes.summary(found)
    files.write_json(out / "results.json", {"name": name} | summary)
    files.write_text(out / "results.md", recipes.markdown(name, summary))
    print(recipes.markdown(name, summary), end="")


def load_model(run: str) -> tuple[nn.Module, dict[str, Any]]:
    """(model, metadata) of a run folder's best.safetensors, or of a file; metadata has class_names and input_shape."""
    path = Path(run)
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ValueError(f"{run}: holds no run (no config.json)")
        path = path / "best.safetensors"
        if not path.exists():
            raise ValueError(f"{run}: holds no model yet (no best.safetensors); has its first epoch ended?")
    model = models.load(path)
    metadata = files.read_metadata(path)
    return model, {k: json.loads(metadata[k]) for k in ("class_names", "input_shape") if k in metadata}


def input_shape(metadata: dict[str, Any]) -> tuple[int, int, int]:
    """(H, W, C) that a model was trained on; FER2013's where its file does not say."""
    H, W, C = metadata.get("input_shape", (48, 48, 1))
    return H, W, C


def require_shape(dataset: data.Dataset, metadata: dict[str, Any]) -> None:
    """ValueError unless the images are what the model was trained on."""
    came, wanted = dataset.images.shape[1:], input_shape(metadata)
    if came != wanted:
        raise ValueError(f"the images are {came} (height, width, channels), the model wants {wanted}")
