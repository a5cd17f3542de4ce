"""The loop: what a training does equals the same steps written out here."""

import numpy as np
import pytest
from trainings import convnet, differ, features, linear, pictures, same_arrays, trainer

from minicnn import metrics, nn, optim, schedules
from minicnn.data import Loader
from minicnn.data.augment import RandomHorizontalFlip, Transform


class Quoted(nn.Loss):
    """A loss that is what a report printed: of a training batch the first number, of a validation the second."""

    def __init__(self, model, train, valid):
        self.model, self.numbers = model, {True: iter(train), False: iter(valid)}

    def __call__(self, prediction, target):
        self.shape = prediction.shape
        return next(self.numbers[self.model.training])

    def backward(self, dloss=1.0):
        return np.zeros(self.shape, "float32")


def test_the_log_is_that_of_the_reports():
    model = linear()
    correct = iter((0.3863, 0.5014, 0.98764, 0.92899))

    def accuracy(targets, scores):
        return next(correct)

    loss = Quoted(model, (1.5787, 0.12345), (1.2766, 0.19074))
    t = trainer(model, loss, metrics=[accuracy])
    t.fit(features(8), features(4), epochs=2)
    assert t.lines == [
        "Epoch: 1, train Loss: 1.5787, train Acc: 0.3863",
        "Epoch: 1, valid Loss: 1.2766, valid Acc: 0.5014",
        "Epoch: 2, train Loss: 0.1235, train Acc: 0.9876",
        "Epoch: 2, valid Loss: 0.1907, valid Acc: 0.9290",
    ]


def test_the_log_goes_to_the_screen(capsys):
    t = trainer(metrics=())
    t.log = print
    t.fit(features(3), epochs=1)
    assert capsys.readouterr().out.startswith("Epoch: 1, train Loss: ")


def cross_entropy(scores, labels):
    """Mean of −log softmax, in float64."""
    z = scores.astype("float64")
    z = z - z.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]))


def test_an_epoch_is_these_steps():
    data = pictures(38).split("Training")  # 28 pictures: batches of 8, 8, 8 and 4
    model, twin = convnet(1), convnet(1)
    loader = Loader(data, 8, shuffle=True, augment=RandomHorizontalFlip(), seed=5)
    t = trainer(model, optimizer=optim.SGD(model.parameters(), lr=0.1, momentum=0.9), seed=5)
    history = t.fit(loader, epochs=2)

    optimizer = optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for index, layer in enumerate(m for m in twin.modules() if isinstance(m, (nn.Dropout, nn.Dropout2d))):
        layer.rng = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(1, index)))
    for epoch in range(2):
        losses, right, n = 0.0, 0, 0
        for x, y in loader.batches(epoch):
            scores = twin(x)
            losses += len(y) * cross_entropy(scores, y)
            right, n = right + (scores.argmax(1) == y).sum(), n + len(y)
            p = np.exp(scores - scores.max(1, keepdims=True))
            dscores = (p / p.sum(1, keepdims=True) - np.eye(3, dtype="float32")[y]) / len(y)
            twin.zero_grad()
            twin.backward(dscores.astype("float32"))
            optimizer.step()
        assert n == 28
        assert history["train_loss"][epoch] == pytest.approx(losses / n, rel=1e-5)
        assert history["train_accuracy"][epoch] == right / n
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(model[1].running_var, twin[1].running_var, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 7, 8, 28])
def test_the_loss_of_an_epoch_weighs_samples_alike_whatever_the_batches(size):
    x, y = features(28)
    t = trainer(optimizer=None)
    t.optimizer.param_groups[0]["lr"] = 0.0  # the model stands still
    t.fit((x, y), epochs=1, batch_size=size)
    scores = t.model(x)
    assert t.history["train_loss"][0] == pytest.approx(cross_entropy(scores, y), rel=1e-6)
    assert t.history["train_accuracy"][0] == (scores.argmax(1) == y).mean()


class Kinds(Transform):
    """Notes what comes to the training."""

    def __init__(self):
        self.seen = []

    def apply(self, x, y, rng):
        self.seen.append((x.dtype.name, x.shape, float(x.max())))
        return x, y


