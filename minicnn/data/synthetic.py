"""Drawn faces with the seven expressions of FER2013: data for tests and first steps, with nothing to download.

A face is a few numbers.  TRAITS are who it is and how it is seen; ACTIONS are what its muscles do, and an expression is
a row of actions, after the action units of Ekman & Friesen's Facial Action Coding System (1978): sadness lifts the
inner brows and lowers the corners of the mouth, and so on.  Each face takes its expression at an intensity of its own
and moves every muscle a little besides, so that faint expressions overlap.

Place, turn and size vary, so no pixel means the same in two faces: with 6,000 faces to train on, multinomial logistic
regression on the pixels gets about 0.58 of new faces right, and three small convolutions get 0.95 in ten epochs.

The drawing below is in pixels of an upright face that fills the image, its centre at (u, v) = (0, 0).
"""

from types import SimpleNamespace

import numpy as np

from minicnn.data.dataset import SPLITS, Dataset
from minicnn.data.drawing import Field, ellipse, frame, inside, lens, paint, stroke

SIZE = 48  # pixels
CHUNK = 4  # faces drawn together: so few that malloc keeps the pages of their fields, where fresh ones cost more

# fmt: off
ACTIONS = (  # in pixels; the eye's as shares of it, and of the last line, from 0, absent, to 1, full
    "brow_raise", "brow_inner", "brow_arch",            # inner: the ends at the nose up, the others down
    "eye_open", "lid_raise",                            # of the upper and the lower lid
    "mouth_wide", "mouth_smile", "mouth_open",          # smile: the corners up
    "lip_raise", "lip_skew",                            # the upper lip; one corner up and the other down
    "teeth", "wrinkle", "frown", "fold",                # across the nose; between the brows; from nose to mouth
)
SPREAD = (0.7, 0.6, 0.3, 0.12, 0.08, 0.8, 0.5, 0.4, 0.2, 0.32, 0.2, 0.1, 0.1, 0.15)  # to both sides, in every face

# Kaggle's order; two ways to show each.
#     brow: raise inner  arch   eye: open   lid   mouth: wide smile open  lip: raise skew  teeth wrinkle frown fold
EXPRESSIONS = {
    "angry": (
        (    -2.0,  -2.8,  -0.2,     0.00,  0.2,        -1.2, -0.8,  0.2,     -0.3,  0.0,   0.0,  0.0,   1.0,  0.0),
        (    -1.8,  -2.6,  -0.2,     0.10,  0.2,         0.4, -0.8,  5.0,      0.4,  0.0,   1.0,  0.2,   1.0,  0.3)),
    "disgust": (
        (    -1.0,  -0.4,  -0.4,    -0.60,  0.5,        -0.6, -0.8,  0.6,      2.2,  1.3,   0.0,  1.0,   0.0,  1.0),
        (    -0.8,  -0.3,  -0.4,    -0.65,  0.5,         0.0, -1.2,  3.5,      2.4,  0.6,   0.7,  1.0,   0.0,  1.0)),
    "fear": (
        (     1.9,   1.9,  -0.5,     0.45,  0.1,         1.2, -0.9,  3.2,      0.0,  0.0,   0.8,  0.0,   0.3,  0.0),
        (     1.7,   2.1,  -0.5,     0.50,  0.1,         0.4, -1.2,  5.0,      0.0,  0.0,   0.2,  0.0,   0.3,  0.0)),
    "happy": (
        (     0.3,   0.0,   0.2,    -0.15,  0.35,        1.4,  3.2,  0.2,      0.0,  0.0,   0.0,  0.0,   0.0,  0.6),
        (     0.3,   0.0,   0.2,    -0.25,  0.45,        1.6,  2.8,  5.5,      0.2,  0.0,   1.0,  0.1,   0.0,  0.7)),
    "sad": (
        (     0.1,   2.4,  -0.3,    -0.30,  0.0,        -0.6, -2.0,  0.0,     -0.2,  0.0,   0.0,  0.0,   0.3,  0.2),
        (     0.2,   2.2,  -0.3,    -0.40,  0.1,        -0.2, -2.2,  1.2,      0.0,  0.0,   0.1,  0.0,   0.3,  0.3)),
    "surprise": (
        (     3.0,   0.2,   1.0,     0.60, -0.1,        -1.8,  0.0,  9.0,      0.0,  0.0,   0.1,  0.0,   0.0,  0.0),
        (     3.2,   0.2,   1.0,     0.65, -0.1,        -2.4,  0.0,  6.5,      0.0,  0.0,   0.0,  0.0,   0.0,  0.0)),
    "neutral": ((0.0,) * len(ACTIONS),) * 2,
}

