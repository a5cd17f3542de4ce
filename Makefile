# One environment, made at the first command that needs it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
RUN ?= demo_run
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test check format clean

help:
	@echo "make demo    install, train on drawn faces, write $(RUN)/report.html   (under 4 minutes)"
	@echo "make test    install, run the fast test suite                        (under 10 minutes)"
	@echo "make check   format, lint, types, import layers"
	@echo "make format  mend what can be mended by itself"
	@echo "make clean   remove the environment and what was made"

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install --editable ".[dev]"
	@touch $@

demo: $(VENV)/installed
	rm -rf $(RUN)
	$(BIN)/minicnn train --model leaky_bn_cnn --data synthetic --epochs 3 --out $(RUN)
	@echo "Open $(RUN)/report.html in a browser."

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(RUN) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
