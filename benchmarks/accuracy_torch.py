"""PyTorch's accuracy with leaky_bn_cnn on the same images: the rival of `minicnn train`, epoch by epoch.

    python benchmarks/accuracy_torch.py DATA [--epochs 14] [--seed 0] [--json OUT]

The same network, Adam at 1e-3, batch 64, pixels / 255, no augmentation, PublicTest as validation; PyTorch at its best
on a CPU (channels last, fused Adam).  minicnn's side is the run folder of

    minicnn train --model leaky_bn_cnn --data DATA --epochs 14 --batch-size 64 --seed 0 --out RUN

To reach: minicnn's best validation accuracy at most 0.02 below PyTorch's.
"""

import argparse
import json
import platform
import time

import torch
from torch import nn

from minicnn import data


def network() -> nn.Module:
    """leaky_bn_cnn in PyTorch's layers."""
    layers, c = [], 1
    for kernel, out in ((5, 32), (3, 64), (3, 128), (3, 128)):
        layers += [nn.Conv2d(c, out, kernel, padding=kernel // 2), nn.LeakyReLU(0.2), nn.BatchNorm2d(out)]
        layers += [nn.MaxPool2d(2)]
        c = out
    head = [nn.Flatten(), nn.Linear(1152, 256), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(256, 7)]
    return nn.Sequential(*layers, *head)


def tensors(dataset: data.Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """(x, y) in PyTorch's layout."""
    x = torch.from_numpy(dataset.images).permute(0, 3, 1, 2).float() / 255
    return x.contiguous(), torch.from_numpy(dataset.labels)


def main() -> None:
    """Train, print a line an epoch, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(2)
    faces = data.load_fer2013(args.data)
    (x, y), (xv, yv) = tensors(faces.split("Training")), tensors(faces.split("PublicTest"))
    model = network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    criterion, history = nn.CrossEntropyLoss(), []
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        row = {"epoch": epoch} | train(model, optimizer, criterion, x, y) | validate(model, criterion, xv, yv)
        history.append(row)
        print({k: round(v, 4) for k, v in row.items()}, f"{time.perf_counter() - start:.0f} s", flush=True)
    result = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seed": args.seed,
        "training": len(x),
        "validation": len(xv),
        "history": history,
    }
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


def train(model, optimizer, criterion, x, y) -> dict[str, float]:
    """One epoch."""
    model.train()
    loss_sum = correct = 0.0
    for batch in torch.randperm(len(x)).split(64):
        optimizer.zero_grad()
        scores = model(x[batch].contiguous(memory_format=torch.channels_last))
        loss = criterion(scores, y[batch])
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(batch)
        correct += (scores.argmax(1) == y[batch]).sum().item()
    return {"train_loss": loss_sum / len(x), "train_accuracy": correct / len(x)}


@torch.inference_mode()
def validate(model, criterion, x, y) -> dict[str, float]:
    """Loss and accuracy in evaluation mode."""
    model.eval()
    scores = torch.cat([model(part) for part in x.split(256)])
    return {"valid_loss": criterion(scores, y).item(), "valid_accuracy": (scores.argmax(1) == y).float().mean().item()}


if __name__ == "__main__":
    main()
