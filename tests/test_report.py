"""The report of a run: what it says, that it is one sound HTML file, and that no state of the folder stops it."""

import argparse
import re
import shlex

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_runs import CONFIG, METRICS, RIGHT, N, fill, read, rows

from minicnn import metrics, models, report
from minicnn.cli import train
from minicnn.report.markup import Markup
from minicnn.report.page import command


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "best.safetensors"
    models.save(models.build("leaky_bn_cnn", classes=4, input_size=16, width=0.1, rng=0), path)
    return path.read_bytes()


@pytest.fixture
def make(tmp_path, weights):
    """make(config=..., metrics=..., history=...) -> a folder with these parts changed."""
    return lambda name="run", **given: fill(tmp_path / name, weights, **given)


@pytest.fixture(scope="session")
def usual(tmp_path_factory, weights):
    """The page of a run that has everything."""
    return read(fill(tmp_path_factory.mktemp("usual"), weights))


def test_the_finding_comes_first(usual):
    low, high = (f"{100 * v:.1f}" for v in metrics.wilson_interval(RIGHT, N))
    text = usual.text
    assert "leaky_bn_cnn reaches 78.6 % on synthetic" in text
    said = f"Best validation accuracy 78.6 % (95 % interval {low} to {high} %, n = 140 images of PublicTest)"
    assert f"{said} at epoch 3 of 4." in text
    assert "not complete" not in text


@pytest.mark.parametrize(
    "said",
    [
        "At the best epoch the training accuracy is 94.0 %, 15.4 points above the validation accuracy.",
        "The validation loss is lowest at epoch 2 (1.2500) and has risen to 1.9000 by the last one, while the "
        "training loss fell: the model overfits.",
        "Easiest is fear with 100.0 % right, hardest disgust with 50.0 %.",
        "The most frequent mistakes: angry taken for fear (15 of 60), disgust taken for angry (6 of 20), "
        "angry taken for disgust (5 of 60).",
        "Always answering angry would be right for 42.9 %.",
        "audit: 3 images in 1 group of exact copies",
        "Training images that are exact copies of validation images were kept (--drop-duplicates leaves them out).",
        "The best of 4 epochs was chosen on the very images it is measured on",
        "The data have the digest sha256:0123.",
        "Written by minicnn 0.1.0.",
    ],
)
def test_what_stands_out_and_what_to_mind(usual, said):
    assert said in usual.text


def test_an_accuracy_that_was_not_chosen_on_its_images_carries_no_warning(make):
    assert "very images" not in read(make(metrics=METRICS | {"accuracy": 0.75, "confusion": None})).text


def test_a_loss_that_rises_with_the_training_loss_is_not_called_overfitting(make):
    history = rows()
    history[-1]["train_loss"] = 5.0
    text = read(make(history=history)).text
    assert "has risen to 1.9000 by the last one." in text
    assert "overfits" not in text


def test_the_tables(usual):
    lines = [[cell.replace("\u00a0", " ") for cell in line] for line in usual.cells]
    low, high = (f"{100 * v:.1f}" for v in metrics.wilson_interval(40, 60))
    assert ["angry", "60", "66.7 %", f"{low} to {high} %", "", "fear (15, 25.0 %)"] in lines
    low, high = (f"{100 * v:.1f}" for v in metrics.wilson_interval(60, 60))
    assert ["fear", "60", "100.0 %", f"{low} to {high} %", "", "none"] in lines
    assert ["happy", "0", "–", "–", "", "–"] in lines
    assert ["3", "0.001", "0.6000", "0.9400", "1.3000", "0.7857"] in lines
    assert [lines[k][0] for k, line in enumerate(usual.every("tr")) if line.get("class") == "best"] == ["3"]
    assert ["data.training", "5600"] in lines
    assert ["input_shape", "16, 16, 1"] in lines
    assert ["drop_duplicates", "false"] in lines
    summary = models.build("leaky_bn_cnn", classes=4, input_size=16, width=0.1).summary((16, 16, 1))
    assert ["total", "", "", f"{summary.total_params:,}", f"{summary.total_multiply_adds:,}"] in lines
    start = lines.index(["path", "layer", "output shape", "parameters", "multiply-adds"])
    for row, line in zip(summary.rows, lines[start + 1 :], strict=False):
        shape = " × ".join(map(str, row.output_shape))
        assert line[:1] + line[2:] == [row.path, shape, f"{row.params:,}", f"{row.multiply_adds:,}"]
        assert line[1].startswith(row.layer.partition("(")[0])


def test_pictures_carry_their_finding_for_those_who_do_not_see_them(usual):
    history, confusion = (image["alt"] for image in usual.every("img"))
    assert "validation accuracy is highest at epoch 3 with 0.7857" in history
    assert "validation loss is lowest at epoch 2 with 1.2500" in history
    assert "110 of 140 images are on its diagonal" in confusion
    assert "angry taken for fear (15 of 60)" in confusion


