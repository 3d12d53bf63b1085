# Two commands for everyone: `make demo` and `make test`. The rest is for whoever changes the code.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO_ARGS ?=
PYTEST_ARGS ?=

.PHONY: demo test lint types install audit wheel clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
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

# known weaknesses of the pinned libraries; needs an index
audit: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	grep -E '^[A-Za-z].*==' requirements.txt | $(BIN)/pip-audit --no-deps --disable-pip -r /dev/stdin

# the wheel, installed into an environment of its own, draws and analyses the demo cohort from there
wheel: install
	rm -rf dist && $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./
	rm -rf build/wheel build/demo && $(PYTHON) -m venv build/wheel
	grep -E '^[A-Za-z].*==' requirements.txt > build/pinned.txt
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check -c build/pinned.txt dist/*.whl
	cd build && wheel/bin/flexict demo --no-serve --out demo

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
