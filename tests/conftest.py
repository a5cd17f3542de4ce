"""What every test shares."""

import pytest
from commands import smaller, write_faces

import minicnn
from minicnn.dispatch import MODES


def pytest_addoption(parser):
    parser.addoption("--mode", choices=MODES, default="fast", help="what runs: kernels (fast), definitions (reference)")


@pytest.fixture(autouse=True, scope="session")
def mode(request):
    """Every test of the run in the mode asked for, unless it chooses its own."""
    with minicnn.using(request.config.getoption("--mode")):
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's cache; tests of one session share theirs."""
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of its own to work in, with a cache of its own beside it and thirty drawn faces in faces.csv."""
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_faces(tmp_path / "here", 30, name="faces.csv")
    return tmp_path / "here"


@pytest.fixture
def small(monkeypatch):
    """The command's models, small."""
    smaller(monkeypatch)
