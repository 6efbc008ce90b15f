# The two commands that matter: `make demo` and `make test`. Both set up .venv on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
OUT ?= demo-output
LOWEST := .venv-lowest
# A process for each core, each with one thread: small models gain nothing from more.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-contracts test-device test-lowest lint format bench demo-model docs models clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-base ## the main job on the shipped model; ends with an HTML report
	$(BIN)/crosslatent demo --out $(OUT)

test: $(VENV)/.stamp-dev ## the fast tests
	$(PYTEST) $(PYTEST_ARGS)

test-slow: $(VENV)/.stamp-dev ## the slow tests
	$(PYTEST) -m slow $(PYTEST_ARGS)

test-contracts: $(VENV)/.stamp-dev ## what must hold on every model, on all families
	$(PYTEST) -m slow tests/contracts $(PYTEST_ARGS)

test-device: $(VENV)/.stamp-dev ## one and two devices that are not there: a make-believe accelerator
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 0 -m device tests/device $(PYTEST_ARGS)

test-lowest: $(LOWEST)/.stamp-test ## fast tests and contracts with the lowest supported versions
	$(LOWEST)/bin/python -m pytest $(PYTEST_ARGS)
	$(LOWEST)/bin/python -m pytest -m slow tests/contracts $(PYTEST_ARGS)

lint: $(VENV)/.stamp-dev ## ruff, mypy and the floors (import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.stamp-dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.stamp-dev ## time sweeps beside other schemes (over an hour; BENCH_ARGS="--quick" to try)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

demo-model: $(VENV)/.stamp-recipe ## train the shipped model again (up to an hour on 2 cores)
	$(BIN)/python -m recipes.demo_model build

docs: $(VENV)/.stamp-base ## write docs/run-folder.md and docs/scale.md from the code, docs/models.md from what `make models` found
	$(BIN)/python scripts/run_folder_docs.py
	$(BIN)/python -m scripts.scale_docs
	$(BIN)/python -m scripts.models_docs --render

models: $(VENV)/.stamp-dev ## run the contracts on all families, write docs/models.json and docs/models.md
	$(BIN)/python -m scripts.models_docs

clean: ## remove the environment and what tools leave behind
	rm -rf $(VENV) $(LOWEST) .bench build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache

$(LOWEST)/.stamp-test: constraints-lowest.txt pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet -c constraints-lowest.txt torch
	$(LOWEST)/bin/python -m pip install --quiet -c constraints-lowest.txt \
		-e '.[lens,recipe,spread]' pytest hypothesis sentencepiece protobuf
	@touch $@

# Each stamp is made once and again only when what it depends on has changed. torch comes first and
# by itself: it is the large download, and the constraints file says which one.
$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "crosslatent needs Python 3.11 or later: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-torch: $(VENV)/.stamp-venv constraints.txt
	$(PIP) install --quiet -c constraints.txt torch
	@touch $@

$(VENV)/.stamp-base: $(VENV)/.stamp-torch pyproject.toml
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-base
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.stamp-recipe: $(VENV)/.stamp-base
	$(PIP) install --quiet -c constraints.txt -e '.[recipe]'
	@touch $@
