"""`fuse(model)`: an equal, faster model, and the print-out that says what became of each layer.

step.py         what every step has in common; STEPS, the layers that are one step by themselves
epilogue.py     which activations, norms, paddings, poolings and dropouts are one pass, and that pass
products.py     convolution and linear layers, with what follows them
dense_block.py  a dense block as one step
order.py        layers that may change places, and do
chain.py        a Sequential as steps
twin.py         any other module, with its parts fused
fused.py        the whole
table.py        the print-out
"""

from minicnn.plan.dense_block import FusedDenseBlock
from minicnn.plan.fused import Fused, fuse

__all__ = ["Fused", "FusedDenseBlock", "fuse"]
