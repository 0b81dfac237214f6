# What a person types. Each target is thin over a command that the tests run too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: setup up test check format bench faults clean

setup: $(VENV)/.ready

# uv comes from its wheel and installs the locked, hashed set; nothing else need be on the machine.
$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

up: setup
	@exec $(BIN)/flywheel up $(ARGS)

test: setup
	$(BIN)/python -m pytest $(ARGS)

# Formatter, linter, strict types, import contracts, dead code: seconds, no services.
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m bench $(ARGS)

# The long form of tests/faults; the suite runs a short one.
faults: setup
	FLYWHEEL_FAULTS=full $(BIN)/python -m pytest tests/faults $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
