"""The process that times PyTorch at its best: the same model, built from its description, on the same kind of batch.

It imports nothing of minicnn but this package, and nothing else of minicnn imports it.
"""

import os
from typing import Any

import torch
from torch.nn import functional

from minicnn.bench import twin, twin_ops, worker


def prepare(specification: dict[str, Any]) -> tuple[dict[str, worker.Action], dict[str, Any]]:
    """The actions of the specified model, a step with fused Adam and inference; or those of single calls of ops."""
    if "calls" in specification:
        return twin_ops.actions(specification["calls"], specification["threads"]), {"torch": torch.__version__}
    torch.manual_seed(0)
    torch.set_num_threads(specification["threads"])
    H, W, C = specification["shape"]
    model = twin.build(specification["model"], merge_padding=specification["merge_padding"])
    x = torch.rand(specification["batch"], C, H, W)
    y = torch.randint(0, specification["classes"], (specification["batch"],))
    if specification["channels_last"]:
        x = x.contiguous(memory_format=torch.channels_last)
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    forward = torch.compile(model) if specification["compile"] else model

    def step() -> None:
        loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def infer() -> None:
        with torch.inference_mode():
            forward(x)

    actions: dict[str, worker.Action] = {"step": (model.train, step), "inference": (model.eval, infer)}
    actions |= worker.IDLE
    return actions, {"torch": torch.__version__, "malloc": "MALLOC_TOP_PAD_" in os.environ}


def main() -> None:
    """Serve."""
    worker.serve(prepare)
