"""Drawn faces: reproducible, balanced, all different, and too much for a linear model."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from minicnn.data.dataset import FER_CLASSES
from minicnn.data.drawing import ellipse, frame, inside, lens, paint, stroke
from minicnn.data.synthetic import ACTIONS, EXPRESSIONS, SPREAD, TRAITS, synthetic_faces


@pytest.fixture(scope="module")
def faces():
    return synthetic_faces(5000, seed=0)


def test_types_shapes_and_names(faces):
    assert (faces.images.dtype, faces.images.shape) == (np.uint8, (5000, 48, 48, 1))
    assert (faces.labels.dtype, faces.labels.shape) == (np.int64, (5000,))
    assert faces.class_names == FER_CLASSES
    assert faces.notes == ("drawn faces, not photographs",)


def test_tables_are_whole():
    assert np.shape(tuple(EXPRESSIONS.values())) == (7, 2, len(ACTIONS))
    assert len(SPREAD) == len(ACTIONS)
    assert not TRAITS.keys() & set(ACTIONS)


@pytest.mark.parametrize("n", [0, 1, 6, 7, 13, 40])
def test_a_face_depends_on_the_seed_and_its_number_alone(n, faces):
    few = synthetic_faces(n)
    assert len(few) == n
    np.testing.assert_array_equal(few.images, faces.images[:n])
    np.testing.assert_array_equal(few.labels, faces.labels[:n])


def test_another_seed_draws_other_faces(faces):
    other = synthetic_faces(70, seed=1)
    assert not (other.images[:, None] == faces.images[None, :70]).all(axis=(2, 3, 4)).any()
    assert not np.array_equal(other.labels, faces.labels[:70])


def test_every_seven_faces_show_every_expression_in_a_random_order(faces):
    rows = faces.labels[: 5000 // 7 * 7].reshape(-1, 7)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.broadcast_to(np.arange(7), rows.shape))
    assert len(np.unique(rows, axis=0)) > 600  # of 714 rows


def test_the_first_four_fifths_are_training_and_both_splits_are_balanced(faces):
    assert faces.split_counts() == {"Training": 4000, "PublicTest": 1000}
    assert (faces.usage[:4000] == "Training").all()
    for split in ("Training", "PublicTest"):
        assert np.ptp(np.bincount(faces.split(split).labels, minlength=7)) <= 2


def test_usage_names_the_split_of_all():
    assert synthetic_faces(9, usage="PrivateTest").split_counts() == {"PrivateTest": 9}


def test_all_faces_differ_and_use_the_range_of_tones(faces):
    flat = faces.images.reshape(len(faces), -1)
    assert len(np.unique(flat, axis=0)) == len(faces)
    assert (flat.std(axis=1) > 8).all()  # none is blank
    assert (flat.min(), flat.max()) == (0, 255)
    assert 90 < flat.mean() < 165
    # Noise aside too: at a quarter of the resolution no two of a thousand faces are close.
    small = flat[:1000].reshape(-1, 12, 4, 12, 4).mean(axis=(2, 4)).reshape(1000, -1)
    square = (small**2).sum(axis=1)
    distance = square[:, None] + square - 2 * small @ small.T + 1e9 * np.eye(1000)
    assert distance.min() / 144 > 4**2  # grey levels


def linear_accuracy(faces, penalty=0.01, steps=40):
    """The accuracy on PublicTest of multinomial logistic regression on the pixels, trained on Training."""
    train = faces.usage == "Training"
    x = faces.images.reshape(len(faces), -1).astype(np.float32)
    x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    x, y = np.column_stack([x, np.ones(len(x), np.float32)]), faces.labels
    shape, one_hot = (x.shape[1], 7), np.eye(7, dtype=np.float32)[y[train]]

    def loss(w):
        w = w.reshape(shape).astype(np.float32)
        log_p = log_softmax(x[train] @ w, axis=1)
        gradient = x[train].T @ (np.exp(log_p) - one_hot) / len(log_p) + penalty * w
        return -(one_hot * log_p).sum() / len(log_p) + penalty / 2 * (w**2).sum(), gradient.ravel().astype(float)

    w = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": steps}).x
    return ((x[~train] @ w.reshape(shape)).argmax(axis=1) == y[~train]).mean()


def test_a_linear_model_learns_something_but_is_not_enough(faces):
    assert 0.4 < linear_accuracy(faces) < 0.7  # chance is 1/7, a small convolutional network is above 0.9


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"n": -1}, ValueError, "synthetic_faces: n is -1, wanted 0 or more"),
        ({"n": 7.0}, TypeError, r"synthetic_faces: n is 7\.0, wanted an int"),
        ({"n": True}, TypeError, "n is True, wanted an int"),
        ({"n": 7, "seed": -3}, ValueError, "synthetic_faces: seed is -3, wanted 0 or more"),
        ({"n": 7, "seed": None}, TypeError, "seed is None, wanted an int"),
        ({"n": 7, "usage": "train"}, ValueError, "usage 'train' is none of Training, PublicTest, PrivateTest"),
    ],
)
def test_error_messages(kwargs, error, message):
    with pytest.raises(error, match=message):
        synthetic_faces(**kwargs)


def value(x):
    return np.full((1, 1, 1), x, np.float32)


def plane(size=48, dx=0, dy=0, angle=0, scale=1):
    return frame(size, value(dx), value(dy), value(angle), value(scale))


@pytest.mark.parametrize(
    ("placed", "row", "column", "want"),
    [
        ({}, 0, 0, (-23.5, -23.5)),
        ({}, 0, 47, (23.5, -23.5)),  # u to the right, v downwards
        ({"dx": 3, "dy": -2}, 0, 0, (-26.5, -21.5)),
        ({"scale": 2}, 0, 47, (11.75, -11.75)),
        ({"angle": np.pi / 2}, 0, 47, (-23.5, -23.5)),
    ],
)
def test_frame_moves_turns_and_scales(placed, row, column, want):
    u, v = plane(**placed)
    assert u.dtype == v.dtype == np.float32
    np.testing.assert_allclose((u[0, row, column], v[0, row, column]), want, atol=1e-4)


def test_the_coverage_of_a_shape_adds_up_to_its_area():
    u, v = plane()
    soft = value(1)
    area = {
        "disc of radius 10": (ellipse(u, v, 10, 10, soft), np.pi * 100),
        "ellipse of 15 by 8": (ellipse(u, v, 15, 8, soft), np.pi * 120),
        "half plane": (inside(u, soft), 48 * 24),
        "band of 0.3": (lens(v, value(2.2), value(2.5), soft), 48 * 0.3),
        "lens upside down": (lens(v, value(2.5), value(2.2), soft), 0),
        "stroke of 2 by 20": (stroke(v, u / 10, 3 + 0 * u, 2, soft), 2 * 20 * 0.8),  # ∫ 1 - t⁴ over (-1, 1) is 2 · 0.8
    }
    for name, (coverage, want) in area.items():
        assert coverage.dtype == np.float32, name
        assert coverage.min() >= 0, name
        assert coverage.max() <= 1, name
        np.testing.assert_allclose(coverage.sum(), want, rtol=0.03, atol=1e-3, err_msg=name)


def test_paint_mixes_in_place():
    image = np.zeros((1, 1, 3), np.float32)
    paint(image, np.array([[[0, 0.5, 1]]], np.float32), 0.8)
    np.testing.assert_allclose(image, [[[0, 0.4, 0.8]]], rtol=1e-6)
