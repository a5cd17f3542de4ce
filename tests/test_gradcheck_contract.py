"""What a gradient check asks of its subject and its caller, what it leaves alone, and what it reports."""

import copy
import functools

import numpy as np
import pytest
from subjects import SQUARE, convolutional, op, square
from subjects import normal as normal32

import minicnn
from minicnn import GradcheckError, cases, dispatch, gradcheck, nn, ops
from minicnn.gradcheck import check_case
from minicnn.nn.parameter import Parameter

normal = functools.partial(normal32, dtype="float64")
both_modes = pytest.mark.parametrize("mode", ["directional", "full"])
X, IMAGES = normal(4, 3), normal(3, 4, 4, 2)


def test_a_gradient_that_never_reaches_its_parameter_is_an_error():
    class Forgets(nn.Linear):
        def gradient(self, dy, cache):
            return ops.linear.backward(dy, cache)[0]

    with pytest.raises(GradcheckError, match=r"gradcheck Forgets: backward gives no gradient of weight; freeze"):
        gradcheck(Forgets(3, 2, rng=0), X)


def scribbles(x):
    x *= 2
    return x + 0, None


def scribbles_on_target(x, target):
    target += 1
    return x * x, x


def scribbles_on_dy(dy, cache):
    dy *= 2  # the check must not go on with another dy, which would hide the factor
    return (dy,)


class ScribblesOnWeight(nn.Linear):
    def forward(self, x):
        self.weight.data *= 1.5
        return super().forward(x)


BAD_ARRAYS = [
    (op(scribbles, lambda dy, c: (2 * dy,)), X, r"input 0 was written to"),
    (op(scribbles_on_target, lambda dy, x: (2 * x * dy,)), (X, np.arange(3)), r"input 1 was written to"),
    (op(lambda x: (x + 0, x), lambda dy, x: (x.__imul__(2) * dy,)), X, r"input 0 was written to"),
    (op(lambda x: (x + 0, None), scribbles_on_dy), X, r"dy was written to"),
    (ScribblesOnWeight(3, 2, rng=0), X, r"gradcheck ScribblesOnWeight: weight was written to"),
    (
        op(square, lambda dy, x: ((2 * x * dy).T,)),
        X,
        r"gradient of input 0 is float64 \(3, 4\), wanted float64 \(4, 3\)",
    ),
    (op(square, lambda dy, x: ((2 * x * dy).sum(0),)), X, r"gradient of input 0 is float64 \(3,\), wanted"),
    (
        op(square, lambda dy, x: ((2 * x * dy).astype("f"),)),
        X,
        r"gradient of input 0 is float32 \(4, 3\), wanted float64",
    ),
    (op(square, lambda dy, x: ((2 * x * dy).tolist(),)), X, r"gradient of input 0 is a list, wanted float64 \(4, 3\)"),
    (op(square, lambda dy, x: (None,)), X, r"gradcheck mine: backward gives no gradient of input 0"),
    (op(square, lambda dy, x: 2 * x * dy), X, r"backward gives 4 gradients for 1 inputs"),
    (op(square, lambda dy, x: ()), X, r"there is no gradient to check"),
    (ops.relu, np.array([[np.nan, 1.0]]), r"gradcheck relu: y is not finite at these inputs"),
    (op(lambda x: (x / 0.0, None), lambda dy, c: (dy,)), X, r"y is not finite"),
]


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize(("subject", "inputs", "message"), BAD_ARRAYS)
def test_what_an_op_must_not_do(subject, inputs, message):
    with pytest.raises(GradcheckError, match=message):
        gradcheck(subject, inputs)


def test_the_users_arrays_are_never_written_to():
    x, target = X.copy(), np.arange(3)
    for subject in (op(scribbles, lambda dy, c: (2 * dy,)), op(scribbles_on_target, lambda dy, c: (2 * c * dy,))):
        with pytest.raises(GradcheckError, match="was written to"):
            gradcheck(subject, (x, target)[: subject.forward.__code__.co_argcount])
    assert np.array_equal(x, X)
    assert np.array_equal(target, np.arange(3))


