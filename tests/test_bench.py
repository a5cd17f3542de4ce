"""What `minicnn bench` makes of its measurements: ratios, exponents, work, floors, errors.  Nothing here is timed."""

import numpy as np
import pytest

from minicnn import nn, ops, using
from minicnn.bench import against, errors, floors, growth, numbers, per_layer, per_op, work
from minicnn.bench.calls import Call, of_step, watching
from minicnn.bench.ours import Training, prepare
from minicnn.bench.subjects import Subject
from minicnn.bench.work import Peaks
from minicnn.dispatch import Op

SMALL = Subject("leaky_bn_cnn", 3, (("width", 0.1), ("input_size", 16)))


# the arithmetic


def test_summary_is_median_and_minimum():
    assert numbers.summary([3.0, 1.0, 9.0, 4.0]) == {"median": 3.5, "minimum": 1.0}


def test_ratio_is_taken_round_by_round():
    """A round in which everything takes ten times as long changes nothing."""
    assert numbers.ratio([1, 20, 3], [2, 40, 2]) == 0.5
    with pytest.raises(ValueError, match="zip"):
        numbers.ratio([1, 2], [1])


def test_geometric_mean():
    assert numbers.geometric_mean([0.25, 4]) == pytest.approx(1)
    assert numbers.geometric_mean([0.5, 0.5, 4]) == pytest.approx(1)
    with pytest.raises(ValueError, match="no values"):
        numbers.geometric_mean([])


@pytest.mark.parametrize("power", [0, 0.5, 1, 2])
def test_exponent_of_made_up_costs(power):
    sizes = np.array([2, 4, 8, 16, 32])
    noise = np.array([1.02, 0.98, 1, 0.98, 1.02])
    assert numbers.exponent(sizes, 3 * sizes**power * noise) == pytest.approx(power, abs=0.02)


def test_exponent_of_one_size():
    with pytest.raises(ValueError, match=r"at least two different sizes, got \[4, 4\]"):
        numbers.exponent([4, 4], [1, 2])


def test_growth_is_fitted_from_its_start_and_above_the_idle_model():
    points = [
        {"size": n, "seconds": max(n, 8) ** 2, "peak_bytes": 1000 + 7 * n, "idle_bytes": 1000} for n in (1, 8, 64)
    ]
    assert growth.exponents(points, 8) == pytest.approx({"time": 2, "memory": 1})


def test_the_best_rival_is_the_one_with_the_lowest_median():
    times = {"minicnn": {"step": [1, 2, 3]}, "a": {"step": [9, 2, 9]}, "b": {"step": [4, 4, 4]}, "c": {}}
    assert against._best(times, "step") == ("b", 0.5)


def test_geometric_means_are_of_one_batch():
    rows = [{"batch": b, "step": {"ratio": r}, "inference": {"ratio": 1}} for b, r in ((1, 0.5), (1, 2), (64, 0.3))]
    means = against.geometric_means(rows)
    assert means == {
        "1": pytest.approx({"step": 1, "inference": 1}),
        "64": pytest.approx({"step": 0.3, "inference": 1}),
    }


def test_floors_of_a_model_by_hand(monkeypatch):
    model = nn.Sequential(nn.Conv2d(1, 4, 5), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(32, 7))
    monkeypatch.setattr(Subject, "build", lambda self: model)
    monkeypatch.setattr(Subject, "shape", (8, 8, 1))
    a, b, c = 4 * 4 * 4 * 25, 2 * 2 * 8 * 36, 7 * 32  # multiply-adds an image
    found = floors.seconds(Subject("made up", 10), Peaks(flops=1000.0, bytes=1e12))
    assert found["inference"]["flops"] == 20 * (a + b + c)
    assert found["step"]["flops"] == 20 * (2 * a + 3 * b + 3 * c)
    assert found["step"]["winograd"] == 20 * (2 * a + 3 * b / 4 + 3 * c)
    maps, parameters = 10 * (64 + 64 + 64 + 32 + 32 + 7), 104 + 296 + 231
    assert found["inference"]["bytes"] == 4 * (maps + parameters)
    assert found["step"]["bytes"] == 4 * (3 * maps + 10 * parameters)
    assert found["step"]["winograd_floor"] == found["step"]["winograd"] / 1000
    assert Peaks(1.0, 2.0).floor(3, 4) == 3
    assert Peaks(1.0, 2.0).floor(1, 4) == 2


# calls


def test_watching_sees_every_layer_and_leaves_everything_as_it_was():
    before = Op.__call__, nn.Module.__call__, nn.Module.backward
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.Sequential(nn.ReLU(), nn.Dropout(0.5, rng=0)))
    with watching(model, keep=True) as calls:
        y = model(np.ones((2, 4), "float32"))
        model.backward(y)
    assert (Op.__call__, nn.Module.__call__, nn.Module.backward) == before
    names = [
        "linear.forward",
        "relu.forward",
        "dropout.forward",
        "dropout.backward",
        "relu.backward",
        "linear.backward",
    ]
    assert [c.op.name for c in calls] == names
    assert [c.path for c in calls] == ["0", "1.0", "1.1", "1.1", "1.0", "0"]
    assert np.array_equal(calls[2].repeat()[0], y)  # the same mask again
    assert calls[0].shown() == "2x4 4x3 3"
    assert all(c.seconds > 0 for c in calls)


