"""`Ensemble`: mixed probabilities, their gradients, and weights that are the best there are."""

import numpy as np
import pytest
from fused_pairs import pair, same
from scipy.optimize import minimize
from subjects import normal

import minicnn
from minicnn import gradcheck, models, nn, ops, optim
from minicnn.models import Ensemble, mixture_weights

RNG = np.random.default_rng(0)
X = RNG.random((6, 16, 16, 1), "float32")
Y = RNG.integers(0, 7, 6)


def member(seed, **options):
    return models.leaky_bn_cnn(width=0.1, input_size=16, rng=seed, **options)


def softmax(z):
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


@pytest.mark.parametrize("weights", [None, (0.2, 0.5, 0.3), (2, 0, 6), (0, 0, 1), np.array([1.0, 1.0, 2.0])], ids=str)
def test_the_probabilities_are_mixed(weights):
    members = [member(seed) for seed in range(3)]
    ensemble = Ensemble(members, weights).eval()
    w = np.ones(3) if weights is None else np.asarray(weights)
    want = sum(w[k] / w.sum() * softmax(members[k](X).astype("float64")) for k in range(3))
    for run in (ensemble, minicnn.fuse(ensemble)):
        y = run(X)
        assert y.dtype == "float32"
        np.testing.assert_allclose(y, np.log(want), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ops.softmax.forward(ensemble(X))[0], want, rtol=1e-5)


def test_logits_far_apart():
    class Constant(nn.Module):
        def __init__(self, logits):
            self.logits = np.array([logits], "float32")

        def forward(self, x):
            return self.logits, None

    far = Ensemble([Constant([0, 500, 0]), Constant([900, 0, 0])], [0, 1]).eval()
    np.testing.assert_allclose(far(X), [[0, -900, -900]])
    both = Ensemble([Constant([0, 500, 0]), Constant([900, 0, 0])]).eval()
    np.testing.assert_allclose(both(X), [[np.log(0.5), np.log(0.5), -500 + np.log(0.5)]], rtol=1e-6)


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("weights", [(0.2, 0.5), (0, 1)], ids=str)
def test_gradients(weights, train):
    shared = nn.Linear(6, 3, rng=0)
    other = nn.Sequential(nn.Linear(6, 5, rng=1), nn.Tanh(), nn.Linear(5, 3, rng=2))
    ensemble = Ensemble([shared, other, shared], [*weights, 0.3]).train(train)
    gradcheck(ensemble, np.random.default_rng(3).normal(size=(4, 6)), mode="full")


def test_fused_it_is_the_same():
    fused, ensemble = pair(lambda: Ensemble([member(0), member(1)], [1, 3]))
    for seed in range(2):  # running statistics go on
        same(fused, ensemble, normal(3, 16, 16, 1, seed=seed, dtype="float64"), 1e-12)


def test_an_ensemble_is_a_module(tmp_path):
    ensemble = Ensemble([member(0), member(1)], [1, 3]).eval()
    assert ensemble.state_dict()["weights"].tolist() == [0.25, 0.75]
    assert "models.1.0.weight" in ensemble.state_dict()
    minicnn.save(ensemble, tmp_path / "both.safetensors")
    again = minicnn.load(tmp_path / "both.safetensors")
    assert np.array_equal(again(X), ensemble(X))
    models.export_weights(ensemble, tmp_path / "half.safetensors")
    np.testing.assert_allclose(minicnn.load(tmp_path / "half.safetensors")(X), ensemble(X), atol=1e-2)
    trainer = minicnn.Trainer(
        ensemble, nn.CrossEntropyLoss(), optim.SGD(ensemble.parameters(), 0.1), log=lambda _: None
    )
    p = trainer.predict(X)
    np.testing.assert_allclose(p, np.exp(ensemble(X)), rtol=1e-5)
    assert trainer.evaluate((X, Y))["loss"] == pytest.approx(-np.log(p[np.arange(6), Y]).mean(), rel=1e-5)
    before = trainer.evaluate((X, Y))["loss"]
    trainer.fit((X, Y), epochs=3, batch_size=6)
    assert trainer.history.rows[-1]["train_loss"] < before
    assert ensemble.astype("float64")(X.astype("float64")).dtype == "float64"


