"""What every test shares."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's cache; tests of one session share theirs."""
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
