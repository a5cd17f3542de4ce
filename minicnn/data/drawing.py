"""Soft-edged shapes drawn on many small images at once.

A shape is its coverage: how much of each pixel it fills, in [0, 1], from the distance d inside its edge, in pixels,

    coverage = clip(1/2 + d/soft, 0, 1)

so an edge is a ramp `soft` pixels wide (1: anti-aliased; more: out of focus).  u (to the right) and v (downwards) are
the pixel coordinates (B, H, W) of B images, each in its own moved, turned and scaled frame; every other argument is a
number or (B, 1, 1).  float32.

Pixels go through + - * / and square roots alone, which IEEE 754 rounds in one way only, so that machines agree.
"""

import numpy as np

Field = np.ndarray  # float32 (B, H, W), or (B, 1, 1): one value an image


def frame(size: int, dx: Field, dy: Field, angle: Field, scale: Field) -> tuple[Field, Field]:
    """(u, v): coordinates centred on the image, moved by (dx, dy) pixels, turned by angle (radians), scaled."""
    line = np.arange(size, dtype=np.float32) - (size - 1) / 2
    x, y = line[None, None, :] - dx, line[None, :, None] - dy
    cos, sin = (np.cos(angle) / scale).astype(np.float32), (np.sin(angle) / scale).astype(np.float32)
    return x * cos + y * sin, y * cos - x * sin


def paint(image: Field, coverage: Field, tone: Field | float) -> None:
    """Put tone over image, in place, where coverage says."""
    image += coverage * (tone - image)


def inside(distance: Field, soft: Field) -> Field:
    """The coverage of a shape whose edge is `distance` away, positive inside."""
    return np.clip(distance / soft + 0.5, 0, 1)


def ellipse(u: Field, v: Field, width: Field | float, height: Field | float, soft: Field) -> Field:
    """An ellipse at the origin with these semi-axes, exact at its edge along both axes."""
    radius = np.sqrt((u / width) ** 2 + (v / height) ** 2)
    return inside((1 - radius) * np.minimum(width, height, dtype=np.float32), soft)


def lens(v: Field, top: Field | float, bottom: Field, soft: Field) -> Field:
    """What lies under the curve `top` and over the curve `bottom`, fainter where it is thinner than a pixel."""
    return np.maximum(inside(v - top, soft) - inside(v - bottom, soft), 0)


def stroke(v: Field, t: Field, line: Field, thickness: Field | float, soft: Field) -> Field:
    """A line along `line` that thins out towards t = -1 and t = 1, where it ends."""
    half = 0.5 * thickness * (1 - (t * t) ** 2)
    return lens(v, line - half, line + half, soft)