NONSENSE = [
    (dict(op_or_module=3), TypeError, r"3 is neither an op .*, a Module nor a loss"),
    (dict(op_or_module=np.tanh), TypeError, r"<ufunc 'tanh'> is neither an op"),
    (dict(op_or_module=ops.linear.forward), TypeError, r"<op linear.forward.* is neither an op"),
    (dict(mode="both"), ValueError, r"mode 'both', wanted \"directional\" or \"full\""),
    (dict(eps=0.0), ValueError, r"eps=0.0 and rtol=1e-06, wanted positive numbers"),
    (dict(eps=-1e-3), ValueError, r"eps=-0.001 and rtol=1e-06, wanted positive"),
    (dict(rtol=0), ValueError, r"rtol=0, wanted positive"),
    (dict(inputs=np.zeros((0, 3))), ValueError, r"tanh: input 0 has shape \(0, 3\), wanted at least one element"),
    (dict(inputs=[[1.0]]), TypeError, r"tanh: x is a list, wanted a NumPy or CuPy array"),
    (dict(inputs=np.arange(3)), TypeError, r"tanh: x is int64, wanted floating-point"),
    (dict(inputs=()), TypeError, r"forward\(\) missing 1 required positional argument"),
    (dict(inputs=(X, X)), TypeError, r"takes 1 positional argument but 2 were given"),
    (dict(kwargs={"slope": 1}), TypeError, r"unexpected keyword argument 'slope'"),
    (dict(op_or_module=nn.Tanh(), inputs=(X, X)), TypeError, r"a Module takes one input, got 2"),
    (dict(op_or_module=nn.Tanh(), kwargs={"p": 1}), TypeError, r"kwargs are for ops, and Tanh is none"),
    (dict(op_or_module=nn.MSELoss(), inputs=X), TypeError, r"a loss takes a prediction and a target, got 1 input"),
    (dict(op_or_module=nn.MSELoss(), inputs=(X, X), kwargs={"p": 1}), TypeError, r"kwargs are for ops"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), NONSENSE)
def test_nonsense(arguments, error, message):
    with pytest.raises(error, match=message):
        gradcheck(**{"op_or_module": ops.tanh, "inputs": X} | arguments)


def test_eps_is_the_step_relative_to_the_input():
    cubic = op(lambda x: (x**3, x), lambda dy, x: (3 * x**2 * dy,))
    quintic = op(lambda x: (x**5, x), lambda dy, x: (5 * x**4 * dy,))
    x = np.array([1.0, 2.0])
    report = gradcheck(cubic, x, eps=0.1)
    assert report.max_error < 1e-12, "differences of fourth order are exact for a cubic"
    assert {row.step for row in report.rows} == {0.1}
    h = 0.05 * 2 / 2  # the finer of the two steps, for an input of size 2
    largest, fifth = 5 * 2**4, 120
    error = gradcheck(quintic, x, eps=0.05, rtol=1e-2, mode="full").max_error
    assert error == pytest.approx(h**4 * fifth / 30 / largest, rel=1e-5)


@both_modes
@pytest.mark.parametrize("scale", [1e-3, 1, 1e4, 1e9])
def test_inputs_of_any_size(scale, mode):
    gradcheck(SQUARE, X * scale, mode=mode)
    gradcheck(op(lambda x: (np.log(x), x), lambda dy, x: (dy / x,)), (np.abs(X) + 0.1) * scale, mode=mode)


@pytest.fixture
def used():
    """A model in use: called, with gradients, hooks, running statistics, a frozen layer and one in another mode."""
    model = convolutional()
    for k in range(2):
        model(normal(3, 4, 4, 2, seed=k).astype("float32"))
    model.backward(np.ones((3, 3), "float32"))
    model[-1].bias.requires_grad = False
    model[1].eval()
    model.register_forward_hook(lambda m, x, y: pytest.fail("a hook of the user's model was called"))
    return model


@both_modes
def test_the_users_module_is_left_as_it_was(used, mode):
    def everything():
        return {
            "state": {k: v.tobytes() for k, v in used.state_dict().items()},
            "dtypes": {k: v.dtype for k, v in used.state_dict().items()},
            "grads": {k: None if p.grad is None else p.grad.tobytes() for k, p in used.named_parameters()},
            "frozen": {k: p.requires_grad for k, p in used.named_parameters()},
            "modes": [m.training for m in used.modules()],
            "hooks": [list(m._hooks) for m in used.modules()],
            "tapes": [id(m._tape) for m in used.modules()],
            "dropout": copy.deepcopy(used[4].rng.bit_generator.state),
            "parts": [id(m) for m in used.modules()] + [id(p) for p in used.parameters()],
        }

    before = everything()
    assert "0.weight" in [row.name for row in gradcheck(used, IMAGES, mode=mode).rows]
    assert everything() == before