@pytest.mark.parametrize(
    ("members", "weights", "error", "message"),
    [
        ([], None, ValueError, "Ensemble: no model"),
        ([nn.ReLU(), 3], None, TypeError, "Ensemble: model 1 is a int, wanted a Module"),
        ([nn.ReLU()], [0.5, 0.5], ValueError, r"weights \[0.5, 0.5\], wanted 1 numbers of at least 0, not all 0"),
        ([nn.ReLU()], [0], ValueError, r"weights \[0.0\], wanted 1 numbers"),
        ([nn.ReLU()], [-1], ValueError, r"weights \[-1.0\], wanted 1 numbers"),
        ([nn.ReLU()], [np.nan], ValueError, r"weights \[nan\], wanted 1 numbers"),
        ([nn.ReLU(), nn.ReLU()], [np.inf, 1], ValueError, r"weights \[inf, 1.0\], wanted 2 numbers"),
    ],
)
def test_what_is_no_ensemble(members, weights, error, message):
    with pytest.raises(error, match=message):
        Ensemble(members, weights)


def test_models_of_other_classes():
    with pytest.raises(ValueError, match=r"the models give \[\(6, 3\), \(6, 7\)\], wanted one shape"):
        Ensemble([member(0), member(1, classes=3)]).eval()(X)


# the best weights


