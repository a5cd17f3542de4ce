"""The table of layers: every number by hand, and the model left as it was."""

import numpy as np
import pytest

from minicnn import models, nn
from minicnn.nn import Parameter


def model():
    return nn.Sequential(
        nn.Conv2d(3, 8, (3, 2), stride=2, padding=1, groups=1, rng=0),
        nn.BatchNorm2d(8),
        nn.Residual(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False, rng=0), nn.PReLU(8))),
        nn.ConvTranspose2d(8, 5, 2, stride=2, rng=0),
        nn.Flatten(),
        nn.Linear(10 * 8 * 5, 7, rng=0),
    )


BY_HAND = [
    # 10x7 images: 5x4 after the first convolution, 10x8 after the transposed one
    ("0", (5, 4, 8), 3 * 2 * 3 * 8 + 8, 5 * 4 * 8 * (3 * 2 * 3)),
    ("1", (5, 4, 8), 16, 0),
    ("2.body.0", (5, 4, 8), 3 * 3 * 2 * 8, 5 * 4 * 8 * (3 * 3 * 2)),
    ("2.body.1", (5, 4, 8), 8, 0),
    ("2.shortcut", (5, 4, 8), 0, 0),
    ("3", (10, 8, 5), 2 * 2 * 5 * 8 + 5, 5 * 4 * 8 * (2 * 2 * 5)),
    ("4", (400,), 0, 0),
    ("5", (7,), 400 * 7 + 7, 400 * 7),
]


def test_rows_by_hand():
    summary = model().summary((10, 7, 3))
    assert [(r.path, r.output_shape, r.params, r.multiply_adds) for r in summary.rows] == BY_HAND
    assert [r.layer for r in summary.rows][:2] == [
        "Conv2d(3, 8, (3, 2), stride=2, padding=1, groups=1)",
        "BatchNorm2d(8)",
    ]
    assert summary.total_params == sum(row[2] for row in BY_HAND)
    assert summary.trainable_params == summary.total_params
    assert summary.total_multiply_adds == sum(row[3] for row in BY_HAND)
    assert (summary.model, summary.input_shape) == ("Sequential", (10, 7, 3))


def test_the_table_as_text():
    lines = repr(model().summary((10, 7, 3))).splitlines()
    assert lines[0] == "Sequential"
    assert lines[1].split("  ")[0] == "layer"
    assert lines[3].split() == ["(input)", "(10,", "7,", "3)"]
    assert lines[-3].split() == ["5:", "Linear(400,", "7)", "(7,)", "2,807", "2,800"]
    total = sum(row[2] for row in BY_HAND)
    assert lines[-1] == f"total parameters: {total:,}; multiply-adds an image: {sum(row[3] for row in BY_HAND):,}"
    assert len({len(line.rstrip()) for line in (lines[2], lines[-2])}) == 1


def test_frozen_parameters_are_told_apart():
    m = model()
    m[5].weight.requires_grad = False
    summary = m.summary((10, 7, 3))
    assert summary.total_params - summary.trainable_params == 2800
    assert f"(trainable: {summary.trainable_params:,})" in repr(summary)


def test_the_fifth_reports_network():
    assert models.build("leaky_bn_cnn").summary((48, 48, 1)).total_params == 538_439


def test_a_layer_on_its_own():
    summary = nn.Linear(3, 4, rng=0).summary((2, 5, 3))
    assert [(r.path, r.output_shape, r.params, r.multiply_adds) for r in summary.rows] == [("", (2, 5, 4), 16, 120)]
    assert "\nLinear(3, 4) " in repr(summary)
    assert nn.Flatten().summary((2, 3)).total_params == 0


def test_a_shared_layer_counts_its_parameters_once_and_its_work_every_time():
    layer = nn.Linear(3, 3, rng=0)
    summary = nn.Sequential(layer, nn.ReLU(), layer).summary((3,))
    assert [(r.path, r.params, r.multiply_adds) for r in summary.rows] == [("0", 12, 9), ("1", 0, 0), ("0", 0, 9)]
    assert summary.total_params == 12
    assert summary.total_multiply_adds == 18


def test_a_module_with_parameters_and_parts_has_a_row_of_its_own():
    class Scaled(nn.Module):
        def __init__(self):
            self.scale, self.body = Parameter(np.ones(1, "float32")), nn.Linear(3, 3, rng=0)

        def forward(self, x):
            return self.body(x) * self.scale.data

    summary = Scaled().summary((3,))
    assert [(r.path, r.layer, r.params) for r in summary.rows] == [("body", "Linear(3, 3)", 12), ("", "Scaled()", 1)]
    assert summary.total_params == 13


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    m, twin, x = model().train(training), model().train(training), np.ones((2, 10, 7, 3), "float32")
    m[1].eval(), twin[1].eval()
    hook = lambda m, x, y: None  # noqa: E731
    m[0].register_forward_hook(hook)
    with nn.record():
        m(x), twin(x)
        state = {k: v.tobytes() for k, v in m.state_dict().items()}
        modes = [part.training for part in m.modules()]
        m.summary((10, 7, 3))
        assert {k: v.tobytes() for k, v in m.state_dict().items()} == state
        assert [part.training for part in m.modules()] == modes
        assert [part._hooks for part in m.modules() if part._hooks] == [[hook]]
        dy = np.ones((2, 7), "float32")
        assert np.array_equal(m.backward(dy), twin.backward(dy)), "a call under way can still go back"


def test_a_call_in_train_can_still_go_back_after_a_summary():
    m = nn.Sequential(nn.Linear(3, 2, rng=0))
    m(np.ones((4, 3), "float32"))
    m.summary((3,))
    assert m.backward(np.ones((4, 2), "float32")).shape == (4, 3)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_the_models_dtype_is_used(dtype):
    seen = []
    m = nn.Sequential(nn.Linear(3, 2, rng=0)).astype(dtype)
    m.register_forward_hook(lambda m, x, y: seen.append((x.dtype, y.dtype)))
    m.summary((3,))
    assert seen == [(dtype, dtype)]


def test_an_input_that_does_not_fit_leaves_no_hooks_and_restores_the_mode():
    m = model()
    with pytest.raises(ValueError, match="in layer 5: Linear"):
        m.summary((48, 48, 3))
    assert not any(part._hooks for part in m.modules())
    assert all(part.training for part in m.modules())
