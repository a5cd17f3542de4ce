"""Calls: from several threads, with hooks, and where the message says that one failed."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from subjects import flat, normal

from minicnn import gradcheck, nn

X, DY = normal(5, 4, 4, 1), normal(5, 3, seed=1)

# threads


def test_record_is_per_thread():
    model, errors = flat().eval(), []
    inside, done = threading.Event(), threading.Event()

    def other():
        inside.wait(10)
        model(X)
        try:
            model.backward(DY)
        except RuntimeError as error:
            errors.append(str(error))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with nn.record():
        model(X)
        inside.set()
        assert done.wait(10)
        model.backward(DY)
    thread.join()
    assert len(errors) == 1
    assert "in eval() a call keeps nothing" in errors[0]


def test_eval_from_several_threads_is_eval_from_one_and_writes_nothing():
    model = flat()
    model(X)
    model.backward(DY)
    model.eval()
    inputs = [normal(16, 4, 4, 1, seed=k) for k in range(40)]
    wanted = [model(x).tobytes() for x in inputs]
    before = [{k: id(v) for k, v in vars(m).items() if k != "_tape"} for m in model.modules()]
    state = {k: v.tobytes() for k, v in model.state_dict().items()}
    with ThreadPoolExecutor(4) as pool:
        got = [y.tobytes() for y in pool.map(model, inputs)]
    assert got == wanted
    assert [{k: id(v) for k, v in vars(m).items() if k != "_tape"} for m in model.modules()] == before
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == state


def test_threads_that_record_do_not_meet():
    model = flat().eval()
    for p in model.parameters():
        p.requires_grad = False
    inputs = [normal(8, 4, 4, 1, seed=k) for k in range(24)]

    def saliency(x):
        with nn.record():
            model(x)
            return model.backward(np.ones((8, 3), "float32")).tobytes()

    wanted = [saliency(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(saliency, inputs)) == wanted


# hooks


def test_hooks_see_every_call():
    model, seen = flat(), []
    remove = model[2].register_forward_hook(lambda m, x, y: seen.append((m, x.shape, y.shape)))
    model(X)
    model.eval()(X)
    remove()
    remove()
    model(X)
    assert seen == [(model[2], (5, 2, 2, 2), (5, 2, 2, 2))] * 2


def test_hooks_get_what_went_in_and_came_out():
    model, seen = nn.Sequential(nn.Linear(3, 2, rng=0), nn.ReLU()), []
    for module in model.modules():
        module.register_forward_hook(lambda m, x, y: seen.append((m, x, y)))
    x = normal(4, 3)
    y = model(x)
    assert [m for m, _, _ in seen] == [model[0], model[1], model], "inner ones end first"
    assert seen[0][1] is x
    assert seen[1][1] is seen[0][2]
    assert seen[2][1] is x
    assert seen[2][2] is seen[1][2] is y


def test_a_hook_may_remove_itself_and_the_next_one_still_runs():
    layer, seen = nn.ReLU(), []
    remove = layer.register_forward_hook(lambda m, x, y: (seen.append("first"), remove()))
    layer.register_forward_hook(lambda m, x, y: seen.append("second"))
    layer(X), layer(X)
    assert seen == ["first", "second", "second"]


# the message when a call fails


def deep():
    return nn.Sequential(
        {
            "stem": nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.ReLU()),
            "body": nn.Residual(nn.Sequential(nn.BatchNorm2d(2), nn.Identity())),
            "head": nn.Sequential(nn.Flatten(), nn.Linear(9, 3, rng=0)),
        }
    )


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_mismatch_deep_in_a_model(mode):
    model = getattr(deep(), mode)()
    with pytest.raises(ValueError, match="does not fit") as caught:
        model(X)
    assert str(caught.value) == (
        "linear: x (5, 8) (..., in) does not fit w (9, 3) (in, out)\n"
        "  in layer head.1: Linear(9, 3)\n"
        "  shapes on the way to it: (5, 4, 4, 1) -> stem.0 (5, 2, 2, 2) -> stem.1 (5, 2, 2, 2) -> "
        "body.body.0 (5, 2, 2, 2) -> body.body.1 (5, 2, 2, 2) -> body.shortcut (5, 2, 2, 2) -> head.0 (5, 8)"
    )


class Stray(nn.Module):
    """Calls a module that it does not hold."""

    def forward(self, x):
        return nn.Linear(4, 4, rng=0)(nn.Flatten()(x))


MESSAGES = [
    (deep, X.astype("uint8"), TypeError, r"^conv2d: x is uint8.*\n  in layer stem\.0: Conv2d\(1, 2, 3\)$"),
    (
        lambda: nn.Linear(3, 2, rng=0),
        X,
        ValueError,
        r"^linear: x \(5, 4, 4, 1\) .* does not fit w \(3, 2\) \(in, out\)$",
    ),
    (
        lambda: nn.Residual(nn.Linear(1, 2, rng=0)),
        X,
        ValueError,
        r"in layer \(the model itself\): Residual\(\)\n.*body",
    ),
    (lambda: nn.Sequential(nn.Residual(nn.Linear(1, 2, rng=0))), X, ValueError, r"in layer 0: Residual\(\)"),
    (Stray, X, ValueError, r"in layer : Linear\(4, 4\)\n.*\(5, 4, 4, 1\) -> Flatten \(5, 16\)"),
]


@pytest.mark.parametrize(("make", "x", "error", "message"), MESSAGES)
def test_what_a_failed_call_says(make, x, error, message):
    with pytest.raises(error, match=message):
        make()(x)


def test_a_failed_call_says_where_once():
    with pytest.raises(ValueError, match="in layer") as caught:
        deep()(X)
    assert str(caught.value).count("in layer") == 1


def test_the_next_call_after_a_failure_is_like_any_other():
    model = flat()
    with pytest.raises(ValueError, match="in layer 0"):
        model(normal(5, 4, 4, 2))
    model(X)
    assert model.backward(DY).shape == X.shape


def test_an_error_without_a_text_is_passed_on():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        nn.Sequential(Fails())(X)


def test_a_module_may_catch_the_error_of_a_part():
    class Fallback(nn.Module):
        """The first part that takes x."""

        def __init__(self):
            self.parts = [nn.Sequential(nn.Identity(), nn.Linear(9, 2, rng=0)), nn.Linear(3, 2, rng=1)]

        def forward(self, x):
            for part in self.parts:
                try:
                    return part(x), part
                except ValueError:
                    continue

        def gradient(self, dy, part):
            return part.backward(dy)

    model = nn.Sequential(Fallback(), nn.Tanh())
    for p in model[0].parts[0].parameters():
        p.requires_grad = False
    report = gradcheck(model, normal(4, 3))
    assert [row.name for row in report.rows] == ["input", "0.parts.1.weight", "0.parts.1.bias"]
    model(normal(4, 3))
    with pytest.raises(ValueError, match=r"in layer 1: Linear"):
        nn.Sequential(Fallback(), nn.Linear(7, 7, rng=0))(normal(4, 3))