def problem(M, N, spread, seed):
    """(probabilities, labels) of models of a common opinion and errors of their own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, N)
    common = rng.normal(size=(N, 5)) + np.eye(5)[labels]
    return softmax(common + rng.uniform(0.2, spread, (M, 1, 1)) * rng.normal(size=(M, N, 5))), labels


def likelihood(w, p, labels):
    return -np.log(w @ p[:, np.arange(len(labels)), labels]).mean()


@pytest.mark.parametrize(
    ("M", "N", "spread"), [(1, 9, 1), (2, 50, 1), (5, 400, 1), (8, 3589, 0.5), (12, 100, 6), (6, 4, 2)]
)
@pytest.mark.parametrize("seed", range(3))
def test_the_weights_are_those_of_a_general_solver(M, N, spread, seed):
    p, labels = problem(M, N, spread, seed)
    w = mixture_weights(p, labels)
    assert (w >= 0).all()
    assert w.sum() == pytest.approx(1, abs=1e-12)
    q = p[:, np.arange(N), labels]
    slsqp = minimize(
        lambda v: -np.log(v @ q).mean(),
        np.full(M, 1 / M),
        jac=lambda v: -(q / (v @ q)).mean(1),
        method="SLSQP",
        bounds=[(0, 1)] * M,
        constraints={"type": "eq", "fun": lambda v: v.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert likelihood(w, p, labels) <= slsqp.fun + 2e-9
    if N > 10 * M:  # the minimiser is unique
        np.testing.assert_allclose(w, slsqp.x, atol=2e-3)
    r = (q / (w @ q)).mean(1)  # the Karush-Kuhn-Tucker conditions
    assert r.max() <= 1 + 1e-9
    np.testing.assert_allclose(r[w > 1e-3], 1, atol=1e-5)
    others = np.random.default_rng(1).dirichlet(np.ones(M), 200)
    assert all(likelihood(w, p, labels) <= likelihood(v, p, labels) + 1e-9 for v in others)


def test_special_cases():
    p, labels = problem(3, 300, 1, 0)
    twice = mixture_weights(p[[0, 1, 1]], labels)  # any split between the two is as good
    assert likelihood(twice, p[[0, 1, 1]], labels) == pytest.approx(
        likelihood(mixture_weights(p[:2], labels), p[:2], labels), abs=2e-9
    )
    right, wrong = np.eye(5)[labels], np.full((300, 5), 0.2)
    np.testing.assert_allclose(mixture_weights(np.stack([wrong, right]), labels), [0, 1], atol=1e-8)
    halves = np.stack([np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[1, 0, 0, 0]]])  # each alone has no chance of one of them
    np.testing.assert_allclose(mixture_weights(halves[:, [0, 3]], np.array([0, 0])), [0.5, 0.5], atol=1e-8)


@pytest.mark.parametrize(
    ("p", "labels", "message"),
    [
        (np.ones((2, 3)), np.zeros(3, int), r"shapes \(2, 3\) and \(3,\), wanted \(M, N, K\) and \(N,\)"),
        (np.ones((2, 3, 4)), np.zeros(2, int), r"shapes \(2, 3, 4\) and \(2,\), wanted"),
        (np.ones((2, 0, 4)), np.zeros(0, int), "no sample to fit to"),
        (np.ones((2, 3, 4)), np.array([0, 1, 4]), "labels are int64 from 0 to 4, wanted integers from 0 to 3"),
        (np.ones((2, 3, 4)), np.array([0, -1, 2]), "labels are int64 from -1 to 2, wanted integers from 0 to 3"),
        (np.ones((2, 3, 4)), np.zeros(3), "labels are float64 from 0.0 to 0.0, wanted integers"),
        (np.full((2, 3, 4), np.nan), np.zeros(3, int), "a probability is negative, infinite or NaN"),
        (-np.ones((2, 3, 4)), np.zeros(3, int), "a probability is negative, infinite or NaN"),
        (np.stack([np.eye(3)] * 2), np.array([0, 0, 2]), "every model gives the label of sample 1 no chance"),
    ],
)
def test_what_cannot_be_fitted(p, labels, message):
    with pytest.raises(ValueError, match=message):
        mixture_weights(p, labels)


def test_a_tolerance_that_cannot_be_reached():
    with pytest.raises(RuntimeError, match=r"not within -1 of the least likelihood after 500 steps"):
        mixture_weights(*problem(3, 50, 1, 0), tolerance=-1)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_weights_fitted_on_images(dtype):
    x = RNG.integers(0, 256, (50, 16, 16, 1)).astype("uint8")
    x = x if dtype == "uint8" else (x / np.float32(255)).astype("float32")
    unit = (x / np.float32(255)) if dtype == "uint8" else x
    ensemble = Ensemble([member(seed) for seed in range(3)]).train()
    y = ensemble.models[1].eval()(unit).argmax(-1)  # what one of them says, with two mistakes
    y[:2] = (y[:2] + 1) % 7
    ensemble.train()
    w = ensemble.fit_weights(x, y, batch_size=16)
    assert ensemble.training
    assert ensemble.models[1].training
    ensemble.eval()
    p = np.stack([softmax(model(unit).astype("float64")) for model in ensemble.models])
    np.testing.assert_allclose(w, mixture_weights(p, y), atol=1e-3)
    np.testing.assert_allclose(ensemble.weights, w, atol=1e-6)
    assert ensemble.weights.dtype == "float32"
    assert w[1] > 0.5
    loss = nn.CrossEntropyLoss()
    assert loss(ensemble(unit), y) <= min(loss(Ensemble(ensemble.models, v).eval()(unit), y) for v in np.eye(3)) + 1e-6
    with pytest.raises(ValueError, match=r"fit_weights: labels have shape \(49,\), wanted \(50,\)"):
        ensemble.fit_weights(x, y[1:])
    with pytest.raises(ValueError, match="fit_weights: labels are int64 from -1 to"):
        ensemble.fit_weights(x, np.where(y == y[0], -1, y))
    with pytest.raises(ValueError, match="fit_weights: no sample to fit to"):
        ensemble.fit_weights(x[:0], y[:0])