def test_wide_and_narrow_screens_get_their_own_pictures(usual):
    assert len(usual.every("img")) == len(usual.every("source")) == 2
    for image, source in zip(usual.every("img"), usual.every("source"), strict=True):
        assert image["src"].startswith("data:image/png;base64,iVBOR")
        assert source["srcset"].startswith("data:image/png;base64,iVBOR")
        assert int(source["width"]) < int(image["width"])
        assert int(source["height"]) > int(image["height"])


def test_a_long_table_is_folded_away_and_scrolls_in_its_own_box(make):
    assert not read(make()).every("details")
    page = read(make(config=CONFIG | {"epochs": 200}, history=rows(200)))
    assert len(page.every("details")) == 1
    assert "Show all 200 rows" in page.text
    boxes = [a for a in page.every("div") if a.get("class") == "scroll"]
    assert len(boxes) == len(page.every("table")) == 4
    assert all(box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] for box in boxes)


def test_equal_runs_are_equal_bytes_and_nothing_else_is_written(make):
    one, other = report.write(make("one")), report.write(make("another"))
    assert one.name == "report.html"
    assert one.read_bytes() == other.read_bytes() == report.write(one.parent).read_bytes()
    files = ["best.safetensors", "config.json", "history.csv", "metrics.json", "report.html"]
    assert sorted(p.name for p in one.parent.iterdir()) == files


def test_a_path_that_is_no_folder(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"nowhere: no such folder; wanted the folder of a run"):
        report.write(tmp_path / "nowhere")


HEADINGS = {
    "config": {"Configuration", "How to reproduce", "The model"},  # without it the input's shape is not known
    "metrics": {"Which classes, and which mistakes"},
    "history": {"Training history"},
    "model": {"The model"},
}
FILES = {"config": "config.json", "metrics": "metrics.json", "history": "history.csv", "model": "best.safetensors"}


def headings(page):
    text = page.text
    return {h for hs in HEADINGS.values() for h in hs if re.search(rf"{h}\s", text)}


@pytest.mark.parametrize("part", FILES)
def test_a_missing_file_is_named_and_the_rest_is_there(make, part):
    page = read(make(**{part: None}))
    assert "This report is not complete" in page.text
    assert f"{FILES[part]} is missing." in page.text
    assert headings(page) == set().union(*HEADINGS.values()) - HEADINGS[part]


def test_an_empty_folder(tmp_path):
    page = read(tmp_path)
    assert "no result yet" in page.text
    assert not headings(page)
    assert all(f"{file} is missing." in page.text for file in FILES.values())


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("config", "{", r"config.json could not be read: config.json: not a JSON file"),
        ("config", "[1]", r"config.json could not be read: it holds a list; wanted an object"),
        ("metrics", "", r"metrics.json could not be read: metrics.json: not a JSON file"),
        ("metrics", {"n": 5}, r"metrics.json could not be read: it has no 'accuracy'"),
        ("metrics", METRICS | {"accuracy": 59.2}, r"accuracy is 59.2 of n = 140; wanted a share in \[0, 1\]"),
        ("metrics", METRICS | {"accuracy": float("nan")}, r"accuracy is nan of n = 140"),
        ("metrics", METRICS | {"n": 0}, r"accuracy is 0.78\d* of n = 0; .* at least 1 image"),
        ("metrics", METRICS | {"n": 141}, r"confusion is no matrix of counts for 4 classes and n = 141 images"),
        ("metrics", METRICS | {"class_names": ["a"]}, r"confusion is no matrix of counts for 1 classes"),
        ("metrics", METRICS | {"confusion": [[0.5]]}, r"confusion is no matrix of counts"),
        ("metrics", METRICS | {"confusion": [[1, 2], [3]]}, r"metrics.json could not be read: "),
        ("metrics", METRICS | {"n": float("inf")}, r"metrics.json could not be read: "),
        ("metrics", METRICS | {"interval": [57.5, 60.7]}, r"interval is 57.5 to 60.7; wanted two shares in \[0, 1\]"),
        ("metrics", METRICS | {"interval": [0.1]}, r"metrics.json could not be read: "),
        ("history", "epoch,valid_loss\n1,good\n", r"history.csv could not be read: history, line 2"),
        ("model", b"no model", r"best.safetensors could not be read: best.safetensors: not a whole safetensors file"),
        ("config", CONFIG | {"input_shape": None}, r"best.safetensors could not be read: config.json has no input_sha"),
        ("config", CONFIG | {"input_shape": [16, 16, 3]}, r"best.safetensors could not be read: "),
        ("config", CONFIG | {"epochs": 9}, r"9 epochs were planned and 4 are recorded: the run stopped early"),
        ("history", "epoch,valid_loss\n1,2\n", r"4 epochs were planned and 1 is recorded"),
    ],
)
def test_what_is_damaged_or_unfinished_is_said(make, part, value, message):
    text = read(make(**{part: value})).text
    assert "This report is not complete" in text
    assert re.search(message, text)