TRAITS = {  # each uniform between two numbers; a beard or glasses below 0 are absent
    "intensity": (0.55, 1.15), "way": (0, 2),
    "dx": (-3.0, 3.0), "dy": (-2.5, 2.5), "angle": (-0.17, 0.17), "scale": (0.92, 1.15),
    "light_x": (-0.3, 0.3), "light_y": (-0.25, 0.15), "contrast": (0.7, 1.15), "brightness": (0.4, 0.6),
    "soft": (1.0, 1.7), "noise": (0.005, 0.025), "back": (0.05, 0.95), "back_slope": (-0.3, 0.3),
    "head_width": (15.0, 18.5), "head_height": (19.5, 22.5), "jaw": (0.05, 0.3), "skin": (0.42, 0.88),
    "hair": (0.02, 0.45), "hair_volume": (0.5, 4.0), "hair_length": (-22.0, 18.0), "hairline": (-17.5, -12.0),
    "parting": (-3.0, 3.0), "cloth": (0.05, 0.9), "beard": (-0.9, 0.4), "glasses": (-0.85, 0.15),
    "eye_x": (6.3, 8.3), "eye_y": (-4.5, -2.5), "eye_width": (3.0, 4.1), "eye_height": (1.5, 2.3), "gaze": (-0.9, 0.9),
    "iris": (0.02, 0.3), "brow_gap": (4.0, 5.2), "brow_width": (3.6, 5.0), "brow_thickness": (1.2, 2.6),
    "brow_slope": (-0.4, 0.4), "nose_y": (3.8, 6.2), "nose_width": (2.2, 3.6), "mouth_y": (10.8, 13.0),
    "mouth_width": (5.2, 7.2), "lip_thickness": (1.0, 2.2), "lip_tone": (0.55, 0.8),
}
# fmt: on


