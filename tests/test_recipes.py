"""Recipes: what they may say, what they make, and `minicnn train --recipe`."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import QUICK, call, contents, refused

from minicnn import data, models, optim, recipes, schedules, train
from minicnn.data import augment
from minicnn.recipes import parse

TINY = """
about = "everything at once, small"
epochs = 3
batch_size = 12
label_smoothing = 0.1
ema = 0.9
tta = "flip"
seeds = [4]

[model]
name = "leaky_bn_cnn"

[optimizer]
name = "sgd"
lr = 0.02
momentum = 0.9
nesterov = true

[schedule]
name = "cosine"
warmup_epochs = 1

[augment]
RandomHorizontalFlip = { p = 0.3 }

[early_stopping]
monitor = "valid_loss"
patience = 2
"""
REPORTS = {"leaky_bn_cnn", "three_conv", "simple_cnn", "densenet201_fer", "prelu_dnn", "zero_pad_cnn", "deep_dnn"}
PRELU = {f"prelu_cnn_{rest}" for rest in ("adam", "adadelta", "adam_course", "adadelta_course")}
STRONG = {"vgg_fer", "resnet18_fer", "mini_xception"}


def test_there_is_a_recipe_for_every_network():
    assert set(recipes.names()) == REPORTS | PRELU | STRONG
    assert {recipes.read(name).model["name"] for name in recipes.names()} == set(models.names())


@pytest.mark.parametrize("name", [*sorted(REPORTS | PRELU), *sorted(STRONG)])
def test_a_recipe_makes_a_training(name):
    recipe, faces = recipes.read(name), data.synthetic_faces(10, seed=0)
    assert recipe.name == name
    assert recipe.about
    assert recipes.text(name).count("\n") < 40
    loader = recipe.loader(faces, seed=1)
    x, _ = next(iter(loader))
    assert x.shape == (10, 48, 48, 1)
    assert len(recipe.build_callbacks()) == bool(recipe.early_stopping) + bool(recipe.ema)
    optimizer = recipe.build_optimizer(models.deep_dnn(width=0.01, rng=0).parameters())
    assert optimizer.param_groups[0]["lr"] == recipe.optimizer["lr"]
    assert (recipe.build_schedule(0.1, 100) is None) == (recipe.schedule["name"] == "none")


@pytest.mark.parametrize("name", sorted(STRONG))
def test_the_strong_recipe(name):
    recipe = recipes.read(name)
    assert (recipe.label_smoothing, recipe.tta, recipe.optimizer["nesterov"]) == (0.1, "ten-crop", True)
    assert repr(recipe.build_augment()) == repr(augment.strong())
    rate = recipe.build_schedule(0.02, 10)
    assert rate == schedules.warmup(schedules.cosine(0.02, 10 * recipe.epochs - 20), 20)


def test_the_course_augmentation_is_that_of_its_name():
    assert repr(recipes.read("prelu_cnn_adam_course").build_augment()) == repr(augment.course())


def test_everything_in_a_file_reaches_the_training(tmp_path):
    (tmp_path / "mine.toml").write_text(TINY)
    recipe = recipes.read(tmp_path / "mine.toml")
    assert (recipe.name, recipe.epochs, recipe.seeds) == ("mine", 3, (4,))
    faces = data.synthetic_faces(20, seed=0)
    trainer = recipe.trainer(faces, seed=4, model=models.leaky_bn_cnn(width=0.1, rng=4))
    assert trainer.loss.options["label_smoothing"] == 0.1
    assert type(trainer.optimizer) is optim.SGD
    group = trainer.optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"]) == (0.02, 0.9, True)
    assert trainer.schedule == schedules.warmup(schedules.cosine(0.02, 4), 2)  # 3 epochs of 2 batches
    assert [type(c) for c in trainer.callbacks] == [train.EarlyStopping, train.AveragedWeights]
    assert trainer.callbacks[0].patience == 2
    assert trainer.callbacks[1].decay == 0.9
    loader = recipe.loader(faces, seed=4)
    assert (loader.batch_size, loader.seed, loader.shuffle, loader.augment.transforms[0].p) == (12, 4, True, 0.3)


def test_an_empty_recipe_is_the_plain_training():
    assert parse("", "x") == replace(recipes.Recipe(), name="x")


WRONG = [
    ("epoch = 3", "recipe mine: 'epoch' is not known; did you mean 'epochs'? There are: about, epochs, "),
    ("zzz = 3", "recipe mine: 'zzz' is not known. There are: about, "),
    ("momentum = 0.9", "recipe mine: 'momentum' is not known; it belongs in [optimizer]. There are: "),
    ("patience = 3", "recipe mine: 'patience' is not known; it belongs in [early_stopping]. There are: "),
    ("epochs = 0", "recipe mine: epochs is 0, wanted a whole number, 1 or more"),
    ("epochs = 1.5", "recipe mine: epochs is 1.5, wanted a whole number, 1 or more"),
    ("epochs = true", "recipe mine: epochs is True, wanted a whole number, 1 or more"),
    ('batch_size = "64"', "recipe mine: batch_size is '64', wanted a whole number, 1 or more"),
    ("label_smoothing = 1.0", "recipe mine: label_smoothing is 1.0, wanted a number in [0, 1)"),
    ("ema = nan", "recipe mine: ema is nan, wanted a number in [0, 1)"),
    ('tta = "crop"', "recipe mine: tta is 'crop', wanted one of none, flip, ten-crop"),
    ("drop_duplicates = 1", "recipe mine: drop_duplicates is 1, wanted true or false"),
    ("seeds = []", "recipe mine: seeds is [], wanted a list of different whole numbers, 0 or more, at least one"),
    ("seeds = [1, 1]", "recipe mine: seeds is [1, 1], wanted a list of different whole numbers"),
    ("about = 3", "recipe mine: about is 3, wanted text in quotes"),
    ("epochs = ", "recipe mine: not TOML: Invalid value (at "),
    ('model = "vgg_fer"', "recipe mine, [model]: came 'vgg_fer', wanted a table"),
    ("[model]", "recipe mine, [model]: name is missing, wanted one of three_conv, "),
    ("[model]\nname = 3", "recipe mine, [model]: name is 3, wanted one of three_conv, "),
    ('[model]\nname = "vgg"', "recipe mine, [model]: 'vgg' is not known; did you mean 'vgg_fer'? There are: three_"),
    (
        '[model]\nname = "simple_cnn"\nwidht = 2',
        "recipe mine, [model]: 'widht' is not known; did you mean 'width'? There is: width",
    ),
    ('[model]\nname = "simple_cnn"\nwidth = "2"', "recipe mine, [model]: width is '2', wanted a finite number"),
    ('[model]\nname = "simple_cnn"\nrng = 2', "recipe mine, [model]: 'rng' is not known"),
    ('[optimizer]\nname = "SGD"', "recipe mine, [optimizer]: 'SGD' is not known; did you mean 'sgd'? There are: "),
    (
        '[optimizer]\nname = "sgd"\nmomentun = 1',
        "recipe mine, [optimizer]: 'momentun' is not known; did you mean 'momentum'? There are: lr, momentum, ",
    ),
    ('[optimizer]\nname = "sgd"\nlr = "fast"', "recipe mine, [optimizer]: lr is 'fast', wanted a finite number"),
    ('[optimizer]\nname = "sgd"\nnesterov = 1', "recipe mine, [optimizer]: nesterov is 1, wanted true or false"),
    ('[optimizer]\nname = "sgd"\nlr = -1', "recipe mine, [optimizer]: SGD: lr is -1; wanted a finite number, 0 or"),
    ('[optimizer]\nname = "adam"\nbetas = [1, 2]', "recipe mine, [optimizer]: Adam: betas"),
    ('[optimizer]\nname = "adam"\nepochs = 2', "recipe mine, [optimizer]: 'epochs' is not known; it belongs at the t"),
    ('[schedule]\nname = "cos"', "recipe mine, [schedule]: 'cos' is not known; did you mean 'cosine'? There are: "),
    ('[schedule]\nname = "cosine"\nlr = 1', "recipe mine, [schedule]: 'lr' is not known; it belongs in [optimizer]."),
    (
        '[schedule]\nname = "cosine"\nwarmup_epochs = -1',
        "recipe mine, [schedule]: warmup_epochs is -1, wanted a finite number, 0 or more",
    ),
    ('[schedule]\nname = "cosine"\nmin_lr = 2', "recipe mine, [schedule]: cosine: min_lr is 2.0; wanted at most lr"),
    ('[schedule]\nname = "plateau"\nfactor = 2', "recipe mine, [schedule]: ReduceLROnPlateau: factor is 2, wanted "),
    ('[schedule]\nname = "plateau"\nwarmup_epochs = 2', "recipe mine, [schedule]: 'warmup_epochs' is not known. There"),
    ('augment = "flipp"', "recipe mine, [augment]: 'flipp' is not known; did you mean 'flip'? There are: none, flip,"),
    ("augment = 3", "recipe mine, [augment]: came 3, wanted a table, or one of none, flip, "),
    (
        "[augment]\nRandomRotate = {}",
        "recipe mine, [augment]: 'RandomRotate' is not known; did you mean 'RandomRotation'? There are: ",
    ),
    ("[augment]\nRandomErasing = 0.5", "recipe mine, [augment]: RandomErasing is 0.5, wanted its options in braces"),
    (
        "[augment]\nRandomHorizontalFlip = { q = 0.5 }",
        "recipe mine, [augment], RandomHorizontalFlip: 'q' is not known. There is: p",
    ),
    (
        "[augment]\nRandomHorizontalFlip = { p = 2 }",
        "recipe mine, [augment], RandomHorizontalFlip: RandomHorizontalFlip: p is 2, wanted a number from 0 to 1",
    ),
    ("[augment]\nRandomShift = {}", "recipe mine, [augment], RandomShift: RandomShift.__init__() missing 1 required"),
    ("[early_stopping]", "recipe mine, [early_stopping]: patience is missing, wanted a whole number, 1 or more"),
    ("[early_stopping]\npatience = 0", "recipe mine, [early_stopping]: patience is 0, wanted a whole number, 1 or"),
    (
        '[early_stopping]\nmonitor = "val_loss"\npatience = 2',
        "recipe mine, [early_stopping]: monitor is 'val_loss', wanted one of train_loss, train_accuracy, valid_loss, ",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_does_not_fit_is_told(text, message):
    with pytest.raises(ValueError, match=r"^recipe mine") as told:
        parse(text, "mine")
    assert message in str(told.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --recipe vgg", "no recipe is named 'vgg', and no file; did you mean vgg_fer? There are: deep_dnn, "),
        ("train --recipe zzz", "no recipe is named 'zzz', and no file. There are: deep_dnn, "),
        ("train --recipe bytes", "bytes: not a recipe: it is no text ("),
        (
            "train --recipe wrong.toml",
            "recipe wrong, [optimizer]: 'lrr' is not known; did you mean 'lr'? There are: lr,",
        ),
        ("train --recipe leaky_bn_cnn --epochs 0", "--epochs is 0, wanted at least 1"),
        ("train --seeds 1 1", "--seeds is 1 1, wanted different numbers of at least 0"),
        ("train --seeds -1", "--seeds is -1, wanted different numbers of at least 0"),
        ("train --seeds 1 --seed 2", "--seed and --seeds were both given, wanted one of them"),
        ("recipes leaky_cnn", "no recipe is named 'leaky_cnn', and no file; did you mean leaky_bn_cnn? There are: "),
    ],
)
def test_the_commands_refuse(words, message, place, capsys):
    (place / "bytes").write_bytes(b"\xff\xfe")
    (place / "wrong.toml").write_text('[optimizer]\nname = "sgd"\nlrr = 2\n')
    assert message in refused(capsys, *words.split())


def test_the_list_of_recipes_and_one_of_them(capsys):
    lines = call(capsys, "recipes")[0].splitlines()
    assert [line.split()[0] for line in lines] == recipes.names()
    assert all(len(line.split()) > 5 for line in lines)
    assert parse(call(capsys, "recipes", "vgg_fer")[0], "vgg_fer") == recipes.read("vgg_fer")


@pytest.fixture
def tiny(place):
    (place / "tiny.toml").write_text(TINY)
    return "train", "--recipe", "tiny.toml", "--data", "faces.csv"


@pytest.mark.usefixtures("small")
def test_a_run_holds_its_recipe_and_options_override_it(tiny, capsys):
    said, _ = call(capsys, *tiny)
    config = json.loads(Path("runs/tiny/config.json").read_text())
    wanted = {
        "recipe": "tiny",
        "epochs": 3,
        "lr": 0.02,
        "optimizer": "sgd",
        "optimizer_options": {"momentum": 0.9, "nesterov": True},
        "schedule": "cosine",
        "schedule_options": {"warmup_epochs": 1},
        "augment": {"RandomHorizontalFlip": {"p": 0.3}},
        "early_stopping": {"monitor": "valid_loss", "patience": 2},
        "label_smoothing": 0.1,
        "ema": 0.9,
        "tta": "flip",
        "seed": 4,
    }
    assert {name: config[name] for name in wanted} == wanted
    found = json.loads(Path("runs/tiny/metrics.json").read_text())
    assert found["tta"]["way"] == "flip"
    assert f"with test-time augmentation (flip) {found['tta']['accuracy']:.4f}" in said
    told = json.loads(call(capsys, "evaluate", "runs/tiny", "--data", "faces.csv", "--tta", "flip", "--json")[0])
    assert (told["accuracy"], told["tta"], told["interval"]) == (
        found["tta"]["accuracy"],
        "flip",
        found["tta"]["interval"],
    )
    words = "--optimizer adam --lr 0.1 --augment none --schedule none --seed 1 --epochs 1 --batch-size 8 --out other"
    call(capsys, *tiny, *words.split())
    config = json.loads(Path("other/config.json").read_text())
    assert not {"optimizer_options", "schedule_options"} & config.keys()
    changed = {"optimizer": "adam", "lr": 0.1, "augment": "none", "schedule": "none", "seed": 1, "epochs": 1}
    assert {name: config[name] for name in changed} == changed
    assert config["ema"] == 0.9
    line = refused(capsys, *tiny[:1], *tiny[3:], *words.split(), "--resume")
    assert "ema was 0.9, is None" in line


def interrupt_at(monkeypatch, step):
    """Ctrl-C in the middle of this step; once."""
    import os
    import signal

    right, calls = train.Trainer.train_step, []

    def pressed(self, x, y):
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return right(self, x, y)

    monkeypatch.setattr(train.Trainer, "train_step", pressed)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("step", [1, 2, 3, 4, 6])  # two steps an epoch: also the last of one, with the average in place
def test_interrupted_and_resumed_is_as_undisturbed(step, tiny, monkeypatch, capsys):
    call(capsys, *tiny, "--out", "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        call(capsys, *tiny, "--out", "parts", code=130)
    call(capsys, *tiny, "--out", "parts", "--resume")
    assert contents("parts") == contents("whole")


@pytest.mark.usefixtures("small")
def test_several_seeds(place, capsys):
    words = ("train", "--data", "faces.csv", "--epochs", "1", "--batch-size", "12", "--out", "run")
    said, _ = call(capsys, *words, "--seeds", "3", "5")
    found = json.loads(Path("run/results.json").read_text())
    single = [json.loads(Path(f"run/seed{seed}/metrics.json").read_text()) for seed in (3, 5)]
    assert [run["seed"] for run in found["runs"]] == [3, 5]
    for run, alone in zip(found["runs"], single, strict=True):
        assert {k: run[k] for k in ("epoch", "accuracy", "interval", "n", "split")} == {
            k: alone[k] for k in ("epoch", "accuracy", "interval", "n", "split")
        }
    assert found["mean"] == pytest.approx(np.mean([alone["accuracy"] for alone in single]))
    assert found["spread"] == pytest.approx(np.std([alone["accuracy"] for alone in single], ddof=1))
    table = Path("run/results.md").read_text()
    assert table in said
    assert f"| 3 | 1 | {single[0]['accuracy']:.4f} | " in table
    assert "Measured on PublicTest, n = 6, " in table
    assert refused(capsys, *words, "--seeds", "3", "5") == (
        "minicnn train: run/seed3 holds a run; choose another --out, or --resume to go on with it\n"
    )
    before = {seed: contents(f"run/seed{seed}") for seed in (3, 5)}
    call(capsys, *words, "--seeds", "3", "5", "--resume")
    assert {seed: contents(f"run/seed{seed}") for seed in (3, 5)} == before
    call(capsys, "train", "--data", "faces.csv", *QUICK[:-1], "one", "--epochs", "1", "--seed", "5")
    assert contents("one") == before[5]


def test_the_table_of_results():
    run = {"seed": 0, "epoch": 7, "accuracy": 0.5, "interval": [0.4, 0.6], "n": 1000, "split": "PublicTest"}
    alone = recipes.summary([run])
    assert (alone["mean"], alone["spread"]) == (0.5, None)
    assert "| mean |  | 0.5000 |  |" in recipes.markdown("x", alone)
    both = recipes.summary([run, run | {"seed": 1, "accuracy": 0.6, "tta": {"way": "flip", "accuracy": 0.65}}])
    assert both["spread"] == pytest.approx(0.1 / 2**0.5)
    lines = recipes.markdown("x", both).splitlines()
    assert lines[0] == "# x"
    assert lines[2] == "| seed | best epoch | accuracy | 95 % interval | with flip |"
    assert lines[4:7] == [
        "| 0 | 7 | 0.5000 | 0.4000 to 0.6000 |  |",
        "| 1 | 7 | 0.6000 | 0.4000 to 0.6000 | 0.6500 |",
        "| mean ± standard deviation |  | 0.5500 ± 0.0707 |  |  |",
    ]
    with pytest.raises(ValueError, match="summary: got no run; wanted one or more"):
        recipes.summary([])


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ('name = "none"', None),
        ('name = "none"\nwarmup_epochs = 0.5', schedules.warmup(0.1, 5)),
        ('name = "cosine"\nmin_lr = 0.01', schedules.cosine(0.1, 30, min_lr=0.01)),
        ('name = "one_cycle"\npct_start = 0.4', schedules.one_cycle(0.1, 30, pct_start=0.4)),
        ('name = "plateau"\npatience = 5', None),
    ],
)
def test_a_schedule_is_that_of_the_library(section, wanted):
    recipe = parse(f"epochs = 3\n[schedule]\n{section}", "x")
    assert recipe.build_schedule(0.1, 10) == wanted
    plateau = [(c.factor, c.patience) for c in recipe.build_callbacks()]
    assert plateau == ([(0.5, 5)] if "plateau" in section else [])
