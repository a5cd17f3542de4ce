"""Experiment 9: three networks beyond the reports, by one strong recipe.

Flips, turns, shifts, scales and erased parts; label smoothing; SGD with Nesterov momentum along a cosine after a
warm-up; averaged weights; and at the end predictions averaged over views of each image, which costs no training.

    python examples/strong_recipe.py --quick                                                   a minute, drawn faces
    python examples/strong_recipe.py --data fer2013.csv --recipes vgg_fer --out results        hours on a few cores
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import minicnn
from minicnn import data, metrics, recipes
from minicnn.explain import figures
from minicnn.train import tta


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, two epochs, narrow networks")
    parser.add_argument("--data", help="FER2013 in any form (default: drawn faces)")
    parser.add_argument("--recipes", nargs="+", default=["mini_xception", "vgg_fer", "resnet18_fer"])
    parser.add_argument("--epochs", type=int, help="instead of the recipe's; the schedule is shortened with it")
    parser.add_argument("--out", type=Path, default=Path("results"), help="a folder for figures, models and the table")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    faces = data.load_fer2013(args.data) if args.data else data.synthetic_faces(140 if args.quick else 5000)
    faces = data.drop_duplicates(faces)
    train, valid = faces.split("Training"), faces.split("PublicTest")
    rows = ["| recipe | " + " | ".join(tta.WAYS) + " |", "|---|" + "---|" * len(tta.WAYS)]
    results = {}
    for name in args.recipes:
        recipe = recipes.read(name)
        recipe = replace(recipe, epochs=args.epochs or recipe.epochs)
        if args.quick:
            recipe = replace(recipe, epochs=2, model={"name": recipe.model["name"], "width": 0.125})
        print(f"{name}: {recipe.about}")
        trainer = recipe.fit(train, valid, seed=0)
        figures.save(figures.history(trainer.history), args.out / f"{name}_history.png")
        minicnn.save(trainer.model, args.out / f"{name}.safetensors")

        results[name] = {}
        for way in tta.WAYS:
            accuracy = metrics.accuracy(valid.labels, tta.averaged(trainer.predict, valid.images, way))
            interval = metrics.wilson_interval(round(accuracy * len(valid)), len(valid))
            results[name][way] = {"accuracy": accuracy, "interval": interval, "n": len(valid)}
        rows.append(f"| {name} | " + " | ".join(f"{results[name][way]['accuracy']:.4f}" for way in tta.WAYS) + " |")
    print("\n".join(rows))
    (args.out / "strong_recipe.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (args.out / "strong_recipe.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
