"""The schedules against PyTorch's schedulers and against values worked out by hand."""

import inspect
import pickle

import numpy as np
import pytest

from minicnn import schedules
from minicnn.schedules import cosine, exponential, multi_step, one_cycle, step, warmup

STEPS = 200

TORCH = [  # ours, and torch's as (class, arguments) for a base rate of 0.4
    (step(0.4, 30), "StepLR", {"step_size": 30}),
    (step(0.4, 7, 0.9), "StepLR", {"step_size": 7, "gamma": 0.9}),
    (multi_step(0.4, [1, 60, 150]), "MultiStepLR", {"milestones": [1, 60, 150]}),
    (multi_step(0.4, (5, 6), gamma=0.5), "MultiStepLR", {"milestones": [5, 6], "gamma": 0.5}),
    (exponential(0.4, 0.97), "ExponentialLR", {"gamma": 0.97}),
    (cosine(0.4, STEPS), "CosineAnnealingLR", {"T_max": STEPS}),
    (cosine(0.4, STEPS, min_lr=0.1), "CosineAnnealingLR", {"T_max": STEPS, "eta_min": 0.1}),
    (one_cycle(0.4, STEPS + 1), "OneCycleLR", {"max_lr": 0.4, "total_steps": STEPS + 1}),
    (
        one_cycle(0.4, STEPS + 1, 0.45, 10.0, 100.0),
        "OneCycleLR",
        {"max_lr": 0.4, "total_steps": STEPS + 1, "pct_start": 0.45, "div_factor": 10.0, "final_div_factor": 100.0},
    ),
    (one_cycle(0.4, STEPS + 1, 0.0), "OneCycleLR", {"max_lr": 0.4, "total_steps": STEPS + 1, "pct_start": 0.0}),
    (one_cycle(0.4, STEPS + 1, 1.0), "OneCycleLR", {"max_lr": 0.4, "total_steps": STEPS + 1, "pct_start": 1.0}),
    (warmup(0.4, 20), "LinearLR", {"total_iters": 20}),
    (warmup(0.4, 20, 0.01), "LinearLR", {"total_iters": 20, "start_factor": 0.01}),
]
EVERY = [schedule for schedule, _, _ in TORCH] + [warmup(cosine(0.4, 50), 10)]


