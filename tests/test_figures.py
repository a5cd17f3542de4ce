"""The figures: what stands on them, that it can be read, and that equal figures are equal bytes."""

import math
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.text import Text
from PIL import Image

from minicnn.explain import figures
from minicnn.train import History

FER = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
NAMES = ["train_loss", "train_accuracy", "valid_loss", "valid_accuracy"]
LEAKY = [  # what PyTorch reached on FER2013 with leaky_bn_cnn, epochs 1 to 14
    [1.5188, 1.2492, 1.1242, 1.0229, 0.9124, 0.8108, 0.6819, 0.5695, 0.4564, 0.3750, 0.3030, 0.2484, 0.2196, 0.1880],
    [0.4077, 0.5262, 0.5740, 0.6149, 0.6594, 0.6991, 0.7461, 0.7906, 0.8335, 0.8634, 0.8913, 0.9132, 0.9234, 0.9364],
    [1.3055, 1.2419, 1.1652, 1.1348, 1.1759, 1.1797, 1.3086, 1.3560, 1.5592, 1.7763, 1.8228, 2.0725, 2.1318, 2.1716],
    [0.4960, 0.5316, 0.5567, 0.5754, 0.5651, 0.5868, 0.5751, 0.5804, 0.5717, 0.5653, 0.5918, 0.5606, 0.5787, 0.5712],
]


def leaky(epochs=14, **changed):
    return {name: column[:epochs] for name, column in zip(NAMES, LEAKY, strict=True)} | changed


def long(seed=0, n=200):
    t, rng = np.arange(1, n + 1), np.random.default_rng(seed)
    columns = [1.8 * np.exp(-t / 60), 0.95 - 0.6 * np.exp(-t / 50), 0.9 + np.exp(-t / 30), 0.66 - 0.4 * np.exp(-t / 25)]
    return {name: list(c + 0.01 * rng.standard_normal(n)) for name, c in zip(NAMES, columns, strict=True)}


def counts(n=3589, K=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, (share := rng.random((K, K)) + 3 * np.eye(K)).ravel() / share.sum()).reshape(K, K)


HISTORIES = {
    "1 epoch": leaky(1),
    "2 epochs": leaky(2),
    "14 epochs": leaky(),
    "200 epochs": long(),
    "from epoch 100": leaky(epoch=range(100, 114)),
    "with NaN": leaky(valid_loss=[1.0, math.nan, math.inf, *LEAKY[2][3:]]),
    "all NaN": leaky(train_loss=[math.nan] * 14, valid_loss=[math.nan] * 14),
    "huge": leaky(train_loss=[10.0**k for k in range(14)], valid_loss=[1e30] * 14),
    "only training": {"train_loss": LEAKY[0]},
    "only accuracy": {"valid_accuracy": LEAKY[3]},
}
MATRICES = {
    "7 classes": (counts(), FER),
    "2 classes": ([[90, 10], [4, 96]], ["no", "yes"]),
    "1 class": ([[5]], ["all"]),
    "no samples of a class": ([[90, 10], [0, 0]], ["cat", "dog"]),
    "no samples": (np.zeros((7, 7), int), FER),
    "many samples": (counts(5_000_000), FER),
    "long names": (counts(400, 3), ["a rather long class name", "$x$ & <b>", "_"]),
    "20 classes": (counts(9000, 20), [f"class {k}" for k in range(20)]),
}
each_history = pytest.mark.parametrize("columns", HISTORIES.values(), ids=HISTORIES)
each_matrix = pytest.mark.parametrize(("matrix", "names"), MATRICES.values(), ids=MATRICES)
each_way = pytest.mark.parametrize("stacked", [False, True], ids=["side by side", "stacked"])


def texts(figure):
    """The texts that are drawn, with their boxes in pixels."""
    figure.canvas.draw()
    beyond = set()  # ticks outside the limits have texts that are never drawn
    for axis in figure.axes:
        for line, (low, high) in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, sorted(axis.get_ylim()))):
            beyond |= {tick.label1 for tick in line.get_major_ticks() if not low <= tick.get_loc() <= high}
    drawn = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in beyond]
    return [(t, t.get_window_extent()) for t in drawn]


