"""What the README promises: its code runs, its commands and links are there."""

import re
from pathlib import Path

import pytest

from minicnn.cli import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    exec(compile(code, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "gradcheck conv2d" in shown
    assert "total parameters: 538,439" in shown
    assert re.search(r"Epoch: 1, valid Loss: \d\.\d{4}, valid Acc: \d\.\d{4}", shown)


@pytest.mark.parametrize("name", re.findall(r"minicnn (\w+)", "".join(re.findall(r"\n    .*", README))))
def test_the_commands_exist(name):
    assert name in COMMANDS


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)(.*?)\)", README))
def test_the_links_lead_somewhere(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("target", re.findall(r"\n    make (\w+)", README))
def test_the_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
