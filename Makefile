# make demo   from a fresh clone to a trained, compared and shown model on http://127.0.0.1:8050
# make test   from a fresh clone to all tests, browser tests included
# make check  what CI runs: format, lint, types, import contracts, tests
# make setup  the environment alone, in .venv/

PYTHON ?= python3
PORT ?= 8050
SERVE ?= 1
BIN := .venv/bin
export OMP_WAIT_POLICY := passive

.PHONY: demo test check lint setup picture constraints clean

demo: setup
	@$(BIN)/mesascope demo --port $(PORT) $(if $(filter 0,$(SERVE)),--no-serve)

test: setup
	@tools/run-tests

check: lint test

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mesascope needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (about 2 GB, one to three minutes) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

# The README's picture, from the demo run.
picture: setup
	@$(BIN)/python tools/picture.py runs/demo docs/images

# Pins anew; torch stays as overridden, so that no CUDA packages come along. Needs uv.
constraints:
	@tools/pin

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
