# What a person types. Each target is thin over a command that the tests run too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Whole files each, with a Postgres and a Kafka of their own; a Kafka that is somebody else's is used by one after the other.
WORKERS ?= $(if $(KAFKA_BOOTSTRAP_SERVERS),0,2)

.PHONY: setup up test check format bench quality faults fuzz screenshots reference clean

setup: $(VENV)/.ready

# uv comes from its wheel and installs the locked, hashed set; nothing else need be on the machine. Compiled once, here: where
# PYTHONDONTWRITEBYTECODE is set, as build machines have it, each start of a process would compile a thousand files anew.
$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@$(BIN)/python -m compileall -q -j 0 services shared tests bench
	@touch $@

up: setup
	@exec $(BIN)/flywheel up $(ARGS)

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

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

# How well feedback is judged, beside scikit-learn, on a corpus that is not part of the project (FLYWHEEL_CORPUS).
quality: setup
	$(BIN)/python -m bench.quality --write $(ARGS)

# The long form of tests/faults; the suite runs a short one.
faults: setup
	FLYWHEEL_FAULTS=full $(BIN)/python -m pytest tests/faults $(ARGS)

# 20,000 requests and more made of what OpenAPI says, to every operation; none may be answered 5xx. ARGS="--cases 100000 --seed 1"
fuzz: setup
	$(BIN)/python -m tests.promises.fuzzing $(ARGS)

# The pictures in docs/images, taken by the browser's tests (Debian: apt-get install chromium fonts-noto-cjk).
screenshots: setup
	FLYWHEEL_SCREENSHOTS=docs/images REQUIRE_BROWSER=1 $(BIN)/python -m pytest tests/scenarios/test_console.py $(ARGS)

# docs/http.md and docs/topics.md, of what the code says of itself.
reference: setup
	FLYWHEEL_WRITE_REFERENCE=1 $(BIN)/python -m pytest tests/test_reference.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
