"""The optimisers against PyTorch's, and what all of them promise."""

import inspect
import json
import pickle
import re

import numpy as np
import pytest
from make_optim_golden import CASES, GOLDEN, LOOKS, STEPS, flat, name_of, sequence, torch_displacements, walk

from minicnn import optim
from minicnn.nn.parameter import Parameter

every_case = pytest.mark.parametrize("case", CASES, ids=name_of)
CLASSES = sorted({case[0] for case in CASES})


def make(case, params):
    return getattr(optim, case[0])(params, **case[1])


def parameters(start, dtype=np.float64):
    return [Parameter(a.astype(dtype)) for a in start]


def displacements(case, start, grads):
    params = parameters(start)
    return np.array(
        [
            flat(params) - flat(parameters(start))
            for t in walk(make(case, params), params, grads, np.array)
            if t in LOOKS
        ]
    )


# --- the updates ---


@every_case
def test_thirty_steps_are_the_golden_ones(case):
    with np.load(GOLDEN) as golden:
        start = [golden["start 0"], golden["start 1"]]
        grads = [[golden.get(f"grad {t} {i}") for i in range(2)] for t in range(STEPS)]
        want = golden[name_of(case)]
    assert grads[3][1] is None
    np.testing.assert_allclose(displacements(case, start, grads), want, rtol=1e-9, atol=1e-13)


def test_every_golden_case_differs_from_every_other():
    with np.load(GOLDEN) as golden:
        last = [golden[name_of(case)][-1] for case in CASES]
    for i, a in enumerate(last):
        for j, b in enumerate(last[:i]):
            assert np.abs(a - b).max() > 1e-6, f"{name_of(CASES[i])} tells nothing beyond {name_of(CASES[j])}"


@pytest.mark.torch
@every_case
def test_thirty_steps_are_torchs(case):
    pytest.importorskip("torch")
    start, grads = sequence()
    want = torch_displacements(case, start, grads)
    np.testing.assert_allclose(displacements(case, start, grads), want, rtol=1e-9, atol=1e-13)


@pytest.mark.torch
@pytest.mark.parametrize("name", CLASSES)
def test_defaults_are_torchs(name):
    torch = pytest.importorskip("torch")
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    ours = inspect.signature(getattr(optim, name)).parameters
    assert {k: p.default for k, p in ours.items()} == {k: theirs[k].default for k in ours}


@pytest.mark.parametrize("name", CLASSES)
def test_equation_numbers_in_the_code_are_those_of_the_docstring(name):
    cls = getattr(optim, name)
    derived = set(re.findall(r"\((\d+)\)$", cls.__doc__, re.MULTILINE))
    cited = set(re.findall(r"#.*?\((\d+)\)", inspect.getsource(cls.update)))
    assert cited
    assert cited == derived


def test_centered_rmsprop_survives_a_variance_that_rounds_below_zero():
    p = Parameter(np.zeros(200, np.float32))
    optimizer = optim.RMSprop([p], lr=1e-3, alpha=0.5, eps=1e-3, centered=True)
    below = 0.0
    for _ in range(60):
        p.grad = np.linspace(0.1, 10, 200, dtype=np.float32)  # constant: the variance tends to 0
        optimizer.step()
        state = optimizer.state[p]
        below = min(below, float((state["square_avg"] - state["grad_avg"] ** 2).min()))
    assert below < 0, "the case no longer makes the variance negative"
    assert np.isfinite(p.data).all()


MINIMA = [
    ("SGD", {"lr": 2e-3, "momentum": 0.9}, 2000),
    ("SGD", {"lr": 2e-3, "momentum": 0.9, "nesterov": True}, 2000),
    ("Adam", {"lr": 0.05}, 2000),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.0}, 2000),
    ("RMSprop", {"lr": 5e-3, "momentum": 0.5, "alpha": 0.999}, 4000),
    ("Adagrad", {"lr": 1.0}, 2000),
    ("Adadelta", {"lr": 0.1}, 4000),
]


@pytest.mark.parametrize(("name", "options", "steps"), MINIMA)
@pytest.mark.parametrize("function", ["parabola", "rosenbrock"])
def test_the_minimum_is_found(name, options, steps, function):
    centre = np.array([1.0, 1.0])

    def gradient(z):
        if function == "parabola":
            return 2 * (z - centre)
        x, y = z
        return np.array([2 * (x - 1) - 40 * x * (y - x * x), 20 * (y - x * x)])  # (1 − x)² + 10 (y − x²)²

    p = Parameter(np.array([-1.0, 2.0]))
    optimizer = make((name, options), [p])
    for _ in range(steps):
        p.grad = gradient(p.data)
        optimizer.step()
    np.testing.assert_allclose(p.data, centre, atol=0.02)


# --- what every one of them promises ---


@every_case
def test_float32_stays_float32(case):
    start, grads = sequence()
    params = parameters(start, np.float32)
    optimizer = make(case, params)
    optimizer.param_groups[0]["lr"] = np.float64(0.1)
    for _ in walk(optimizer, params, grads[:5], np.array):  # float64 gradients
        assert all(p.data.dtype == np.float32 for p in params)
    assert {np.dtype("f4")} >= {a.dtype for s in optimizer.state.values() for k, a in s.items() if k != "step"}


