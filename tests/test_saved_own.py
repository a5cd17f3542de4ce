"""Models with modules of the user's own: config(), and what is refused because it could not be loaded."""

import numpy as np
import pytest
from subjects import bits, normal, stirred

from minicnn import nn
from minicnn.models import load, save


class Scale(nn.Module):
    """Takes arguments of many kinds."""

    def __init__(self, factor, sizes=(1, 2), names=None, body=None, flag=False):
        self.factor, self.sizes, self.names, self.flag = factor, sizes, names, flag
        self.body = body or nn.Identity()

    def forward(self, x):
        return self.body(x) * np.float32(self.factor), None

    def config(self):
        return {
            "factor": self.factor,
            "sizes": self.sizes,
            "names": self.names,
            "body": self.body,
            "flag": self.flag,
        }


class Net(nn.Sequential):
    """A Sequential with a constructor of its own."""

    def __init__(self, width, *, classes=2):
        super().__init__(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, classes))
        self.width, self.classes = width, classes

    def config(self):
        return {"width": self.width, "classes": self.classes}


class Branches(nn.Concat):
    def __init__(self, first, *others, scale=1):
        super().__init__(first, *others)
        self.scale = scale

    def config(self):
        return {"first": self.branches[0], "scale": self.scale}


class Conv2d(nn.Module):
    """Bears the name of a library layer."""

    def forward(self, x):
        return x + 1, None

    def config(self):
        return {}


class Counting(nn.Module):
    buffers = ("steps",)

    def __init__(self):
        self.steps, self.body = np.array(0), nn.Linear(2, 2)

    def forward(self, x):
        return self.body(x)

    def config(self):
        return {}


OWN = [
    Scale(2),
    Scale(0.1, (3, (4, 5)), {"a": 1, "b": [True, None]}, nn.Linear(6, 2), True),
    Scale(np.float64(0.5), np.int64(3), "text", Scale(3, body=nn.ReLU())),
    nn.Sequential(Scale(2, body=nn.Linear(6, 6)), nn.ReLU(), Scale(0.5, (float("inf"), -0.0))),
    Net(5),
    Net(4, classes=3),
    Branches(nn.Linear(6, 2)),
    nn.Sequential(Conv2d(), nn.Linear(6, 2)),
]


@pytest.mark.parametrize("model", OWN, ids=lambda m: repr(m).replace("\n", "")[:50])
def test_a_module_with_a_config(tmp_path, model):
    stirred(model)
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert bits(again) == bits(model)
    x = normal(3, 6)
    np.testing.assert_array_equal(again(x), model.eval()(x))
    first = next(m for m in again.modules() if isinstance(m, (Scale, Net, Branches, Conv2d)))
    original = next(m for m in model.modules() if isinstance(m, (Scale, Net, Branches, Conv2d)))
    for name, value in vars(original).items():
        if isinstance(value, (bool, int, float, str, tuple, np.generic)) and name not in ("training", "_arguments"):
            assert getattr(first, name) == value, name


def test_a_class_of_the_users_does_not_shadow_the_librarys(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), Conv2d())
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert [type(m) for m in again] == [nn.Conv2d, Conv2d]
    assert nn.Module._registry["Conv2d"] is nn.Conv2d
    assert nn.Module._registry[":Conv2d"] is Conv2d


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_counter_among_the_buffers_keeps_the_model_its_dtype(tmp_path, dtype):
    model = Counting().astype(dtype)
    model.steps = np.array(41)
    save(model, tmp_path / "m")
    assert bits(load(tmp_path / "m")) == bits(model)


# what cannot be saved


class NoConfig(nn.Module):
    def forward(self, x):
        return x, None


class NoConfigSequential(nn.Sequential):
    pass


class NoConfigLinear(nn.Linear):
    pass


class Forgetful(nn.Module):
    """Its config() does not say how wide it is."""

    def __init__(self, width=3):
        self.layer = nn.Linear(2, width)

    def config(self):
        return {}


class Grown(nn.Module):
    """Has parts that its constructor does not make."""

    def config(self):
        return {}


def grown(**parts):
    model = Grown()
    for name, part in parts.items():
        setattr(model, name, part)
    return model


def tied():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    return model


def inner_replaced():
    model = nn.DenseLayer(3, 2)
    model.relu1 = nn.GELU()
    return model


REFUSED = [
    (NoConfig, TypeError, r"NoConfig has no config\(\): define one that returns the constructor's arguments by name"),
    (lambda: nn.Sequential(nn.Residual(NoConfig())), TypeError, r"NoConfig has no config\(\)"),
    (lambda: NoConfigSequential(nn.ReLU()), TypeError, r"NoConfigSequential has no config\(\)"),
    (lambda: NoConfigLinear(2, 3), TypeError, r"NoConfigLinear has no config\(\)"),
    (lambda: Scale(np.ones(3)), TypeError, r"save: an argument of type ndarray cannot be written down"),
    (lambda: Scale({"a": [object()]}), TypeError, r"save: an argument of type object cannot be written down"),
    (
        lambda: Forgetful(4),
        ValueError,
        r"layer\.bias: has shape \(4,\), wanted \(3,\); layer\.weight: has shape \(2, 4\)",
    ),
    (lambda: grown(a=nn.ReLU()), ValueError, r"save: the config\(\)s of Grown make other modules: a: ReLU$"),
    (lambda: grown(a=nn.Parameter(np.ones(2))), ValueError, r"config\(\)s of Grown make other parameters: a$"),
    (tied, ValueError, r"config\(\)s of Sequential make other parameters: 1\.weight$"),
    (inner_replaced, ValueError, r"make other modules: relu1: GELU, relu1: ReLU$"),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSED)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, make, error, message):
    save(nn.ReLU(), tmp_path / "m")
    with pytest.raises(error, match=message):
        save(make(), tmp_path / "m")
    assert isinstance(load(tmp_path / "m"), nn.ReLU), "the old file is still there"
