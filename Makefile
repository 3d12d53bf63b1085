# Two commands for everyone: `make demo` and `make test`. The rest is for whoever changes the code.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO_ARGS ?=
PYTEST_ARGS ?=

.PHONY: demo test lint types install api lock audit wheel clean

install: $(VENV)/.installed

# First what the lock holds, each file by its hash; then the rest: torch, of which every machine has its own build, and
# this project.
$(VENV)/.installed: requirements.txt requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -r requirements.txt
	touch $@

demo: install
	$(BIN)/flexict demo $(DEMO_ARGS)

test: install
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: install
	$(BIN)/ruff check . && $(BIN)/lint-imports

types: install
	$(BIN)/mypy

# The Python reference from the docstrings, as HTML that needs no server
api: install
	$(BIN)/python .ci/api.py build/api

# the hashes of what requirements.txt pins, of all platforms, as the Python package index has them
lock:
	test -x build/lock/bin/uv || ($(PYTHON) -m venv build/lock && build/lock/bin/python -m pip install --quiet uv==0.13.9)
	grep -vE '^(-e|torch==)' requirements.txt | build/lock/bin/uv pip compile --quiet --no-deps --generate-hashes \
	  --no-annotate --python-version 3.11 --custom-compile-command "make lock" --output-file requirements.lock -

# are weaknesses known of the pinned libraries? says so where no list of them can be reached
audit:
	$(PYTHON) .ci/audit.py

# the wheel, installed into an environment of its own, draws and analyses the demo cohort from there
wheel: install
	rm -rf dist && $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./
	rm -rf build/wheel build/demo && $(PYTHON) -m venv build/wheel
	grep -E '^[A-Za-z].*==' requirements.txt > build/pinned.txt
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check -c build/pinned.txt dist/*.whl
	cd build && wheel/bin/flexict demo --no-serve --out demo

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
