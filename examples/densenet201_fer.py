"""Experiment 4: the second report's DenseNet-201, in which every layer sees all layers of its block before it.

python examples/densenet201_fer.py --quick                            a minute, two layers a block, on drawn faces
python examples/densenet201_fer.py --data fer2013.csv --out results   the experiment: many hours on a few cores
"""

import argparse
from dataclasses import replace
from pathlib import Path

from minicnn import data, metrics, recipes
from minicnn.explain import figures


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, one epoch, a narrow and shallow network")
    parser.add_argument("--data", help="FER2013 in any form (default: drawn faces)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="a folder for figures")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    faces = data.load_fer2013(args.data) if args.data else data.synthetic_faces(140 if args.quick else 5000)
    train, valid = faces.split("Training"), faces.split("PublicTest")
    recipe = recipes.read("densenet201_fer")
    if args.quick:
        recipe = replace(recipe, epochs=1, model={"name": "densenet201_fer", "width": 0.25, "layers": (2, 2, 2, 2)})

    model = recipe.build_model(train)
    parameters = {name: sum(p.data.size for p in part.parameters()) for name, part in model.named_children()}
    print("parameters:", ", ".join(f"{name} {count:,}" for name, count in parameters.items()))

    trainer = recipe.fit(train, valid, seed=0)
    matrix = metrics.confusion_matrix(valid.labels, trainer.predict(valid), num_classes=7)
    low, high = metrics.wilson_interval(matrix.trace(), len(valid))
    print(f"best epoch: {matrix.trace() / len(valid):.4f} right, 95 % interval {low:.4f} to {high:.4f}")
    figures.save(figures.history(trainer.history), args.out / "densenet201_fer_history.png")
    figures.save(figures.confusion(matrix, valid.class_names), args.out / "densenet201_fer_confusion.png")


if __name__ == "__main__":
    main()
