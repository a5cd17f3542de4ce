"""evaluate and predict, and every message of the Trainer."""

import functools
import pickle

import numpy as np
import pytest
from trainings import InterruptAt, convnet, features, linear, pictures, same_arrays, trainer

from minicnn import metrics, nn, optim
from minicnn.data import Loader
from minicnn.train import TerminateOnNaN, Trainer

DATA = pictures(300)
X = (DATA.images / 255).astype("float32")


@functools.cache
def fitted():
    """A trained network with running statistics and dropout."""
    model = convnet()
    t = trainer(model, optimizer=optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
    t.fit(DATA.split("Training"), epochs=2, batch_size=32)
    return t


def softmax(z):
    e = np.exp(z.astype("float64") - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def probabilities():
    """Of all 300 at once, with the layers one after the other."""
    model = fitted().model
    with model.evaluating():
        return softmax(functools.reduce(lambda x, layer: layer(x), model, X))


@pytest.mark.parametrize(
    "data",
    [DATA, (X, DATA.labels), (DATA.images, DATA.labels), Loader(DATA, 300), Loader(DATA, 7, shuffle=True, seed=9)],
    ids=["Dataset", "floats", "uint8", "one batch", "small shuffled batches"],
)
def test_evaluate_is_the_mean_over_all_samples_in_evaluation_mode(data):
    p = probabilities()
    found = fitted().evaluate(data)
    assert found["loss"] == pytest.approx(-np.log(p[np.arange(300), DATA.labels]).mean(), rel=1e-5)
    assert found["accuracy"] == (p.argmax(axis=1) == DATA.labels).mean()


def test_evaluate_teaches_the_model_nothing():
    t = fitted()
    before, position = t.model.state_dict(), (t.epoch, t.batch, t.step, len(t.history))
    t.evaluate(DATA)
    t.predict(DATA)
    assert all(np.array_equal(a, before[k]) for k, a in t.model.state_dict().items())
    assert (t.epoch, t.batch, t.step, len(t.history)) == position


@pytest.mark.parametrize("mode", ["train", "eval", "one frozen"])
@pytest.mark.parametrize("call", ["evaluate", "predict", "evaluate badly", "predict badly"])
def test_every_layer_keeps_its_mode(call, mode):
    t = trainer(convnet())
    t.model.train(mode != "eval")
    if mode == "one frozen":
        t.model[1].eval()
    before = [m.training for m in t.model.modules()]
    action = t.evaluate if "evaluate" in call else t.predict
    shape = (4, 8, 8, 2) if "badly" in call else (4, 8, 8, 1)
    x = np.zeros(shape, "float32")
    if "badly" in call:
        with pytest.raises(ValueError, match=r"channels"):
            action((x, np.zeros(4, int)) if action == t.evaluate else x)
    else:
        action((x, np.zeros(4, int)) if action == t.evaluate else x)
    assert [m.training for m in t.model.modules()] == before


@pytest.mark.parametrize(
    "x", [DATA, DATA.images, X, X.astype("float64"), X.tolist()], ids=["Dataset", "uint8", "float32", "float64", "list"]
)
def test_predict_gives_the_softmax_of_all_images(x):
    p = fitted().predict(x)
    assert (p.shape, p.dtype) == ((300, 3), np.float32)
    np.testing.assert_allclose(p, probabilities(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257])
def test_predict_any_number(n):
    np.testing.assert_allclose(fitted().predict(X[:n]), probabilities()[:n], rtol=1e-4, atol=1e-6)


class Focal(nn.CrossEntropyLoss):
    """A cross-entropy of one's own."""


class Unlike(nn.Loss):
    """A loss that says nothing about what the outputs mean."""


@pytest.mark.parametrize(
    ("loss", "meaning"),
    [
        (nn.CrossEntropyLoss(label_smoothing=0.1), softmax),
        (Focal(), softmax),
        (nn.BCEWithLogitsLoss(), lambda z: 1 / (1 + np.exp(-z.astype("float64")))),
        (nn.MSELoss(), lambda z: z),
        (Unlike(), lambda z: z),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_predict_returns_depends_on_the_loss(loss, meaning):
    x, _ = features(10)
    model = linear()
    np.testing.assert_allclose(trainer(model, loss).predict(x), meaning(model(x)), rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "dtype"),
    [(DATA.images.astype("int64"), "int64"), (X > 0.5, "bool"), (Loader(DATA, 8), "object"), (None, "object")],
)
def test_predict_takes_no_pixels_whose_scale_it_must_guess(x, dtype):
    with pytest.raises(TypeError, match=rf"predict: x is {dtype}, wanted uint8 \(scaled to \[0, 1\]\) or float"):
        fitted().predict(x)


def test_the_layer_that_fails_is_named():
    with pytest.raises(ValueError, match=r"(?s)conv2d: .*in layer 0: Conv2d\(1, 4, 3, padding=1\)"):
        trainer(convnet()).fit((np.zeros((4, 8, 8, 2), "float32"), np.zeros(4, int)))


def test_class_weights_and_label_smoothing_reach_the_training():
    data = pictures(30)
    losses = [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=np.array([5.0, 1, 1], "float32"))]
    losses += [nn.CrossEntropyLoss(label_smoothing=0.3), nn.CrossEntropyLoss(reduction="sum")]
    found = {trainer(convnet(), loss).fit(data, epochs=2)["train_loss"][-1] for loss in losses}
    assert len(found) == 4


BAD = [
    (lambda: trainer(metrics=["acuracy"]), ValueError, r"Trainer: there is no metric 'acuracy' in minicnn.metrics"),
    (lambda: trainer(metrics=["np"]), ValueError, r"Trainer: there is no metric 'np' in minicnn.metrics"),
    (lambda: trainer(metrics=["NamedTuple"]), ValueError, r"Trainer: there is no metric 'NamedTuple' in"),
    (lambda: trainer(metrics=["_largest"]), ValueError, r"Trainer: there is no metric '_largest' in"),
    (
        lambda: trainer(metrics=[3]),
        TypeError,
        r"Trainer: metric 3 is neither a name nor a function \(targets, scores\)",
    ),
    (
        lambda: trainer(loss=nn.CrossEntropyLoss(reduction="none")),
        ValueError,
        r"Trainer: CrossEntropyLoss\(.*\) is a number for each sample; wanted reduction \"mean\" or \"sum\"",
    ),
    (
        lambda: trainer(callbacks=[TerminateOnNaN]),
        TypeError,
        r"Trainer: callback <class '.*TerminateOnNaN'> is no instance of minicnn.train.Callback",
    ),
    (lambda: trainer(device="gpu"), ValueError, r'device \'gpu\': wanted "cpu", "cuda" or "cuda:<index>"'),
    (lambda: trainer().fit(3), TypeError, r"Loader: data is int, wanted a Dataset or a pair of arrays \(x, y\)"),
    (lambda: trainer().fit(features(4), 3), TypeError, r"Loader: data is int, wanted a Dataset or a pair"),
    (lambda: trainer().evaluate("faces.csv"), TypeError, r"Loader: data is str, wanted a Dataset or a pair"),
    (lambda: trainer().fit(features(4), batch_size=0), ValueError, r"Loader: batch_size is 0, wanted an integer"),
    (
        lambda: trainer().fit((np.ones((3, 4)), np.array([0, 1, -1]))),
        ValueError,
        r"Loader: 1 of 3 samples are unlabell",
    ),
    (lambda: trainer().fit((np.ones((3, 4)), np.array([0, 1, 3]))), ValueError, r"cross_entropy: .*3"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_metric_with_an_underscore_may_be_ones_own():
    def _spread(targets, scores):
        return float(np.ptp(scores))

    assert trainer(metrics=[_spread]).evaluate(features(4))["_spread"] > 0


def test_a_trainer_can_be_pickled_and_goes_on_in_the_same_bits():
    model = convnet()
    t = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.01))
    t.fit(pictures(20), pictures(8), epochs=1)
    twin = pickle.loads(pickle.dumps(t))
    rows = [each.fit(pictures(20), pictures(8), epochs=2).rows for each in (t, twin)]
    assert rows[0] == rows[1]
    same_arrays(twin.model.state_dict(), t.model.state_dict())


def test_no_epochs_train_nothing():
    t = trainer()
    before = t.model.state_dict()
    assert len(t.fit(features(4), epochs=0)) == 0
    assert all(np.array_equal(a, before[k]) for k, a in t.model.state_dict().items())
    assert (t.lines, t.step) == ([], 0)


def test_a_failed_training_can_be_told_from_a_finished_one(tmp_path):
    t = trainer(callbacks=[InterruptAt(99, tmp_path / "s")])
    t.fit(features(4))
    assert (t.failed, t.stopped) == (False, None)
    assert t.evaluate(features(4))["accuracy"] == metrics.accuracy(features(4)[1], t.predict(features(4)[0]))
