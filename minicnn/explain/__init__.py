"""Looking at a trained model: what it got right, and why."""

from minicnn.explain import figures

__all__ = ["figures"]