def test_without_metrics_the_history_has_the_finding(make):
    text = read(make(metrics=None)).text
    low, high = (f"{100 * v:.1f}" for v in metrics.wilson_interval(RIGHT, N))
    assert f"78.6 % (95 % interval {low} to {high} %, n = 140 images) at epoch 3 of 4." in text
    text = read(make(metrics=None, config=CONFIG | {"data": "faces"})).text
    assert "78.6 % (interval unknown, number of images unknown) at epoch 3 of 4." in text
    assert "on faces" in text


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"epoch": 1, "train_loss": 2.0}],
        [{"epoch": 1, "lr": 0.1}],
        [{"valid_accuracy": 0.5}],
        [{"epoch": 1, "valid_loss": float("nan"), "valid_accuracy": float("nan"), "train_loss": float("inf")}],
    ],
    ids=["empty", "no validation", "nothing to draw", "no epochs", "not finite"],
)
@pytest.mark.parametrize("result", [METRICS, None], ids=["metrics", "no metrics"])
def test_histories_of_every_kind(make, history, result):
    page = read(make(history=history, metrics=result))
    assert ("Training history" in page.text) == bool(history)


def test_text_from_the_run_is_never_markup(make):
    nasty = """<script>alert('x')</script>"'&amp;<img src=https:x onerror=y>$x"""
    names = [nasty + str(k) for k in range(4)]
    page = read(
        make(
            config=CONFIG | {"model": nasty, nasty: nasty, "minicnn": nasty, "data": {"name": nasty, "digest": nasty}},
            metrics=METRICS | {"class_names": names, "split": nasty, "notes": [nasty]},
            history=[{"epoch": 1, "train_loss": 2.0, "<b>": 1.0}],
        )
    )
    assert page.text.count(nasty) >= 10
    assert len(page.every("img")) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 5) | st.floats() | st.sampled_from(["", "1", "a<b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "training", "x"]), inner),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    config=st.dictionaries(st.sampled_from(list(CONFIG)), JSON),
    result=st.dictionaries(st.sampled_from(list(METRICS)), JSON) | JSON,
)
def test_no_json_stops_the_page(make, config, result):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report.page, "picture", lambda *given: Markup())  # which takes long
        read(make(config=CONFIG | config, metrics=METRICS | result if isinstance(result, dict) else [result]))


def words_of(config):
    """The command's words as a shell takes them: a line that ends in a backslash goes on in the next."""
    return shlex.split(command(config).replace("\\\n", ""))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ["--data", "synthetic"]),
        ({"data": {"name": "FER2013"}}, ["--data", "PATH"]),
        ({"data": "synthetic"}, ["--data", "synthetic"]),
        ({"drop_duplicates": True}, ["--drop-duplicates"]),
        ({"recipe": "my recipe's"}, ["--recipe", "my recipe's"]),
        ({"lr": 1e-05}, ["--lr", "1e-05"]),
        ({"batch_size": 128}, ["--batch-size", "128"]),
    ],
)
def test_the_command_line_says_what_the_configuration_says(changed, words):
    line = words_of(CONFIG | changed)
    assert line[:2] == ["minicnn", "train"]
    assert line[-2:] == ["--out", "RUN"]
    start = line.index(words[0])
    assert line[start : start + len(words)] == words
    assert ("--drop-duplicates" in line) == bool(changed.get("drop_duplicates"))
    for option in ("model", "epochs", "optimizer", "augment", "schedule", "seed", "device"):
        assert line[line.index(f"--{option}") + 1] == str(CONFIG[option])


def test_the_command_takes_the_command_line():
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    got = vars(parser.parse_args(words_of(CONFIG | {"drop_duplicates": True, "seed": 3})[2:]))
    options = ("model", "epochs", "batch_size", "lr", "optimizer", "augment", "schedule", "device")
    want = {name: CONFIG[name] for name in options} | {"data": "synthetic", "seed": 3, "drop_duplicates": True}
    assert {name: got[name] for name in want} == want


def test_the_command_line_leaves_out_what_the_configuration_does():
    words = words_of({"model": "three_conv", "lr": None})
    assert words == ["minicnn", "train", "--model", "three_conv", "--out", "RUN"]


def contrast(one, other):
    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        c = np.array([int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)])
        return np.dot([0.2126, 0.7152, 0.0722], np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_letters_stand_out_in_light_dark_and_print(make):
    style = re.search(r"<style>(.*)</style>", report.write(make()).read_text(encoding="utf-8"), re.S)[1]
    themes = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root {(.*?)}", style, re.S)]
    assert len(themes) == 3
    for theme in themes:
        for letters in ("text", "soft", "accent", "warn"):
            for ground in ("page", "tint"):
                assert contrast(theme[letters], theme[ground]) >= 4.5, (letters, ground)