def test_a_generator_of_the_user_is_not_advanced():
    rng = np.random.default_rng(5)
    gradcheck(ops.dropout, X, kwargs={"p": 0.5, "rng": rng})
    assert rng.bit_generator.state == np.random.default_rng(5).bit_generator.state


def test_a_loss_keeps_its_cache():
    loss = nn.MSELoss()
    loss(X, X + 1)
    gradcheck(loss, (X, X + 2))
    np.testing.assert_allclose(loss.backward(), np.full_like(X, -2 / X.size))


def test_definitions_are_checked_and_not_kernels():
    def forward(x):
        assert dispatch._mode.get() == "reference"
        return square(x)

    gradcheck(op(forward, SQUARE.backward), X)
    assert dispatch._mode.get() == "fast"


def test_same_seed_same_report_and_another_seed_another():
    def report(seed):
        return gradcheck(convolutional(), IMAGES, seed=seed)

    assert report(3) == report(3)
    assert report(3).rows[0].analytic != report(4).rows[0].analytic


def test_the_report_says_what_was_found():
    report = gradcheck(nn.Linear(3, 2, rng=0), X)
    head, columns, *rows = str(report).splitlines()
    assert head == "gradcheck Linear"
    assert columns.split() == ["gradient", "of", "shape", "analytic", "numeric", "error"]
    assert [row.split()[0] for row in rows] == ["input", "weight", "bias"]
    assert [(row.name, row.shape) for row in report.rows] == [("input", (4, 3)), ("weight", (3, 2)), ("bias", (2,))]
    for row in report.rows:
        assert row.analytic == pytest.approx(row.numeric, rel=1e-6)
        assert row.problem == ""
    full = gradcheck(nn.Linear(3, 2, rng=0), X, mode="full")
    assert [len(row.where.split(",")) for row in full.rows] == [2, 2, 2]  # "at (i, j)", "at (i,)"
    assert gradcheck(ops.tanh, X).subject == "tanh"


def test_parameters_in_lists_are_checked():
    class Many(nn.Module):
        def __init__(self):
            self.scales = [Parameter(np.array([2.0])), Parameter(np.array([3.0]))]

        def forward(self, x):
            return x * self.scales[0].data * self.scales[1].data, x

        def gradient(self, dy, x):
            a, b = (p.data for p in self.scales)
            self.scales[0].accumulate((dy * x * b).sum(keepdims=True)[0])
            self.scales[1].accumulate((dy * x * a).sum(keepdims=True)[0])
            return dy * a * b

    assert [row.name for row in gradcheck(Many(), X).rows] == ["input", "scales.0", "scales.1"]


def test_public_names():
    assert minicnn.gradcheck is gradcheck
    assert issubclass(minicnn.GradcheckError, AssertionError)


def row_with(**changes):
    """The row of linear with some of it changed."""
    return cases.Case(
        **{"name": "linear", "samples": cases.CASES["linear"].samples, "errors": (), "wrong": {}} | changes
    )


def test_check_case_tells_a_backward_that_passes_from_one_that_does_not():
    wrong = {"doubled": lambda dy, c: tuple(None if g is None else 2 * g for g in ops.linear.backward(dy, c))}
    good = check_case(row_with(wrong=wrong))
    assert good.ok
    assert good.failures == good.missed == ()
    assert 0 < good.max_error < 1e-7
    assert str(good).split()[0] == "linear"
    assert "2 samples" in str(good)
    assert "1/1 wrong backwards rejected   ok" in str(good)
    right = check_case(row_with(wrong=wrong | {"is right": ops.linear.backward}))
    assert not right.ok
    assert right.missed == ("is right",)
    assert "1/2 wrong backwards rejected   PASSES: is right" in str(right)


def test_check_case_reports_what_the_right_backward_is_accused_of():
    at_zero = cases.Sample(cases.case.arrays(x=lambda rng: np.zeros((2, 3))))
    result = check_case(row_with(name="relu", samples=(at_zero,), wrong={"all": lambda dy, c: (dy,)}))
    assert not result.ok
    assert len(result.failures) == 1
    assert "KINK" in result.failures[0]
    assert result.missed == ("all",), "a kink is no proof that a wrong backward is rejected"
    assert "KINK" in str(result)
