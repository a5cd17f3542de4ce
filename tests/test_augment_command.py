"""`minicnn train --augment`: what each name stands for, and that a run keeps it."""

import json
from pathlib import Path

import pytest
from commands import QUICK, call, smaller, write_faces

from minicnn.data import augment
from minicnn.recipes.recipe import AUGMENTATIONS, Recipe

MEANT = {"none": None, "flip": augment.RandomHorizontalFlip(), "course": augment.course(), "strong": augment.strong()}


@pytest.mark.parametrize("name", MEANT)
def test_each_name_stands_for_its_transform(name):
    assert set(AUGMENTATIONS) == set(MEANT)
    assert repr(Recipe(augment=name).build_augment()) == repr(MEANT[name])


@pytest.mark.parametrize("name", ["course", "strong"])
def test_a_run_keeps_its_augmentation_and_goes_on_with_it(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    smaller(monkeypatch)
    write_faces(Path("."), 30).rename("faces.csv")
    words = ("train", "--data", "faces.csv", *QUICK, "--augment")
    call(capsys, *words, name)
    assert json.loads(Path("run/config.json").read_text())["augment"] == name
    call(capsys, *words, name, "--resume")
    _, err = call(capsys, *words, "flip", "--resume", code=2)
    assert f"augment was '{name}', is 'flip'" in err
