# Two commands do everything on a fresh machine:  make demo   and   make test
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test truth browser check clean
.DELETE_ON_ERROR:

demo: $(VENV)/ready
	$(BIN)/nunatak demo -o demo/run

# A process for every core; tests that share a run stay together.
test: $(VENV)/ready
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

truth: $(VENV)/ready
	$(BIN)/python -m pytest -m truth

# Needs a Chromium on the machine; Playwright drives it and downloads none of its own.
browser: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check playwright==1.65.2
	$(BIN)/python -m pytest -m browser

check: $(VENV)/ready
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

# requirements.txt pins what was tested; torch first, so that pip takes its CPU build and not CUDA's.
$(VENV)/ready: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) demo