def assert_readable(figure):
    found, (width, height) = texts(figure), figure.canvas.get_width_height()
    for text, box in found:
        assert text.get_fontsize() >= 8, text
        assert box.x0 >= 0, (text, box)
        assert box.y0 >= 0, (text, box)
        assert box.x1 <= width, (text, box, width)
        assert box.y1 <= height, (text, box, height)
    level = [(t, b) for t, b in found if t.get_rotation() in (0, 90)]
    for k, (one, a) in enumerate(level):
        for other, b in level[:k]:
            apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
            assert apart, f"{one} and {other} overlap"


@each_way
@each_history
def test_a_history_is_readable_and_marks_the_best_epoch(columns, stacked):
    figure = figures.history(columns, stacked=stacked)
    assert_readable(figure)
    said = [t.get_text() for t, _ in texts(figure)]
    for name, word, best in (("valid_loss", "lowest", min), ("valid_accuracy", "highest", max)):
        values = [v for v in columns.get(name, []) if math.isfinite(v)]
        labels = [s for s in said if s.startswith(word)]
        assert len(labels) == bool(values)
        if values:
            epoch = columns.get("epoch", range(1, 1000))[columns[name].index(best(values))]
            assert labels[0].endswith(f"at epoch {epoch}")


def test_what_is_drawn_is_what_was_measured():
    columns = leaky(valid_loss=[math.inf, *LEAKY[2][1:]])
    figure = figures.history(columns)
    drawn = {}
    for axis, quantity in zip(figure.axes, ("loss", "accuracy"), strict=True):
        assert axis.get_title(loc="left").lower() == quantity
        assert axis.get_xlabel() == "epoch"
        training, validation = (next(x for x in axis.lines if x.get_label() == s) for s in ("training", "validation"))
        drawn |= {f"train_{quantity}": training.get_ydata(), f"valid_{quantity}": validation.get_ydata()}
        assert training.get_linestyle() != validation.get_linestyle()
        assert training.get_marker() != validation.get_marker()
        ring = next(x for x in axis.lines if x.get_label() == "_best")
        assert list(ring.get_xdata()) == [4 if quantity == "loss" else 11]
    for name in NAMES:
        np.testing.assert_array_equal(drawn[name], [v if math.isfinite(v) else math.nan for v in columns[name]])
    said = [t.get_text() for t, _ in texts(figure)]
    assert "Best validation accuracy 59.2 % (epoch 11 of 14)" in said
    assert {"lowest validation: 1.1348 at epoch 4", "highest validation: 0.5918 at epoch 11"} <= set(said)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["training", "validation"]


def test_a_history_object_is_drawn_as_its_columns_are():
    rows = [{"epoch": k + 1} | {name: c[k] for name, c in leaky().items()} for k in range(14)]
    assert figures.png(figures.history(History(rows))) == figures.png(figures.history(leaky()))


def test_epochs_are_whole_numbers():
    for epochs in (1, 2, 3, 14):
        figure = figures.history(leaky(epochs))
        figure.canvas.draw()
        low, high = figure.axes[0].get_xlim()
        ticks = [t for t in figure.axes[0].get_xticks() if low <= t <= high]
        assert ticks
        assert all(t == round(t) for t in ticks)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, r"history: it has no columns; wanted one or more of train_loss, train_accuracy, valid_loss"),
        ({"epoch": [1], "lr": [0.1]}, r"history: it has epoch, lr; wanted one or more of train_loss"),
        (leaky(train_loss=[1.0]), r"history: columns have lengths .*'train_loss': 1.*; wanted equal ones"),
        (leaky(epoch=[1, 2]), r"history: columns have lengths {'epoch': 2, .*; wanted equal ones"),
    ],
)
def test_history_errors(columns, message):
    with pytest.raises(ValueError, match=message):
        figures.history(columns)


@each_way
@each_matrix
def test_a_confusion_matrix_is_readable(matrix, names, stacked):
    figure = figures.confusion(matrix, names, stacked=stacked)
    assert_readable(figure)
    for axis in figure.axes:
        assert axis.get_xlabel() == "predicted class"
        assert axis.get_ylabel() == "true class"
        assert [t.get_text() for t in axis.get_xticklabels()] == names
        assert [t.get_text() for t in axis.get_yticklabels()] == names
        assert not any(t.get_parse_math() for t in (*axis.get_xticklabels(), *axis.get_yticklabels()))


