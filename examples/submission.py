"""Experiment 10: a file for Kaggle, two columns id,label, of test images whose labels nobody tells.

python examples/submission.py --quick                                                a minute, on drawn faces
python examples/submission.py --data fer2013.csv --model best.safetensors            of a model that is trained
python examples/submission.py --data fer2013.csv --test test.csv --recipe vgg_fer    trains one first
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

import minicnn
from minicnn import data, ops, recipes
from minicnn.train import tta


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, few epochs, a narrow network")
    parser.add_argument("--data", help="FER2013 in any form (default: drawn faces)")
    parser.add_argument("--test", help="a file of images to label (default: PrivateTest, or PublicTest without one)")
    parser.add_argument("--model", help="a file that minicnn.save wrote, such as best.safetensors of a run")
    parser.add_argument("--recipe", default="leaky_bn_cnn", help="what to train where there is no --model")
    parser.add_argument("--out", type=Path, default=Path("results"), help="a folder for submission.csv")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    faces = data.load_fer2013(args.data) if args.data else data.synthetic_faces(350 if args.quick else 5000)
    if args.test:
        test = data.load_fer2013(args.test)
    else:
        test = faces.split("PrivateTest" if "PrivateTest" in faces.split_counts() else "PublicTest")

    if args.model:
        model = minicnn.load(args.model)
    else:
        recipe = recipes.read(args.recipe)
        if args.quick:
            recipe = replace(recipe, epochs=3, batch_size=16, model={"name": recipe.model["name"], "width": 0.25})
        model = recipe.fit(faces.split("Training"), faces.split("PublicTest"), seed=0).model.eval()

    def predict(images):
        batches = np.array_split(images, -(-len(images) // 256))
        return np.concatenate([ops.softmax.forward(model(x.astype("float32") / 255))[0] for x in batches])

    labels = tta.averaged(predict, test.images, "flip").argmax(axis=1)
    with open(args.out / "submission.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label"])
        writer.writerows(enumerate(labels))
    counts = np.bincount(labels, minlength=len(test.class_names))
    print(", ".join(f"{name} {count}" for name, count in zip(test.class_names, counts, strict=True)))
    print(f"{len(labels):,} labels written to {args.out / 'submission.csv'}")


if __name__ == "__main__":
    main()
