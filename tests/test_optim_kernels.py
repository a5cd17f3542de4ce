"""One launch for all parameters: the same numbers as the definitions, and nothing of the user's written into."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_optim_golden import CASES, name_of

from minicnn import backend, optim, threads, using
from minicnn.nn.parameter import Parameter
from minicnn.optim import together, update_numba

every_case = pytest.mark.parametrize("case", CASES, ids=name_of)
SHAPES = [(3, 3, 5, 7), (1,), (), (70, 33), (16,), (15,), (0, 3), (3_000,)]


def make(case, params):
    return getattr(optim, case[0])(params, **case[1])


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    return [Parameter(rng.normal(size=shape).astype("float32")) for shape in SHAPES]


def steps(optimizer, params, n, seed=1, without=3):
    """n steps, in one of which a parameter has no gradient, and in the middle of which the rate is halved."""
    rng = np.random.default_rng(seed)
    for t in range(n):
        for i, p in enumerate(params):
            grad = rng.normal(size=p.data.shape).astype("float32")
            p.grad = None if (t, i) == (without, 3) else grad
        if t == n // 2:
            optimizer.param_groups[0]["lr"] /= 2
        optimizer.step()


def launches(monkeypatch):
    """The number of elements of every launch from now on."""
    seen, launch = [], update_numba.update_all
    monkeypatch.setattr(update_numba, "update_all", lambda *args: (seen.append(int(args[2][-1])), launch(*args)))
    return seen


def assert_close(got, want, tolerance=1e-6):
    """Lists of arrays: the largest difference over the largest entry."""
    got, want = (np.concatenate([np.ravel(a) for a in arrays]) for arrays in (got, want))
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


def data_of(params):
    return [p.data for p in params]


class Subclass(np.ndarray):
    pass


@every_case
def test_thirty_steps_equal_the_definition(case, monkeypatch):
    fast, slow = parameters(), parameters()
    seen, results = launches(monkeypatch), []
    for mode, params in (("fast", fast), ("reference", slow)):
        optimizer = make(case, params)
        with using(mode):
            steps(optimizer, params, 30)
        results.append(optimizer.state_dict())
    size = sum(p.data.size for p in fast)
    assert seen == [size] * 3 + [size - fast[3].data.size] + [size] * 26
    assert_close(data_of(fast), data_of(slow))
    for p, q in zip(fast, slow, strict=True):
        assert (p.data.shape, p.data.dtype, type(p.data)) == (q.data.shape, q.data.dtype, np.ndarray)
    got, want = results
    assert got["param_groups"] == want["param_groups"]
    assert got["state"].keys() == want["state"].keys()
    for i, state in want["state"].items():
        assert {k: type(v) for k, v in got["state"][i].items()} == {k: type(v) for k, v in state.items()}
    for name in want["state"][0]:
        assert_close(*([state[name] for state in saved["state"].values()] for saved in (got, want)))


@every_case
def test_one_and_two_threads_give_the_same_bits(case, monkeypatch):
    data = []
    for count in (1, 2, 3):
        monkeypatch.setattr(threads, "count", lambda count=count: count)
        params = parameters()
        steps(make(case, params), params, 5)
        data.append([p.data for p in params])
    for other in data[1:]:
        for a, b in zip(data[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@every_case
def test_mode_and_saved_state_may_change_between_steps(case):
    """The state of a kernel goes on in a definition, of a definition in a kernel, and through state_dict and pickle."""
    straight, params = parameters(), parameters()
    steps(make(case, straight), straight, 12)
    optimizer = make(case, params)
    rng, rates = np.random.default_rng(1), optimizer.param_groups
    for t in range(12):
        if t == 5:
            saved = optimizer.state_dict()
            optimizer = make(case, params)
            optimizer.load_state_dict(saved)
        if t == 8:
            params, optimizer = pickle.loads(pickle.dumps((params, optimizer)))
        if t == 10:
            params, optimizer = copy.deepcopy((params, optimizer))
        rates = optimizer.param_groups
        for i, p in enumerate(params):
            grad = rng.normal(size=p.data.shape).astype("float32")
            p.grad = None if (t, i) == (3, 3) else grad
        if t == 6:
            rates[0]["lr"] /= 2
        with using("reference" if t % 3 == 1 else "fast"):
            optimizer.step()
    assert_close(data_of(params), data_of(straight), 3e-6)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=8), st.integers(1, 9))
def test_every_element_is_updated_once_whatever_the_cut(sizes, count):
    params = [Parameter(np.zeros(size, "float32")) for size in sizes]
    optimizer = optim.SGD(params, lr=1.0)
    for p in params:
        p.grad = np.ones(p.data.shape, "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "count", lambda: count)
        optimizer.step()
        optimizer.step()
    assert all((p.data == -2).all() for p in params)


def address(x):
    return x.__array_interface__["data"][0]


def holders():
    return {
        "the array": lambda p: p.data,
        "a view": lambda p: p.data[1:],
        "a view of a view": lambda p: p.data[1:].reshape(-1)[::2],
        "its block": lambda p: p.data.base if p.data.base is not None else p.data,
        "a memoryview": lambda p: memoryview(p.data),
        "another parameter": lambda p: Parameter(p.data),
    }


@pytest.mark.parametrize("size", [100, 5000])  # NumPy's memory, and pooled
@pytest.mark.parametrize("how", holders())
def test_data_that_anybody_holds_are_not_written_into(how, size):
    p = Parameter(np.ones(size, "float32"))
    optimizer = optim.SGD([p], lr=1.0)
    for t in range(3):
        held, before, place = holders()[how](p), p.data.copy(), address(p.data)
        p.grad = np.ones(size, "float32")
        optimizer.step()
        assert address(p.data) != place, f"step {t}"
        array = np.ndarray(size, "float32", getattr(held, "data", held)) if how == "another parameter" else None
        whole = before if array is None else array
        np.testing.assert_array_equal(whole, before)
        if how in ("the array", "a view"):
            np.testing.assert_array_equal(held, before[len(before) - len(held) :])
        del held, array, whole


@pytest.mark.parametrize("size", [100, 5000])
def test_data_that_nobody_holds_are_written_into(size):
    p = Parameter(np.ones(size, "float32"))
    first = address(p.data)
    optimizer = optim.Adam([p])
    places = []
    for _ in range(4):
        p.grad = np.ones(size, "float32")
        optimizer.step()
        places.append(address(p.data))
    assert first not in places, "the array the parameter came with may be the user's"
    assert len(set(places)) == 1
    p.data = p.data.copy()
    mine = p.data
    optimizer.step()
    assert p.data is not mine


def test_gradients_are_never_written_into():
    params = parameters()
    optimizer = optim.Adam(params, weight_decay=0.1, amsgrad=True)
    for p in params:
        p.grad = np.ones(p.data.shape, "float32")
        p.grad.flags.writeable = False
    optimizer.step()
    optimizer.step()
    assert all((p.grad == 1).all() for p in params)


def f_ordered(shape):
    return np.asfortranarray(np.ones(shape, "float32"))


ODD = {
    "float64": lambda s: (np.ones(s), np.ones(s)),
    "a float64 gradient": lambda s: (np.ones(s, "float32"), np.ones(s)),
    "float16": lambda s: (np.ones(s, "float16"), np.ones(s, "float16")),
    "big-endian": lambda s: (np.ones(s, ">f4"), np.ones(s, ">f4")),
    "data in Fortran order": lambda s: (f_ordered(s), np.ones(s, "float32")),
    "a gradient in Fortran order": lambda s: (np.ones(s, "float32"), f_ordered(s)),
    "a strided gradient": lambda s: (np.ones(s, "float32"), np.ones((s[0], 2 * s[1]), "float32")[:, ::2]),
    "a subclass": lambda s: (np.ones(s, "float32").view(Subclass), np.ones(s, "float32")),
}


@pytest.mark.parametrize("what", ODD)
def test_what_the_kernel_does_not_take_the_definition_does(what, monkeypatch):
    data, grad = ODD[what]((3, 4))
    odd, usual = Parameter(data), Parameter(np.ones((3, 4), "float32"))
    optimizer = optim.Adam([odd, usual], lr=0.1)
    seen = launches(monkeypatch)
    for _ in range(2):
        odd.grad, usual.grad = grad, np.ones((3, 4), "float32")
        optimizer.step()
        odd.data = odd.data if what != "data in Fortran order" else np.asfortranarray(odd.data)
    assert seen in ([12, 12], [12, 24]), "only a gradient that fits goes to the kernel"
    np.testing.assert_allclose(np.asarray(odd.data, float), np.asarray(usual.data, float), rtol=2e-3)


def test_an_array_that_the_user_puts_into_the_state_is_examined():
    p = Parameter(np.ones((2, 3), "float32"))
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    for buffer in (np.full((2, 3), 4.0), np.asfortranarray(np.full((2, 3), 4.0, "float32"))):
        p.data, p.grad = np.zeros((2, 3), "float32"), np.ones((2, 3), "float32")
        optimizer.step()
        optimizer.state[p]["momentum_buffer"] = buffer
        p.data, p.grad = np.zeros((2, 3), "float32"), np.ones((2, 3), "float32")
        optimizer.step()
        np.testing.assert_array_equal(p.data, np.full((2, 3), -3.0))  # v = 0.5 * 4 + 1
    optimizer.state[p]["momentum_buffer"] = np.zeros(2, "float32")
    with pytest.raises(ValueError, match=r"momentum_buffer of \(2,\)"):
        optimizer.step()


def test_an_option_that_changes_what_the_state_holds():
    params = parameters(), parameters()
    for mode, group in zip(("fast", "reference"), params, strict=True):
        optimizer = optim.Adam(group)
        with using(mode):
            steps(optimizer, group, 3)
            optimizer.param_groups[0]["amsgrad"] = True
            steps(optimizer, group, 3, seed=2)
            optimizer.param_groups[0]["amsgrad"] = False
            steps(optimizer, group, 3, seed=3)
    assert_close(*map(data_of, params))


def test_a_class_with_an_update_of_its_own_runs_it():
    class Sign(optim.SGD):
        @staticmethod
        def update(data, grad, state, options):
            return data - options["lr"] * np.sign(grad), state

    p = Parameter(np.zeros(3, "float32"))
    p.grad = np.array([5.0, -5.0, 0.0], "float32")
    Sign([p], lr=2.0).step()
    assert p.data.tolist() == [-2.0, 2.0, 0.0]


def test_every_optimiser_has_a_rule():
    classes = [c for c in vars(optim).values() if isinstance(c, type) and issubclass(c, optim.Optimizer)]
    with_update = {c.update for c in classes if c is not optim.Optimizer}
    assert with_update == together.RULES.keys()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@every_case
def test_nan_and_infinity_come_through(case, value):
    results = []
    for mode in ("fast", "reference"):
        params = [Parameter(np.zeros(40, "float32"))]
        optimizer = make(case, params)
        with using(mode), np.errstate(all="ignore"):
            for t in range(2):
                params[0].grad = np.ones(40, "float32")
                params[0].grad[[3, 37]] = value if t == 0 else 1
                optimizer.step()
        results.append(params[0].data)
    np.testing.assert_allclose(*results, rtol=1e-6)
    assert np.isfinite(np.delete(results[0], [3, 37])).all()


def test_averages_equal_their_definition():
    results = []
    for mode in ("fast", "reference"):
        params = parameters(9)
        ema = optim.EMA(params, 0.9)
        kept = ema.averages[3]
        before = kept.copy()
        with using(mode):
            for seed in range(5):
                for p, q in zip(params, parameters(seed), strict=True):
                    p.data = q.data
                ema.update()
        np.testing.assert_array_equal(kept, before)
        results.append(ema.averages)
    assert_close(*results)


def test_memory_does_not_grow():
    params = [Parameter(np.ones(50_000, "float32")) for _ in range(4)]
    optimizer = optim.Adam(params)
    for t in range(10):
        for p in params:
            p.grad = np.ones(50_000, "float32")
        optimizer.step()
        if t == 1:
            held = backend.memory().in_use
    assert backend.memory().in_use <= held
