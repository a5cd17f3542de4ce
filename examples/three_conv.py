"""Experiment 2: the first report's network, and which expressions it takes for one another.

python examples/three_conv.py --quick                            a minute, on drawn faces
python examples/three_conv.py --data fer2013.csv --out results   the experiment
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from minicnn import data, metrics, recipes
from minicnn.explain import figures


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, few epochs, a narrow network")
    parser.add_argument("--data", help="FER2013 in any form (default: drawn faces)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="a folder for figures")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    faces = data.load_fer2013(args.data) if args.data else data.synthetic_faces(350 if args.quick else 5000)
    train, valid = faces.split("Training"), faces.split("PublicTest")
    recipe = recipes.read("three_conv")  # `minicnn recipes three_conv` prints it
    if args.quick:
        recipe = replace(recipe, epochs=3, batch_size=16, model={"name": "three_conv", "width": 0.25})

    trainer = recipe.fit(train, valid, seed=0)
    matrix = metrics.confusion_matrix(valid.labels, trainer.predict(valid), num_classes=7)
    figures.save(figures.history(trainer.history), args.out / "three_conv_history.png")
    figures.save(figures.confusion(matrix, valid.class_names), args.out / "three_conv_confusion.png")

    print("Most often confused, in per cent of the true class:")
    share = metrics.normalize_rows(matrix)
    np.fill_diagonal(share, 0)
    for pair in np.argsort(-share, axis=None)[:5]:
        true, predicted = np.unravel_index(pair, share.shape)
        words = f"{valid.class_names[true]} taken for {valid.class_names[predicted]}"
        print(f"    {words:<32} {100 * share[true, predicted]:.0f}")


if __name__ == "__main__":
    main()