def test_watching_ends_with_an_error_too():
    before = Op.__call__
    with pytest.raises(ValueError, match="does not fit"), watching(nn.Linear(4, 3), keep=False):
        nn.Linear(4, 3)(np.ones((2, 5), "float32"))
    assert Op.__call__ is before


def _call(op, *args, **kwargs):
    with using("reference"):
        return Call(op, "", args=args, kwargs=kwargs, result=op(*args, **kwargs))


def test_work_of_a_convolution():
    x, w, b = (np.ones(s, "float32") for s in ((2, 6, 6, 3), (3, 3, 3, 5), (5,)))
    forward = _call(ops.conv2d.forward, x, w, b)
    y, cache = forward.result
    products = 2 * 4 * 4 * 5 * 27
    assert work.flops(forward) == 2 * products
    assert work.moved(forward) == 4 * (x.size + w.size + b.size + y.size)
    assert work.flops(_call(ops.conv2d.backward, y, cache)) == 4 * products
    assert work.flops(_call(ops.conv2d.backward, y, cache, input_gradient=False)) == 2 * products
    assert work.moved(_call(ops.flatten.forward, x)) == 0  # a view


def test_each_shape_of_a_step_is_there_once():
    calls = [c for c, _, _ in per_op.unique_calls(SMALL)]
    assert len({c.signature() for c in calls}) == len(calls)
    found = {(c.op.name, c.shown()) for c in calls}
    assert {c.op.name for c in of_step(Training(SMALL.specification()), keep=True)} <= {name for name, _ in found}
    assert {through is None for c, through, _ in per_op.unique_calls(SMALL) if c.op.name.endswith("forward")} == {True}


def test_a_step_by_layer_adds_up():
    found = per_layer.measure(SMALL, 2)
    assert found["seconds"] == pytest.approx(
        sum(row["forward"] + row["backward"] for row in found["layers"]) + found["rest"]
    )
    assert per_layer.table(found).count("\n") == len(found["layers"]) + 2


# errors


def test_relative_error():
    assert errors.relative([1.0, 2.2], np.array([1.0, 2.0])) == pytest.approx(0.1)
    assert errors.relative(np.zeros(3), np.zeros(3)) == 0
    assert not errors.within("y", errors.relative([np.nan], np.array([1.0])))
    assert [errors.within(name, 7e-6) for name in ("y", "dx")] == [False, True]


def test_errors_of_a_right_and_of_a_wrong_kernel():
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype("float32") for s in ((2, 6, 6, 3), (3, 3, 3, 5), (5,)))
    forward = _call(ops.conv2d.forward, x, w, b)
    backward = _call(ops.conv2d.backward, *forward.result)
    assert errors.of_call(forward)["y"] < 1e-6
    found = errors.of_call(backward, forward)
    assert list(found) == ["dx", "dw", "db"]
    assert max(found.values()) < 1e-6
    forward.result = forward.result[0] * np.float32(1.001), forward.result[1]
    assert errors.of_call(forward)["y"] == pytest.approx(1e-3, rel=0.01)


def test_errors_of_a_rectifier_after_batch_norm_have_certain_masks():
    block = nn.DenseBlock(4, 2, 3, 2, rng=0)
    parameters = [p.data for p in block.parameters()]
    x = np.zeros((2, 5, 5, 4), "float32")  # normalised, every value of these lies at the kink
    x[..., 0, 0] = 1e-4
    forward = _call(ops.dense_block.forward, x, *parameters)
    backward = _call(ops.dense_block.backward, *forward.result)
    found = errors.of_call(backward, forward)
    assert list(found)[:4] == ["dx", "dgamma1 0", "dbeta1 0", "dw1 0"]
    assert max(found.values()) < 1e-5


def test_a_batch_that_cannot_be_trained_is_measured_without_steps():
    subject = Subject(
        "densenet201_fer", 1, (("layers", (1, 1, 1, 1)), ("width", 0.25))
    )  # one value a channel at the end
    _, about = prepare(subject.specification())
    assert about["kinds"] == ["inference"]
    row = {"model": "x", "batch": 1, "ours": about, "modes": {}, "floors": {"inference": {"winograd_floor": 1.0}}}
    row["modes"] = {mode: {"inference": {"median": t}} for mode, t in ((against.OURS, 1.0), ("NCHW", 2.0))}
    row["inference"] = {"best": "NCHW", "ratio": 0.5}
    assert against.geometric_means([row]) == {"1": {"inference": 0.5}}
    assert against.line(row).count(" - ") == 7