DATA = pictures(30)
FLOATS = (DATA.images / 255).astype("float32")
SAME = {
    "Dataset": DATA,
    "Loader": Loader(DATA, 64, shuffle=True),
    "uint8": (DATA.images, DATA.labels),
    "float32": (FLOATS, DATA.labels),
    "float64, lists": (FLOATS.astype("float64").tolist(), DATA.labels.tolist()),
    "int32 labels": (DATA.images, DATA.labels.astype("int32")),
    "one-hot": (DATA.images, np.eye(3, dtype="float32")[DATA.labels]),
}


@pytest.mark.parametrize("kind", SAME)
def test_the_same_data_in_any_shape_trains_the_same(kind):
    def train(data):
        model = convnet()
        t = trainer(model, optimizer=optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
        return t.fit(data, data, epochs=2), t

    (want, first), (got, second) = train(DATA), train(SAME[kind])
    assert got.columns == want.columns
    for name in want.columns:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6, err_msg=name)
    for key, array in first.model.state_dict().items():
        np.testing.assert_allclose(second.model.state_dict()[key], array, rtol=1e-5, atol=1e-7, err_msg=key)


def test_batch_size_and_the_trainers_seed_are_for_what_is_no_loader():
    sizes = Kinds()
    t = trainer(convnet(), seed=3)
    t.fit(Loader(DATA, 7, augment=sizes), epochs=1, batch_size=16)
    assert sizes.seen[0] == ("float32", (7, 8, 8, 1), FLOATS[:7].max())
    t, other = (trainer(convnet(), seed=3) for _ in range(2))
    t.fit(DATA, epochs=1, batch_size=16)
    other.fit(Loader(DATA, 16, shuffle=True, seed=3), epochs=1)
    same_arrays(t.model.state_dict(), other.model.state_dict())


def test_soft_targets_are_learnt():
    x, _ = features(60)
    want = np.array([[0.7, 0.2, 0.1]])
    model = linear()
    t = trainer(model, optimizer=optim.SGD(model.parameters(), lr=0.5))
    history = t.fit((x, np.repeat(want, 60, axis=0)), epochs=60)
    np.testing.assert_allclose(t.predict(x).mean(axis=0), want[0], atol=0.02)
    assert history["train_loss"][-1] == pytest.approx(-(want * np.log(want)).sum(), abs=0.02)  # the entropy
    assert history["train_accuracy"][-1] == 1.0  # the likeliest class


def test_a_regression_with_a_metric_of_its_own():
    x, _ = features(64)
    slopes = np.array([[1.0, -2.0, 0.5, 3.0]], "float32").T
    targets = x @ slopes + 0.25

    def mean_error(y, scores):
        return np.abs(y - scores).mean()

    model = nn.Sequential(nn.Linear(4, 1, rng=0))
    t = trainer(model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.05), metrics=[mean_error])
    history = t.fit((x, targets), (x, targets), epochs=150, batch_size=16)
    np.testing.assert_allclose(model[0].weight.data, slopes, atol=0.05)
    found = t.evaluate((x, targets))
    assert found.keys() == {"loss", "mean_error"}
    assert found["mean_error"] == pytest.approx(float(np.abs(t.predict(x) - targets).mean()), rel=1e-5)
    assert found["loss"] == pytest.approx(float(((t.predict(x) - targets) ** 2).mean()), rel=1e-5)
    assert history.columns[2:] == ["train_loss", "train_mean_error", "valid_loss", "valid_mean_error"]
    assert t.lines[-1].startswith("Epoch: 150, valid Loss: 0.0")
    assert ", valid mean_error: 0.0" in t.lines[-1]


def test_several_labels_at_once():
    x, y = features(60)
    targets = np.stack([y == 0, y != 2], axis=1).astype("float32")

    def both_right(y, scores):
        return ((scores > 0) == (y > 0.5)).all(axis=1).mean()

    model = nn.Sequential(nn.Linear(4, 2, rng=0))
    t = trainer(model, nn.BCEWithLogitsLoss(), optim.Adam(model.parameters(), lr=0.05), metrics=[both_right])
    history = t.fit((x, targets), epochs=60)
    assert history["train_both_right"][-1] > 0.9
    p = t.predict(x)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-(x @ model[0].weight.data + model[0].bias.data))), rtol=1e-5)
    assert ((p > 0.5) == (targets > 0.5)).all(axis=1).mean() > 0.9


