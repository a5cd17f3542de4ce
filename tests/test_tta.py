"""Test-time augmentation: which views there are, and that their probabilities are averaged."""

import numpy as np
import pytest
from commands import call, refused

from minicnn import data, models
from minicnn.train import tta

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 24, 36, 2)).astype(np.uint8)


def shifted(x, down, right):
    """What a window moved so far down and right sees of images whose outermost pixels go on for ever."""
    _, H, W, _ = x.shape
    border = 10
    wide = np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)), mode="edge")
    return wide[:, border + down : border + down + H, border + right : border + right + W]


def test_the_views():
    assert [view.tobytes() for view in tta.views(IMAGES, "none")] == [IMAGES.tobytes()]
    mirrored = IMAGES[:, :, ::-1]
    assert [view.tobytes() for view in tta.views(IMAGES, "flip")] == [IMAGES.tobytes(), mirrored.tobytes()]
    got = [view.tobytes() for view in tta.views(IMAGES, "ten-crop")]
    windows = [shifted(IMAGES, down, right) for down, right in ((0, 0), (-2, -3), (-2, 3), (2, -3), (2, 3))]
    assert got == [view.tobytes() for window in windows for view in (window, window[:, :, ::-1])]
    assert len(set(got)) == 10


@pytest.mark.parametrize(("how", "count"), [("none", 1), ("flip", 2), ("ten-crop", 10)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_averaged(how, count, dtype):
    seen = []

    def predict(view):
        seen.append(view)
        rows = view.reshape(len(view), -1, 2).astype(np.float64).sum(axis=1) * view[:, 0, 0, :1]
        return (rows / rows.sum(axis=1, keepdims=True)).astype(dtype)

    got = tta.averaged(predict, IMAGES, how)
    assert len(seen) == count
    assert (got.dtype, got.shape) == (np.dtype(dtype), (3, 2))
    np.testing.assert_allclose(got, sum(predict(view).astype(np.float64) for view in seen[:count]) / count, rtol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="test-time augmentation 'crop', wanted one of none, flip, ten-crop"):
        tta.averaged(lambda x: x, IMAGES, "crop")
    with pytest.raises(ValueError, match=r"images have shape \(24, 36, 2\), wanted \(N, H, W, C\)"):
        list(tta.views(IMAGES[0], "flip"))


def test_evaluate(place, capsys):
    models.save(models.simple_cnn(width=0.1, rng=3), "model")
    faces = data.load_fer2013("faces.csv", "PublicTest", cache=False)
    model = models.load("model")

    def predict(images):
        logits = model((images / 255).astype("float32")).astype(np.float64)
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    said = {}
    for how in tta.WAYS:
        said[how] = call(capsys, "evaluate", "model", "--data", "faces.csv", "--tta", how)[0]
        scores = tta.averaged(predict, faces.images, how)
        accuracy = (scores.argmax(1) == faces.labels).mean()
        loss = -np.log(scores[np.arange(len(faces)), faces.labels]).mean()
        assert f"PublicTest: accuracy {accuracy:.4f} (95 %" in said[how]
        assert f"loss {loss:.4f}, " in said[how]
        assert (f"test-time augmentation: {how}" in said[how]) == (how != "none")
    assert "argument --tta: invalid choice: 'crop'" in refused(capsys, "evaluate", "model", "--tta", "crop")