@every_case
def test_no_array_of_the_users_is_written_to_or_kept(case):
    start, grads = sequence()
    params, seen = parameters(start), []
    optimizer = make(case, params)

    def read_only(a):
        seen.append((a, a.copy()))
        a.flags.writeable = False
        return a

    for t in walk(optimizer, params, grads[:6], lambda g: read_only(g.copy())):
        kept = {id(a) for s in optimizer.state.values() for a in s.values()}
        assert kept.isdisjoint({id(a) for p in params for a in (p.data, p.grad)}), f"step {t}: the state is the user's"
        for p in params:
            read_only(p.data)
    assert all((a == before).all() for a, before in seen)
    optimizer.zero_grad()
    assert [p.grad for p in params] == [None, None]


@every_case
def test_a_saved_optimiser_continues_bit_for_bit(case):
    start, grads = sequence()
    straight, params = parameters(start), parameters(start)
    for _ in walk(make(case, straight), straight, grads, np.array):
        pass
    first = make(case, params)
    for t in walk(first, params, grads, np.array):
        if t == 20:  # after the rate was halved
            break
    saved = first.state_dict()
    arrays = {(i, k): a for i, s in saved["state"].items() for k, a in s.items() if isinstance(a, np.ndarray)}
    numbers = {i: {k: v for k, v in s.items() if (i, k) not in arrays} for i, s in saved["state"].items()}
    read = json.loads(json.dumps({"state": numbers, "param_groups": saved["param_groups"]}))
    for (i, k), a in arrays.items():
        read["state"][str(i)][k] = a.copy()
    second = getattr(optim, case[0])(params)
    second.load_state_dict(read)
    for row in grads[20:]:
        for a in (*arrays.values(), *(v for s in read["state"].values() for v in s.values() if not np.isscalar(v))):
            a[...] = np.nan  # both were copies
        for p, grad in zip(params, row, strict=True):
            p.grad = grad
        second.step()
    assert (flat(params) == flat(straight)).all()


def test_data_and_gradients_may_be_assigned_between_steps():
    p, frozen, idle = (Parameter(np.ones(2)) for _ in range(3))
    optimizer = optim.SGD([p, frozen, idle], lr=0.5, momentum=0.5)
    frozen.requires_grad, frozen.grad = False, np.ones(2)
    p.grad = np.ones(2)
    optimizer.step()
    np.testing.assert_array_equal(p.data, [0.5, 0.5])
    p.data, p.grad = np.array([10.0, 20.0]), np.array([0.0, 4.0])  # v = 0.5 + (0, 4)
    optimizer.step()
    np.testing.assert_array_equal(p.data, [9.75, 17.75])
    for q in (frozen, idle):
        np.testing.assert_array_equal(q.data, [1.0, 1.0])
    assert set(optimizer.state) == {p}
    p.data, p.grad = p.data.astype(np.float32), p.grad.astype(np.float32)  # as Module.astype does
    optimizer.step()
    assert p.data.dtype == optimizer.state[p]["momentum_buffer"].dtype == np.float32


def test_a_scalar_parameter_stays_an_array():
    p = Parameter(np.array(1.0, np.float32))
    optimizer = optim.Adam([p])
    for _ in range(2):
        p.grad = np.array(2.0, np.float32)
        optimizer.step()
    assert isinstance(p.data, np.ndarray)
    assert (p.data.shape, p.data.dtype) == ((), np.float32)


def test_groups_have_their_own_options():
    a, b, c = (Parameter(np.zeros(1)) for _ in range(3))
    optimizer = optim.SGD([{"params": [a]}, {"params": iter([b]), "lr": 0.1, "weight_decay": 0.5}], lr=1.0)
    optimizer.add_param_group({"params": c, "lr": 10})
    optimizer.param_groups[0]["lr"] = 2.0
    a.grad = b.grad = c.grad = np.ones(1)
    b.data = np.full(1, 4.0)
    optimizer.step()
    assert [p.data[0] for p in (a, b, c)] == [-2.0, 4 - 0.1 * (1 + 0.5 * 4), -10.0]
    saved = optimizer.state_dict()
    assert [g["params"] for g in saved["param_groups"]] == [[0], [1], [2]]
    assert [(g["lr"], g["weight_decay"]) for g in saved["param_groups"]] == [(2.0, 0.0), (0.1, 0.5), (10.0, 0.0)]


def test_a_bad_gradient_changes_nothing():
    good, bad = Parameter(np.zeros(2)), Parameter(np.zeros(3))
    optimizer = optim.Adam([good, bad])
    good.grad, bad.grad = np.ones(2), np.ones(2)
    with pytest.raises(ValueError, match=r"Adam.step: parameter 1: the gradient has shape \(2,\); wanted \(3,\) like"):
        optimizer.step()
    assert (good.data == 0).all()
    assert not optimizer.state
    bad.grad = [1.0, 1.0, 1.0]
    with pytest.raises(
        TypeError, match=r"parameter 1: the gradient is a builtins.list; wanted a numpy.ndarray like the"
    ):
        optimizer.step()
    bad.grad = np.ones(3)
    optimizer.step()
    bad.data = bad.grad = np.ones((1, 3))
    with pytest.raises(
        ValueError, match=r"parameter 1: data of shape \(1, 3\) but exp_avg of \(3,\); was it replaced\?"
    ):
        optimizer.step()


def test_an_optimiser_can_be_pickled_with_its_parameters():
    params = parameters(sequence()[0])
    optimizer = optim.Adam(params)
    for _ in walk(optimizer, params, sequence()[1][:3], np.array):
        pass
    copies, copy = pickle.loads(pickle.dumps((params, optimizer)))
    for p in (*params, *copies):
        p.grad = np.ones(p.data.shape)
    optimizer.step()
    copy.step()
    assert (flat(copies) == flat(params)).all()
