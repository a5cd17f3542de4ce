"""Every example runs with --quick, writes what it says, is short, and needs public names alone."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

import minicnn

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
WRITTEN = {  # by each example, besides models
    "leaky_bn_cnn": ["leaky_bn_cnn_confusion.png", "leaky_bn_cnn_history.png"],
    "three_conv": ["three_conv_confusion.png", "three_conv_history.png"],
    "simple_cnn": ["simple_cnn_good_confusion.png", "simple_cnn_history.png", "simple_cnn_poor_confusion.png"],
    "densenet201_fer": ["densenet201_fer_confusion.png", "densenet201_fer_history.png"],
    "prelu_cnn": ["prelu_cnn.md", "prelu_cnn.png"],
    "cnn_against_dnn": ["cnn_against_dnn.png"],
    "ensemble": ["ensemble.md"],
    "self_training": ["self_training.md", "self_training.png"],
    "strong_recipe": [
        "mini_xception_history.png",
        "resnet18_fer_history.png",
        "strong_recipe.json",
        "strong_recipe.md",
        "vgg_fer_history.png",
    ],
    "submission": ["submission.csv"],
}
SAID = {  # a line of what it prints
    "leaky_bn_cnn": "exact copies of one another",
    "three_conv": "Most often confused",
    "simple_cnn": "the good model: 0.",
    "densenet201_fer": "parameters: features ",
    "prelu_cnn": "| prelu_cnn_adadelta_course | ",
    "cnn_against_dnn": "(McNemar)",
    "ensemble": "| ensemble | 1.000 | 0.",
    "self_training": "The labelled half alone, best of 2 seeds: 0.",
    "strong_recipe": "| resnet18_fer | 0.",
    "submission": "70 labels written to ",
}


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_an_example_for_every_experiment():
    assert {path.stem for path in EXAMPLES} == WRITTEN.keys() == SAID.keys()


@pytest.mark.parametrize("name", WRITTEN)
def test_quick(name, tmp_path, capsys):
    load(name).main(["--quick", "--out", str(tmp_path / "out")])
    assert SAID[name] in capsys.readouterr().out
    written = sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".safetensors")
    assert written == WRITTEN[name]
    assert all((tmp_path / "out" / file).stat().st_size > 30 for file in written)


def test_the_submission_has_kaggles_form(tmp_path, capsys):
    model = minicnn.models.simple_cnn(width=0.1, rng=0)
    minicnn.save(model, tmp_path / "model.safetensors")
    load("submission").main(["--quick", "--model", str(tmp_path / "model.safetensors"), "--out", str(tmp_path)])
    header, *rows = (tmp_path / "submission.csv").read_text().splitlines()
    assert header == "id,label"
    assert [row.split(",")[0] for row in rows] == [str(i) for i in range(70)]
    assert {row.split(",")[1] for row in rows} <= set("0123456")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_short_and_tells_how_to_run_it(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") < 80
    assert f"python examples/{path.name} --quick" in ast.get_docstring(ast.parse(text))
    assert f"python examples/{path.name} --data fer2013.csv" in ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_needs_public_names_alone(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.module.split(".")[0] == "minicnn":
                module = sys.modules[node.module]
                assert {alias.name for alias in node.names} <= set(module.__all__), ast.unparse(node)
                continue
            names = [node.module]
        for name in names:
            assert name.split(".")[0] in {*sys.stdlib_module_names, "minicnn", "numpy", "matplotlib"}, name
