"""Geometric transforms that follow each other: one map, one resampling, the same draws."""

import numpy as np
import pytest

from minicnn.data.augment import (
    Compose,
    Geometric,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShift,
    RandomZoom,
    course,
    geometric,
    strong,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def add_one(x, y=None, *, rng):
    return x + 1 if y is None else (x + 1, y)


def test_merged_transforms_draw_and_do_what_they_would_one_by_one():
    x, y = np.random.default_rng(1).random((40, 6, 6, 2)).astype("float32"), np.arange(40)
    run = [RandomHorizontalFlip(), RandomRotation((90, 90), "constant"), RandomCrop(padding=2), RandomCrop((5, 4))]
    one, other = rng(), rng()
    want = x
    for t in run:  # all exact, and none but the padded one looks beyond an edge
        want = t(want, rng=one)
    got, _ = Compose(run[0], Compose(run[1:]))(x, y, rng=other)
    np.testing.assert_array_equal(got, want)
    assert one.random() == other.random()


def test_merged_transforms_blend_once():
    x = np.random.default_rng(0).random((3, 9, 8, 1))
    there_and_back = RandomRotation((30, 30)), RandomZoom(0.5, 0.5), RandomZoom(2, 2), RandomRotation((-30, -30))
    np.testing.assert_allclose(Compose(*there_and_back)(x, rng=rng()), x, atol=1e-12)
    one_by_one = x
    for t in there_and_back:
        one_by_one = t(one_by_one, rng=rng())
    assert np.abs(one_by_one - x).max() > 0.1


@pytest.mark.parametrize(
    ("transforms", "resamplings"),
    [
        ([RandomRotation(9), RandomShift(0.1)], 1),
        ([RandomRotation(9), RandomHorizontalFlip(), RandomShift(0.1)], 1),
        ([RandomRotation(9), RandomErasing(), RandomShift(0.1)], 2),
        ([RandomRotation(9, "wrap"), RandomShift(0.1)], 2),
        ([RandomRotation(9, "constant", 1), RandomShift(0.1, "constant", 1)], 1),
        ([RandomRotation(9, "constant", 1), RandomShift(0.1, "constant", 2)], 2),
        ([RandomHorizontalFlip(), RandomHorizontalFlip()], 0),
        ([add_one, RandomHorizontalFlip(), add_one], 0),
        ([Compose(RandomRotation(9)), Compose(RandomShift(0.1), RandomZoom(0.9, 1.1))], 1),
        ([course()], 1),
        ([strong()], 1),
    ],
    ids=repr,
)
def test_what_is_merged(transforms, resamplings, monkeypatch):
    calls, warp = [], geometric.warp
    monkeypatch.setattr(geometric, "warp", lambda *args, **options: calls.append(options) or warp(*args, **options))
    Compose(transforms)(np.ones((6, 4, 5, 2), "float32"), rng=rng())
    assert len(calls) == resamplings


def test_an_own_geometric_transform_needs_its_matrices_alone():
    class Transposed(Geometric):
        def matrices(self, N, size, rng):
            return np.tile(np.eye(3)[[1, 0, 2]], (N, 1, 1))

        def output_size(self, size):
            return size[::-1]

    x = rng().integers(0, 256, (6, 4, 5, 2), "uint8")
    np.testing.assert_array_equal(Transposed()(x, rng=rng()), x.transpose(0, 2, 1, 3))
    both = Compose(Transposed(), RandomCrop((5, 2)), Transposed())(x, rng=rng())
    np.testing.assert_array_equal(both, RandomCrop((2, 5))(x, rng=Swapped(rng())))


class Swapped(np.random.Generator):
    """Draws the pairs of another Generator the other way round."""

    def __init__(self, other):
        super().__init__(other.bit_generator)

    def integers(self, low, high, size, endpoint):
        return super().integers(low, high[::-1], size, endpoint=endpoint)[:, ::-1]
