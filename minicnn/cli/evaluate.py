"""minicnn evaluate: how good is a trained model on data with labels?"""

import argparse
import json

import numpy as np

from minicnn import metrics, nn, optim
from minicnn.cli import runs
from minicnn.train import Trainer, tta

HELP = "measure a trained model on data with labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minicnn evaluate`."""
    parser.add_argument("run_folder", metavar="RUN", help="a run folder, or a model file")
    parser.add_argument("--data", default=runs.SYNTHETIC, metavar="PATH", help="FER2013 in any form, or: synthetic")
    parser.add_argument("--split", default="PublicTest", help="which split (default: PublicTest)")
    parser.add_argument("--tta", choices=tta.WAYS, default="none", help="average over views of each image")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print loss, accuracy with its interval, and the confusion matrix."""
    model, metadata = runs.load_model(args.run_folder)
    dataset = runs.read_data(args.data, split=args.split)
    runs.require_shape(dataset, metadata)
    names = list(metadata.get("class_names", dataset.class_names))
    if names != list(dataset.class_names):
        raise ValueError(f"the model knows the classes {names}, the data have {list(dataset.class_names)}")
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))
    scores, n = tta.averaged(trainer.predict, dataset.images, args.tta), len(dataset)
    found = trainer.evaluate(dataset) if args.tta == "none" else _measure(dataset.labels, scores)
    matrix = metrics.confusion_matrix(dataset.labels, scores, len(names))
    low, high = metrics.wilson_interval(round(found["accuracy"] * n), n)
    if args.json:
        shown = found | {"n": n, "interval": [low, high], "split": args.split}
        shown |= {"tta": args.tta} if args.tta != "none" else {}
        shown |= {"f1_macro": metrics.f1_macro(dataset.labels, scores), "class_names": names}
        print(json.dumps(shown | {"confusion": matrix.tolist()}))
        return 0
    if args.tta != "none":
        print(f"test-time augmentation: {args.tta}")
    print(f"{args.split}: accuracy {found['accuracy']:.4f} (95 % interval {low:.3f} to {high:.3f}, n = {n:,})")
    print(f"loss {found['loss']:.4f}, macro F1 {metrics.f1_macro(dataset.labels, scores):.4f}")
    width = max(map(len, names)) + 1
    print("\nrows: true class, columns: predicted class")
    print(" " * width + "".join(f"{name[:8]:>9}" for name in names) + "   correct")
    for name, row in zip(names, matrix, strict=True):
        share = row[names.index(name)] / row.sum() if row.sum() else float("nan")
        print(f"{name:<{width}}" + "".join(f"{count:9,}" for count in row) + f"   {share:7.3f}")
    return 0


def _measure(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Loss and accuracy of probabilities, which averaging leaves no logits of."""
    likelihood = np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(probabilities.dtype).tiny)
    return {"loss": float(-np.log(likelihood).mean()), "accuracy": metrics.accuracy(labels, probabilities)}