def torch_rates(name, options, after=None):
    """The rates of torch's scheduler at steps 0..STEPS, or of a warm-up and then `after`."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    if after is not None:
        then = getattr(torch.optim.lr_scheduler, after[0])(optimizer, **after[1])
        both, milestones = [scheduler, then], [options["total_iters"]]
        scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, both, milestones)
    rates = []
    for _ in range(STEPS + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) <= STEPS:
            scheduler.step()
    return rates


@pytest.mark.torch
@pytest.mark.parametrize(("schedule", "name", "options"), TORCH, ids=[repr(row[0]) for row in TORCH])
def test_every_step_is_torchs(schedule, name, options):
    np.testing.assert_allclose([schedule(i) for i in range(STEPS + 1)], torch_rates(name, options), rtol=1e-9)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("schedule", "after"),
    [
        (cosine(0.4, STEPS - 30), ("CosineAnnealingLR", {"T_max": STEPS - 30})),
        (step(0.4, 40), ("StepLR", {"step_size": 40})),
    ],
    ids=repr,
)
def test_a_warm_up_before_a_schedule_is_torchs(schedule, after):
    want = torch_rates("LinearLR", {"start_factor": 0.1, "total_iters": 30}, after)
    got = [warmup(schedule, 30, start_factor=0.1)(i) for i in range(STEPS + 1)]
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("schedule", "want"),
    [
        (step(1, 2, 0.5), {0: 1, 1: 1, 2: 0.5, 3: 0.5, 4: 0.25, 40: 0.5**20}),
        (multi_step(1, [2, 3]), {1: 1, 2: 0.1, 3: 0.01, 1000: 0.01}),
        (exponential(2, 0.5), {0: 2, 1: 1, 4: 0.125}),
        (cosine(1, 4), {0: 1, 1: 0.5 + 0.125**0.5, 2: 0.5, 4: 0, 5: 0, 9999: 0}),
        (cosine(1, 4, 0.5), {0: 1, 2: 0.75, 4: 0.5, 8: 0.5}),
        (one_cycle(1, 11, 3 / 11, 4, 10), {0: 0.25, 1: 0.625, 2: 1, 6: 0.5125, 10: 0.025, 11: 0.025, 99: 0.025}),
        (one_cycle(1, 2, 0.5), {0: 1, 1: 1 / 25e4, 2: 1 / 25e4}),  # torch divides by 0 here
        (one_cycle(1, 1), {0: 1 / 25e4, 1: 1 / 25e4}),
        (warmup(1, 4, 0.2), {0: 0.2, 1: 0.4, 2: 0.6, 3: 0.8, 4: 1, 5: 1}),
        (warmup(1, 0), {0: 1}),
        (warmup(cosine(1, 4), 2, 0.5), {0: 0.5, 1: 0.75, 2: 1, 4: 0.5, 6: 0, 7: 0}),
        (warmup(lambda i: 3.0 - i, 2, 0.5), {0: 1.5, 1: 2.25, 2: 3, 3: 2}),
    ],
    ids=repr,
)
def test_by_hand(schedule, want):
    np.testing.assert_allclose([schedule(i) for i in want], list(want.values()), rtol=1e-12, atol=1e-15)


def test_the_defaults():
    def defaults(schedule):
        return {k: p.default for k, p in inspect.signature(schedule).parameters.items() if p.default is not p.empty}

    assert {name: defaults(getattr(schedules, name)) for name in ("step", "multi_step", "cosine", "warmup")} == {
        "step": {"gamma": 0.1},
        "multi_step": {"gamma": 0.1},
        "cosine": {"min_lr": 0.0},
        "warmup": {"start_factor": 1 / 3},
    }
    assert defaults(one_cycle) == {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4}


@pytest.mark.parametrize("schedule", EVERY, ids=repr)
def test_a_schedule_prints_as_its_call_and_can_be_pickled(schedule):
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule == eval(repr(schedule), vars(schedules))
    assert [again(i) for i in range(5)] == [schedule(i) for i in range(5)]


def test_the_printed_form():
    assert repr(warmup(cosine(np.float32(0.5), np.int64(50)), 10, 0.25)) == (
        "warmup(schedule=cosine(lr=0.5, total_steps=50, min_lr=0.0), warmup_steps=10, start_factor=0.25)"
    )


@pytest.mark.parametrize("schedule", EVERY, ids=repr)
def test_a_rate_is_a_python_float_and_a_step_an_integer(schedule):
    assert type(schedule(np.int32(3))) is float
    with pytest.raises(TypeError, match=r"schedule: step is 1\.0; wanted an integer"):
        schedule(1.0)
    with pytest.raises(ValueError, match=r"schedule: step is -1; wanted 0 or more"):
        schedule(-1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: step(-1, 5), ValueError, r"step: lr is -1; wanted a finite number, 0 or more"),
        (lambda: step("a", 5), TypeError, r"step: lr is 'a'; wanted a finite number, 0 or more"),
        (lambda: step(1, 0), ValueError, r"step: step_size is 0; wanted an integer, 1 or more"),
        (lambda: step(1, 2.5), TypeError, r"step: step_size is 2.5; wanted an integer, 1 or more"),
        (lambda: step(1, 5, 0), ValueError, r"step: gamma is 0; wanted a finite number above 0"),
        (lambda: multi_step(1, [5, 5]), ValueError, r"multi_step: milestones is \[5, 5\]; wanted increasing integers"),
        (lambda: multi_step(1, [0, 5]), ValueError, r"multi_step: milestones is \[0, 5\]; wanted increasing integers"),
        (lambda: multi_step(1, [1.5]), TypeError, r"multi_step: milestones is \[1.5\]; wanted a sequence of integers"),
        (lambda: multi_step(1, 30), TypeError, r"multi_step: milestones is 30; wanted a sequence of integers"),
        (lambda: exponential(1, -0.5), ValueError, r"exponential: gamma is -0.5; wanted a finite number above 0"),
        (lambda: cosine(float("nan"), 5), ValueError, r"cosine: lr is nan; wanted a finite number"),
        (lambda: cosine(1, 0), ValueError, r"cosine: total_steps is 0; wanted an integer, 1 or more"),
        (lambda: cosine(1, 5, 2), ValueError, r"cosine: min_lr is 2.0; wanted at most lr, which is 1.0"),
        (lambda: one_cycle(1, 5, 1.5), ValueError, r"one_cycle: pct_start is 1.5; wanted a number in \[0, 1\]"),
        (lambda: one_cycle(1, 5, 0.3, 0), ValueError, r"one_cycle: div_factor is 0; wanted a finite number above 0"),
        (lambda: one_cycle(1, 5, 0.3, 25, 0), ValueError, r"one_cycle: final_div_factor is 0; wanted"),
        (lambda: warmup(None, 5), TypeError, r"warmup: schedule is None; wanted a finite number, 0 or more"),
        (lambda: warmup(1, -1), ValueError, r"warmup: warmup_steps is -1; wanted an integer, 0 or more"),
        (lambda: warmup(1, True), TypeError, r"warmup: warmup_steps is True; wanted an integer, 0 or more"),
        (lambda: warmup(1, 5, 0), ValueError, r"warmup: start_factor is 0; wanted a number in \(0, 1\]"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
