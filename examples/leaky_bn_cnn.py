"""Experiment 1: the fifth report's network, and its log line by line.

The report's validation accuracy of 0.96 is a leak: its validation images stood in its training set.  Here copies of
validation images are looked for first and left out.

    python examples/leaky_bn_cnn.py --quick                            a minute, on drawn faces
    python examples/leaky_bn_cnn.py --data fer2013.csv --out results   the experiment
"""

import argparse
from pathlib import Path

from minicnn import Trainer, data, metrics, models, nn, optim
from minicnn.explain import figures
from minicnn.train import ModelCheckpoint


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, few epochs, a narrow network")
    parser.add_argument("--data", help="FER2013 in any form (default: drawn faces)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="a folder for figures")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    faces = data.load_fer2013(args.data) if args.data else data.synthetic_faces(350 if args.quick else 5000)
    print(data.audit(faces))
    faces = data.drop_duplicates(faces)
    train, valid = faces.split("Training"), faces.split("PublicTest")

    model = models.leaky_bn_cnn(width=0.25 if args.quick else 1.0, rng=0)
    print(model.summary((48, 48, 1)))
    trainer = Trainer(
        model,
        nn.CrossEntropyLoss(),
        optim.Adam(model.parameters(), lr=0.001),
        callbacks=[
            ModelCheckpoint(args.out / "model_{epoch}.safetensors", "valid_accuracy", True, keep=1, verbose=True)
        ],
        seed=0,
    )
    history = trainer.fit(train, valid, epochs=3 if args.quick else 14, batch_size=16 if args.quick else 64)

    (best,) = args.out.glob("model_*.safetensors")
    model.load_state_dict(models.load(best).state_dict())
    scores = trainer.predict(valid)
    matrix = metrics.confusion_matrix(valid.labels, scores, num_classes=7)
    low, high = metrics.wilson_interval(matrix.trace(), len(valid))
    print(f"{best.name}: {metrics.accuracy(valid.labels, scores):.4f}, 95 % interval {low:.4f} to {high:.4f}")
    for name, share in zip(valid.class_names, metrics.per_class_accuracy(valid.labels, scores, 7), strict=True):
        print(f"    {name:<9} {share:.3f}")
    figures.save(figures.history(history), args.out / "leaky_bn_cnn_history.png")
    figures.save(figures.confusion(matrix, valid.class_names), args.out / "leaky_bn_cnn_confusion.png")


if __name__ == "__main__":
    main()
