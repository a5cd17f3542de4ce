"""Experiment 7: the fourth report's best entry, a linear combination of several models' predictions.

Several networks are trained with flips and early stopping, from different first weights.  With p_m(k | x) the
probability that model m gives class k, the ensemble says Σ w_m p_m(k | x).  The weights, at least 0 and of sum 1, give
the least mean of −ln p on images that no model was trained on: a convex problem, so there is one best answer.  The gain
is measured on images that neither chose the epochs nor the weights.

    python examples/ensemble.py --quick                            a minute, on drawn faces
    python examples/ensemble.py --data fer2013.csv --out results   the experiment
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from minicnn import data, metrics, models, ops, recipes


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, few epochs, narrow networks")
    parser.add_argument("--data", help="FER2013 in any form (default: drawn faces)")
    parser.add_argument("--models", type=int, default=4, help="how many networks")
    parser.add_argument("--out", type=Path, default=Path("results"), help="a folder for the table")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    faces = data.load_fer2013(args.data) if args.data else data.synthetic_faces(420 if args.quick else 5000)
    train, valid = faces.split("Training"), faces.split("PublicTest")
    if "PrivateTest" in faces.split_counts():
        test = faces.split("PrivateTest")
    else:  # every other validation image is for the measurement alone
        valid, test = valid.subset(np.arange(0, len(valid), 2)), valid.subset(np.arange(1, len(valid), 2))
    recipe = recipes.read("zero_pad_cnn")
    if args.quick:
        recipe = replace(recipe, epochs=3, batch_size=32, model={"name": "zero_pad_cnn", "width": 0.25})

    trained = []
    for seed in range(2 if args.quick else args.models):
        print(f"model {seed + 1}")
        trained.append(recipe.fit(train, valid, seed=seed))
    ensemble = models.Ensemble([trainer.model for trainer in trained])
    weights = ensemble.fit_weights(valid.images, valid.labels)

    rows = ["| model | weight | accuracy | 95 % interval |", "|---|---|---|---|"]
    said = {f"model {m}": (weights[m - 1], trainer.predict(test)) for m, trainer in enumerate(trained, 1)}
    x = test.images.astype("float32") / 255
    said["ensemble"] = (1.0, ops.softmax.forward(ensemble.eval()(x))[0])
    for name, (weight, scores) in said.items():
        accuracy = metrics.accuracy(test.labels, scores)
        low, high = metrics.wilson_interval(round(accuracy * len(test)), len(test))
        rows.append(f"| {name} | {weight:.3f} | {accuracy:.4f} | {low:.4f} to {high:.4f} |")
    chosen = [trainer.history.best("valid_accuracy")["valid_accuracy"] for trainer in trained]
    best = f"model {np.argmax(chosen) + 1}"
    gain = metrics.accuracy(test.labels, said["ensemble"][1]) - metrics.accuracy(test.labels, said[best][1])
    chance = metrics.mcnemar(test.labels, said["ensemble"][1], said[best][1])
    rows += [
        "",
        f"Gain over {best}, the best on validation: {100 * gain:.2f} points, p = {chance.p_value:.2g} (McNemar).",
    ]
    (args.out / "ensemble.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
