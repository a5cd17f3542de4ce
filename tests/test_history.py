"""The table of epochs: its columns, its best row, and CSV that gives the same bits back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.train import History
from minicnn.train.history import canonical, larger_is_better

NAN = math.nan
ROWS = [
    {"epoch": 1, "lr": 0.1, "train_loss": 2.0, "valid_loss": 1.5, "valid_accuracy": 0.25},
    {"epoch": 2, "lr": 0.1, "train_loss": 1.0, "valid_loss": 1.25, "valid_accuracy": 0.5},
    {"epoch": 3, "lr": 0.05, "train_loss": 0.5, "valid_loss": 1.25, "valid_accuracy": 0.5},
]
TEXT = """\
epoch,lr,train_loss,valid_loss,valid_accuracy
1,0.1,2.0,1.5,0.25
2,0.1,1.0,1.25,0.5
3,0.05,0.5,1.25,0.5
"""


def test_rows_and_columns():
    history = History(ROWS)
    assert history["train_loss"] == [2.0, 1.0, 0.5]
    assert history.columns == ["epoch", "lr", "train_loss", "valid_loss", "valid_accuracy"]
    assert history.history == {name: [row[name] for row in ROWS] for name in history.columns}
    assert (len(history), list(history)) == (3, ROWS)
    assert repr(history) == "History(3 epochs; last: lr=0.05, train_loss=0.5, valid_loss=1.25, valid_accuracy=0.5)"


def test_without_epochs():
    history = History()
    assert (len(history), history.columns, history.history, repr(history)) == (0, [], {}, "History(0 epochs)")


@pytest.mark.parametrize(
    ("keras", "ours"),
    [
        ("val_loss", "valid_loss"),
        ("val_accuracy", "valid_accuracy"),
        ("val_f1_macro", "valid_f1_macro"),
        ("loss", "train_loss"),
        ("accuracy", "train_accuracy"),
        ("valid_loss", "valid_loss"),
        ("lr", "lr"),
    ],
)
def test_keras_names(keras, ours):
    assert canonical(keras) == ours
    assert History([{ours: 3.0}])[keras] == [3.0]


def test_an_epoch_without_a_quantity_has_nan_there():
    column = History([{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0, "valid_loss": 1.5}])["val_loss"]
    assert math.isnan(column[0])
    assert column[1] == 1.5


def test_an_unknown_quantity_is_told_with_those_there_are():
    with pytest.raises(
        KeyError, match=r"history has no 'valid_f1'; it has epoch, lr, train_loss, valid_loss, valid_acc"
    ):
        History(ROWS)["val_f1"]


@pytest.mark.parametrize(
    ("name", "mode", "larger"),
    [
        ("valid_loss", "auto", False),
        ("valid_accuracy", "auto", True),
        ("valid_f1_macro", "auto", True),
        ("valid_expected_calibration_error", "auto", False),
        ("valid_loss", "max", True),
        ("valid_accuracy", "min", False),
    ],
)
def test_which_way_is_better(name, mode, larger):
    assert larger_is_better(name, mode) is larger


@pytest.mark.parametrize(
    ("name", "mode", "values", "epoch"),
    [
        ("valid_loss", "auto", [3.0, 1.0, 2.0], 2),
        ("val_loss", "auto", [1.0, 1.0, 1.0], 1),
        ("valid_accuracy", "auto", [0.1, 0.3, 0.3], 2),
        ("valid_accuracy", "min", [0.2, 0.3, 0.1], 3),
        ("valid_loss", "max", [0.2, 0.3, 0.1], 2),
        ("valid_loss", "auto", [NAN, 2.0, NAN], 2),
        ("valid_accuracy", "auto", [NAN, 0.0, NAN], 2),
        ("valid_loss", "auto", [math.inf, NAN, math.inf], 1),
        ("valid_accuracy", "auto", [-1.0, -2.0, NAN], 1),
    ],
)
def test_the_best_row_is_the_first_of_equals_and_no_nan(name, mode, values, epoch):
    rows = [{"epoch": k + 1, canonical(name): v} for k, v in enumerate(values)]
    assert History(rows).best(name, mode) is rows[epoch - 1]


@pytest.mark.parametrize("rows", [[], [{"epoch": 1, "valid_loss": NAN}], [{"epoch": 1, "train_loss": 1.0}]])
def test_no_best_row(rows):
    with pytest.raises(ValueError, match=r"history: no epoch has a number for 'valid_loss'"):
        History(rows).best("val_loss")


def test_an_unknown_mode():
    with pytest.raises(ValueError, match=r'mode \'most\', wanted "auto", "max" or "min"'):
        History(ROWS).best("valid_loss", "most")


def test_csv_is_this_text():
    assert History(ROWS).to_csv() == TEXT
    assert History.from_csv(TEXT).rows == ROWS


NAMES = st.lists(st.sampled_from(["lr", "train_loss", "valid_loss", "valid_accuracy", "a, b", 'say "x"']), unique=True)


@given(names=NAMES, data=st.data())
def test_csv_gives_the_same_bits_back(names, data):
    rows = [
        {"epoch": k + 1} | {n: data.draw(st.floats()) for n in names if data.draw(st.booleans())}
        for k in range(data.draw(st.integers(0, 4)))
    ]
    back = History.from_csv(History(rows).to_csv())
    assert repr(back.rows) == repr([{n: row[n] for n in History(rows).columns if n in row} for row in rows])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch,lr\n1,0.1\n2,fast\n", r"history, line 3: could not convert string to float: 'fast'"),
        ("epoch,lr\n1.5,0.1\n", r"history, line 2: invalid literal for int"),
        ("epoch,lr\n1,0.1,7\n", r"history, line 2: "),
    ],
)
def test_csv_that_is_no_history(text, message):
    with pytest.raises(ValueError, match=message):
        History.from_csv(text)
