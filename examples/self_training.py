"""Experiment 8: self-training.  Half of the training labels are hidden; does the network's own labelling help?

After every round the images whose largest probability exceeds a threshold join the training set with the label that the
network gives them, chosen from scratch each time.  The report takes 0.45.  A low threshold adds many images, of which
many are wrong; a high one adds few, which the network hardly learns from, because it knows them already.  So several
thresholds are tried, and a fair rival: the labelled half alone, for as many rounds.

    python examples/self_training.py --quick                            a minute, on drawn faces
    python examples/self_training.py --data fer2013.csv --out results   the experiment
"""

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt

from minicnn import data, metrics, recipes
from minicnn.train import self_training


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, one threshold, one round of few epochs")
    parser.add_argument("--data", help="FER2013 in any form (default: drawn faces)")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.45, 0.7, 0.9])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=8, help="of each round, from fresh weights")
    parser.add_argument("--out", type=Path, default=Path("results"), help="a folder for the figure and the table")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.quick:
        args.rounds, args.epochs, args.thresholds = 1, 6, args.thresholds[:1]

    faces = data.load_fer2013(args.data) if args.data else data.synthetic_faces(700 if args.quick else 5000)
    valid = faces.split("PublicTest")
    labelled, hidden = self_training.hide_labels(faces.split("Training"), share=0.5, seed=0)
    recipe = replace(recipes.read("leaky_bn_cnn"), epochs=args.epochs)
    if args.quick:
        recipe = replace(recipe, batch_size=16, model={"name": "leaky_bn_cnn", "width": 0.25})

    def fit(images, seed=0):
        return recipe.fit(images, valid, seed=seed, log=lambda line: None).predict

    rows = ["| threshold | round | images added | of these right | accuracy |", "|---|---|---|---|---|"]
    figure, axis = plt.subplots(figsize=(5, 3.5), layout="constrained")
    for threshold in args.thresholds:
        accuracies = []
        for r in self_training.rounds(fit, labelled, hidden, count=args.rounds, threshold=threshold):
            accuracies.append(metrics.accuracy(valid.labels, r.predict(valid.images)))
            rows.append(f"| {threshold} | {r.number} | {r.added:,} | {r.right:.3f} | {accuracies[-1]:.4f} |")
            print(rows[-1])
        axis.plot(accuracies, ".-", label=f"threshold {threshold}")

    alone = [metrics.accuracy(valid.labels, fit(labelled, seed)(valid.images)) for seed in range(args.rounds + 1)]
    low, high = metrics.wilson_interval(round(max(alone) * len(valid)), len(valid))
    rows.append(f"\nThe labelled half alone, best of {len(alone)} seeds: {max(alone):.4f} ({low:.4f} to {high:.4f}).")
    print(rows[-1])
    axis.axhspan(low, high, color="0.9", label="labelled half alone, 95 %")
    axis.set(xlabel="round", ylabel="validation accuracy", xticks=range(args.rounds + 1))
    axis.legend(fontsize="small")
    figure.savefig(args.out / "self_training.png")
    plt.close(figure)
    (args.out / "self_training.md").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