def synthetic_faces(n: int, seed: int = 0, *, usage: str | None = None) -> Dataset:
    """n drawn faces, uint8 (n, 48, 48, 1), labelled 0 to 6 in Kaggle's order.

    Every seven faces in a row show the seven expressions in a random order, so any part of them is balanced.  The
    first 80 % (rounded down) are the split Training and the rest PublicTest; with `usage` all are that split.

    The seed decides all: image i and label i are the same whatever n is, in every process, and on every machine whose
    NumPy draws the same numbers.  Distinct seeds give distinct people.

    TypeError where n or seed is not an int, ValueError where one is negative or usage is no split of FER2013.
    """
    for name, value in (("n", n), ("seed", seed)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"synthetic_faces: {name} is {value!r}, wanted an int")
        if value < 0:
            raise ValueError(f"synthetic_faces: {name} is {value}, wanted 0 or more")
    if usage is not None and usage not in SPLITS:
        raise ValueError(f"synthetic_faces: usage {usage!r} is none of {', '.join(SPLITS)}")
    order_rng, face_rng, noise_rng = np.random.default_rng(seed).spawn(3)
    K = len(EXPRESSIONS)
    labels = order_rng.random((-(-n // K), K)).argsort(axis=1).astype(np.int64).ravel()[:n]
    images = np.empty((n, SIZE, SIZE, 1), np.uint8)
    for start in range(0, n, CHUNK):  # each stream is read face by face, so a face depends on none after it
        chunk = labels[start : start + CHUNK]
        face = _draw_numbers(chunk, face_rng)
        noise = noise_rng.standard_normal((len(chunk), SIZE, SIZE), np.float32)
        images[start : start + CHUNK, :, :, 0] = np.rint(255 * np.clip(_photograph(face, noise), 0, 1))
    split = np.where(np.arange(n) < n * 4 // 5, SPLITS[0], SPLITS[1]) if usage is None else np.full(n, usage)
    return Dataset(images, labels, split, tuple(EXPRESSIONS), ("drawn faces, not photographs",))


def _draw_numbers(labels: np.ndarray, rng: np.random.Generator) -> SimpleNamespace:
    """The traits and actions of one face a label, float32 (B, 1, 1) each."""
    u = rng.random((len(labels), len(TRAITS) + len(ACTIONS)))
    low, high = np.array(tuple(TRAITS.values())).T
    traits = dict(zip(TRAITS, (low + (high - low) * u[:, : len(TRAITS)]).T, strict=True))
    rows = np.array(tuple(EXPRESSIONS.values()))[labels, traits["way"].astype(int)]
    actions = traits["intensity"][:, None] * rows + np.array(SPREAD) * (2 * u[:, len(TRAITS) :] - 1)
    numbers = traits | dict(zip(ACTIONS, actions.T, strict=True))
    return SimpleNamespace(**{name: x.astype(np.float32)[:, None, None] for name, x in numbers.items()})


def _photograph(face: SimpleNamespace, noise: Field) -> Field:
    """The face in its place, in its light, through a noisy camera: tones around [0, 1], (B, 48, 48)."""
    u, v = frame(SIZE, face.dx, face.dy, face.angle, face.scale)
    image = face.back + face.back_slope * v / 24 + np.zeros_like(u)
    _head(image, u, v, face)
    _nose(image, u, v, face)
    for side in (-1, 1):
        _eye(image, side * u, v, face, side)
    _mouth(image, u, v, face)
    image *= 1 + face.light_x * u / 24 + face.light_y * v / 24
    return face.brightness + face.contrast * (image - 0.5) + face.noise * noise


def _head(image: Field, u: Field, v: Field, face: SimpleNamespace) -> None:
    """Hair behind, shoulders, neck, ears, the face and the hair in front."""
    width, height, soft = face.head_width, face.head_height, face.soft
    hair = ellipse(u, v + 2, width + face.hair_volume, height + face.hair_volume, soft)
    long = inside(width + face.hair_volume - np.abs(u), soft) * lens(v, -2, np.maximum(face.hair_length, -2), soft)
    paint(image, np.maximum(hair * inside(face.hair_length + 20 - v, 4 * soft), long), face.hair)
    paint(image, ellipse(u, v - 38, 27, 15, soft), face.cloth)
    paint(image, inside(8 - np.abs(u), soft) * inside(v - 10, soft) * inside(27 - v, soft), 0.75 * face.skin)
    paint(image, ellipse(np.abs(u) - width, v - 0.5, 2.2, 4, soft), 0.85 * face.skin)
    across, down = u / (width * (1 - face.jaw * np.clip(v / height, 0, 1))), v / height
    square = across**2 + down**2
    radius = np.sqrt(square)
    head = inside((1 - radius) * width, soft)
    paint(image, head, face.skin * (1.05 - 0.25 * np.minimum(square, 1) ** 2))
    jaw = inside(radius * width - 0.62 * width, 5 * soft) * inside(v - 3, 3 * soft)
    paint(image, head * jaw * np.maximum(face.beard, 0) * 2, np.minimum(face.hair, 0.7 * face.skin))
    hairline = face.hairline + face.parting * across + 7 * (across * across) ** 2
    paint(image, inside((1 - radius) * width + soft, soft) * inside(hairline - v, 1.5 * soft), face.hair)


def _nose(image: Field, u: Field, v: Field, face: SimpleNamespace) -> None:
    """Its shaded side, its nostrils, the wrinkles across it and the folds from it to the mouth."""
    soft, skin = face.soft, face.skin
    y = face.nose_y - 0.9 * np.maximum(face.wrinkle, 0)
    t = (v - (y - 5)) / 5
    paint(image, 0.25 * stroke(u, t, face.nose_width * (0.4 + 0.3 * t), 2.2, soft), 0.5 * skin)
    for side in (-1, 1):
        paint(image, 0.8 * ellipse(u - side * 0.55 * face.nose_width, v - y, 1.2, 0.7, soft), 0.35 * skin)
        t = (side * u - 1.1) / 2.4
        for row in (0, 2):
            line = y - 6 + row + 0.9 * t
            paint(image, 0.7 * np.clip(face.wrinkle, 0, 1) * stroke(v, t, line, 0.9, soft), 0.5 * skin)
        t = (v - (face.mouth_y + y) / 2 + 0.5) / 4.2
        line = face.nose_width + 4 + 2.2 * t - t**2
        paint(image, 0.4 * np.clip(face.fold, 0, 1) * stroke(side * u, t, line, 1.1, soft), 0.5 * skin)
        t = (v - (face.eye_y - face.brow_gap + 1)) / 2.2
        paint(image, 0.7 * np.clip(face.frown, 0, 1) * stroke(side * u, t, 1.3 + 0.2 * t, 0.9, soft), 0.45 * skin)


def _eye(image: Field, u: Field, v: Field, face: SimpleNamespace, side: int) -> None:
    """One eye under its brow; u is mirrored so that t runs from the nose (-1) outwards (1)."""
    soft, dark = face.soft, 0.4 * np.minimum(face.skin, 0.6)
    t = (u - face.eye_x) / face.eye_width
    arch, opened = 1 - t**2, face.eye_height * np.maximum(1 + face.eye_open, 0.15)
    top = face.eye_y - opened * arch
    bottom = face.eye_y + opened * np.clip(0.75 - face.lid_raise, 0.1, 1) * arch
    eye = lens(v, top, bottom, soft)
    paint(image, eye, np.minimum(0.35 + 0.75 * face.skin, 0.95))
    iris = ellipse(u - face.eye_x - side * face.gaze, v - face.eye_y + 0.2, 1.8, 1.8, soft)
    paint(image, eye * iris, face.iris)
    paint(image, stroke(v, t, top - 0.2, 1.1, soft), dark)
    paint(image, 0.4 * stroke(v, t, bottom + 0.3, 0.8, soft), dark)
    _brow(image, u, v, face)


def _brow(image: Field, u: Field, v: Field, face: SimpleNamespace) -> None:
    """One brow over the rim of a pair of glasses; u as for the eye."""
    soft = face.soft
    rim = inside(0.5 - np.abs(np.sqrt(((u - face.eye_x) / 1.2) ** 2 + (v - face.eye_y) ** 2) - 4.6), soft)
    paint(image, rim * np.clip(10 * face.glasses, 0, 0.7), 0.1)
    t = (u - face.eye_x) / face.brow_width
    inner = np.minimum(t, 0.4) - 0.4
    line = face.eye_y - face.brow_gap - face.brow_raise + face.brow_slope * t + face.brow_inner * inner
    line = line + face.brow_inner * 0.35 - (0.5 + face.brow_arch) * (1 - t**2)
    paint(image, stroke(v, t, line + 0.6, face.brow_thickness, soft), np.minimum(face.hair, 0.5 * face.skin))


def _mouth(image: Field, u: Field, v: Field, face: SimpleNamespace) -> None:
    """Lips around an opening, in it the teeth."""
    soft = face.soft
    t = u / np.maximum(face.mouth_width + face.mouth_wide, 2)
    arch, opened = 1 - t**2, np.maximum(face.mouth_open, 0)
    line = face.mouth_y + face.mouth_smile * (0.4 - t**2) - face.lip_skew * t
    raised = np.maximum(face.lip_raise, 0)
    top, bottom = line - (0.35 * opened + 0.2 * raised) * arch, line + 0.65 * opened * arch
    upper, lower = (0.8 * face.lip_thickness + 0.4 * raised) * arch, face.lip_thickness * arch
    paint(image, lens(v, top - upper, bottom + lower, soft), face.lip_tone * face.skin)
    paint(image, stroke(v, t, line, 0.9, soft), 0.35 * face.skin)
    paint(image, lens(v, top, bottom, soft), 0.06)
    teeth = np.minimum(bottom - 0.3, top + 0.2 + 0.4 * opened)
    shown = np.clip(1.5 * face.teeth, 0, 1) * lens(v, top + 0.2, teeth, soft)
    paint(image, shown, np.minimum(0.4 + 0.7 * face.skin, 0.95))
