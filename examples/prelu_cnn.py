"""Experiment 5: the third report's network with and without augmentation, by Adam and by Adadelta.

Without augmentation the network learns its training images by heart, and the validation loss rises again; images
turned by up to 40 degrees and shifted by up to a fifth prevent that and need many more epochs.  The report trains for
400 epochs with Adam and 650 with Adadelta; --epochs shortens all four.

    python examples/prelu_cnn.py --quick                                         a minute, on drawn faces
    python examples/prelu_cnn.py --data fer2013.csv --epochs 40 --out results    the experiment, shortened
"""

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt

from minicnn import data, metrics, recipes

NAMES = ("prelu_cnn_adam", "prelu_cnn_adam_course", "prelu_cnn_adadelta", "prelu_cnn_adadelta_course")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, few epochs, a narrow network")
    parser.add_argument("--data", help="FER2013 in any form (default: drawn faces)")
    parser.add_argument("--epochs", type=int, help="instead of the report's 400 and 650")
    parser.add_argument("--out", type=Path, default=Path("results"), help="a folder for the figure and the table")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    faces = data.load_fer2013(args.data) if args.data else data.synthetic_faces(210 if args.quick else 5000)
    train, valid = faces.split("Training"), faces.split("PublicTest")
    rows = ["| recipe | best epoch | accuracy | 95 % interval |", "|---|---|---|---|"]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for colour, name in enumerate(NAMES):
        recipe = recipes.read(name)
        recipe = replace(recipe, epochs=2 if args.quick else args.epochs or recipe.epochs)
        if args.quick:
            recipe = replace(recipe, batch_size=32, model={"name": "prelu_cnn", "width": 0.25})
        print(f"{name}: {recipe.about}")
        history = recipe.fit(train, valid, seed=0).history

        best = history.best("valid_accuracy")
        low, high = metrics.wilson_interval(round(best["valid_accuracy"] * len(valid)), len(valid))
        rows.append(f"| {name} | {best['epoch']} | {best['valid_accuracy']:.4f} | {low:.4f} to {high:.4f} |")
        for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
            axis.plot(history["epoch"], history[f"valid_{quantity}"], f"C{colour}.-", label=name)
            axis.plot(history["epoch"], history[f"train_{quantity}"], f"C{colour}.--", alpha=0.4)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set(xlabel="epoch", ylabel=quantity, title="full: validation, dashed: training")
    axes[1].legend(fontsize="small")
    figure.savefig(args.out / "prelu_cnn.png")
    plt.close(figure)
    (args.out / "prelu_cnn.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