def test_metrics_by_name_and_as_functions():
    x, y = features(30)
    t = trainer(metrics=["accuracy", metrics.f1_macro, lambda y, scores: scores.max()])
    found = t.evaluate((x, y))
    scores = t.model(x)
    assert found.keys() == {"loss", "accuracy", "f1_macro", "<lambda>"}
    assert found["f1_macro"] == metrics.f1_macro(y, scores)
    assert found["<lambda>"] == scores.max()
    soft = t.evaluate((x, np.eye(3)[y]))  # the library's functions take the likeliest class
    assert (soft["accuracy"], soft["f1_macro"]) == (found["accuracy"], found["f1_macro"])


class Recorder(optim.SGD):
    """Notes the rate of every group at every step."""

    def step(self):
        self.seen = [*getattr(self, "seen", []), [group["lr"] for group in self.param_groups]]
        super().step()


SCHEDULES = [
    schedules.cosine(0.1, 12),
    schedules.one_cycle(0.5, 10),
    schedules.warmup(0.2, 5),
    lambda step: 1 / (1 + step),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_optimiser_sees_the_schedule_step_by_step(schedule):
    model = linear()
    optimizer = Recorder(model.parameters(), lr=7.0)
    t = trainer(model, optimizer=optimizer, schedule=schedule)
    history = t.fit(features(30), epochs=3, batch_size=8)
    t.fit(features(30), epochs=1, batch_size=8)
    assert optimizer.seen == [[pytest.approx(schedule(step), rel=1e-12)] for step in range(16)]
    assert history["lr"] == [pytest.approx(schedule(4 * k + 3), rel=1e-12) for k in range(4)]


@pytest.mark.parametrize(("first", "rest", "ratio"), [(0.1, 0.01, 0.1), (0.2, 0.6, 3.0), (0.0, 0.5, 1.0)])
def test_groups_keep_their_ratio_to_the_first(first, rest, ratio):
    model = linear()
    groups = [{"params": [model[0].weight], "lr": first}, {"params": [model[0].bias], "lr": rest}]
    optimizer = Recorder(groups, lr=1.0)
    schedule = schedules.cosine(0.3, 6)
    trainer(model, optimizer=optimizer, schedule=schedule).fit(features(24), epochs=2, batch_size=8)
    wanted = [[schedule(k), ratio * schedule(k)] for k in range(6)]
    np.testing.assert_allclose(optimizer.seen, wanted, rtol=1e-12)


def test_without_a_schedule_the_rate_is_the_optimisers():
    model = linear()
    optimizer = Recorder(model.parameters(), lr=0.3)
    t = trainer(model, optimizer=optimizer)
    assert t.fit(features(8), epochs=2)["lr"] == [0.3, 0.3]
    assert optimizer.seen == [[0.3], [0.3]]


def trained(seed=0, model_seed=0, parts=(3,)):
    model = convnet(model_seed)
    t = trainer(
        model, optimizer=optim.Adam(model.parameters(), lr=0.01), schedule=schedules.cosine(0.01, 20), seed=seed
    )
    for epochs in parts:
        history = t.fit(DATA, DATA, epochs, batch_size=8)
    return model.state_dict(), history.rows, t


def test_the_same_seed_gives_the_same_bits():
    (a, rows, _), (b, other_rows, _) = trained(4), trained(4)
    same_arrays(a, b)
    assert rows == other_rows


def test_another_seed_gives_another_training():
    assert differ(trained(4)[0], trained(5)[0])


@pytest.mark.parametrize("parts", [(1, 2), (2, 1), (1, 1, 1), (0, 3)])
def test_fits_go_on_where_the_last_one_ended(parts):
    (a, rows, one), (b, other_rows, several) = trained(parts=(3,)), trained(parts=parts)
    same_arrays(a, b)
    assert rows == other_rows
    assert (one.epoch, one.step, one.lines) == (several.epoch, several.step, several.lines)


def test_the_seed_draws_the_masks():
    def masks(seed, first):
        model = nn.Sequential(nn.Dropout(0.5, rng=first), nn.Dropout(0.5))
        trainer(model, optimizer=optim.SGD(linear().parameters(), lr=0.1), seed=seed)
        ones = np.ones((4, 64), "float32")
        return [tuple(np.flatnonzero(layer(ones) == 0)) for layer in model for _ in range(2)]

    assert masks(1, first=3) == masks(1, first=4)
    assert len({*masks(1, 3), *masks(2, 3)}) == 8  # each seed, layer and call has its own
