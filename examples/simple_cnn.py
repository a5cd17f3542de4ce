"""Experiment 3: the course's small network, trained well and trained badly, kept for the pictures of what it sees.

The questions on visualisation compare a good model with a poor one.  Both are written to --out as they are after the
first epoch and after the best one; `minicnn.load` reads them again.

    python examples/simple_cnn.py --quick                            a minute, on drawn faces
    python examples/simple_cnn.py --data fer2013.csv --out results   the experiment
"""

import argparse
from pathlib import Path

import minicnn
from minicnn import Trainer, data, metrics, models, nn, optim
from minicnn.explain import figures


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, two epochs, a narrow network")
    parser.add_argument("--data", help="FER2013 in any form (default: drawn faces)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="a folder for figures and models")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    faces = data.load_fer2013(args.data) if args.data else data.synthetic_faces(350 if args.quick else 5000)
    train, valid = faces.split("Training"), faces.split("PublicTest")
    model = models.simple_cnn(width=0.25 if args.quick else 1.0, rng=0)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.001), seed=0)

    batch_size = 16 if args.quick else 64
    trainer.fit(train, valid, epochs=1, batch_size=batch_size)
    minicnn.save(model, args.out / "simple_cnn_poor.safetensors")
    best = trainer.history["valid_accuracy"][0]
    for _ in range(1 if args.quick else 9):
        trainer.fit(train, valid, epochs=1, batch_size=batch_size)  # goes on where it was
        if trainer.history["valid_accuracy"][-1] > best or not (args.out / "simple_cnn_good.safetensors").exists():
            best = trainer.history["valid_accuracy"][-1]
            minicnn.save(model, args.out / "simple_cnn_good.safetensors")
    figures.save(figures.history(trainer.history), args.out / "simple_cnn_history.png")

    x = valid.images.astype("float32") / 255
    for word in ("poor", "good"):
        matrix = metrics.confusion_matrix(valid.labels, minicnn.load(args.out / f"simple_cnn_{word}.safetensors")(x), 7)
        print(f"the {word} model: {matrix.trace() / matrix.sum():.4f} of {matrix.sum():,} validation images right")
        figures.save(figures.confusion(matrix, valid.class_names), args.out / f"simple_cnn_{word}_confusion.png")


if __name__ == "__main__":
    main()