@each_matrix
def test_cells_hold_the_counts_and_the_shares_of_their_rows(matrix, names):
    left, right = figures.confusion(matrix, names).axes
    matrix = np.asarray(matrix)
    want = {(j, i): str(matrix[i, j]) for i, j in np.ndindex(matrix.shape)}
    assert {t.get_position(): t.get_text() for t in left.texts} == want
    for text in right.texts:
        j, i = text.get_position()
        n = matrix[i].sum()
        assert text.get_text() == (f"{100 * matrix[i, j] / n:.0f}" if n else "–")


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


@each_matrix
def test_numbers_stand_out_from_their_cells_and_more_is_darker(matrix, names):
    for axis in figures.confusion(matrix, names).axes:
        image, before = axis.images[0], {}
        for text in axis.texts:
            j, i = text.get_position()
            cell = luminance(image.cmap(image.norm(image.get_array()[i, j])))
            ink = {"black": 0.0, "white": 1.0}[text.get_color()]
            assert (max(cell, ink) + 0.05) / (min(cell, ink) + 0.05) >= 4.5
            before[image.get_array()[i, j]] = cell
        shades = [before[level] for level in sorted(before)]
        assert shades == sorted(shades, reverse=True)


def test_the_title_of_a_confusion_matrix():
    matrix = [[60, 10], [15, 40]]
    assert figures.confusion(matrix, ["a", "b"], title="$T$").get_suptitle() == "$T$"
    said = figures.confusion(matrix, ["a", "b"]).get_suptitle().replace("\n", " ")
    assert said == "100 of 125 right: 80.0 % (95 % interval 72.1 to 86.1 %)"


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        ([[1, 2, 3]], ["a"], r"confusion: matrix has shape \(1, 3\) for 1 class names; wanted \(K, K\)"),
        ([[1, 2], [3, 4]], ["a"], r"confusion: matrix has shape \(2, 2\) for 1 class names"),
        (np.zeros((0, 0)), [], r"confusion: matrix has shape \(0, 0\)"),
        ([[0.5, 0.5], [0, 1]], ["a", "b"], "confusion: matrix holds something else than counts; wanted whole numbers"),
        ([[1, -1], [0, 1]], ["a", "b"], "none below 0"),
        ([[math.nan, 1], [0, 1]], ["a", "b"], "something else than counts"),
        ([["1", "2"], ["3", "4"]], ["a", "b"], "something else than counts"),
    ],
)
def test_confusion_errors(matrix, names, message):
    with pytest.raises(ValueError, match=message):
        figures.confusion(matrix, names)


DRAW = {"history": lambda: figures.history(leaky()), "confusion": lambda: figures.confusion(counts(), FER)}


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_equal_figures_are_equal_bytes_without_date_or_version(draw, tmp_path):
    figure = draw()
    figures.save(figure, tmp_path / "a.png")
    figures.save(draw(), tmp_path / "b.PNG")
    first = (tmp_path / "a.png").read_bytes()
    assert first == (tmp_path / "b.PNG").read_bytes() == figures.png(draw())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.PNG"]
    with Image.open(BytesIO(first)) as image:
        assert set(image.info) <= {"dpi"}
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        np.testing.assert_allclose(image.size, 150 * figure.get_size_inches(), atol=1)


def test_only_png_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"save: the path ends in '.pdf'; wanted '.png'"):
        figures.save(figures.history(leaky()), tmp_path / "figure.pdf")
    assert not list(tmp_path.iterdir())


def test_drawing_leaves_the_settings_alone():
    before = dict(rcParams)
    for draw in DRAW.values():
        figures.png(draw())
    assert dict(rcParams) == before


def test_matplotlib_waits_for_the_first_figure_and_pyplot_is_never_needed():
    code = (
        "import sys, minicnn, minicnn.explain, minicnn.report\n"
        "assert not any(name.startswith('matplotlib') for name in sys.modules)\n"
        "minicnn.explain.figures.png(minicnn.explain.figures.history({'train_loss': [2.0, 1.0]}))\n"
        "minicnn.explain.figures.png(minicnn.explain.figures.confusion([[1, 0], [0, 1]], ['a', 'b']))\n"
        "assert 'matplotlib.figure' in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
