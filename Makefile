# The two commands that matter: `make demo` and `make test`. Both set up .venv on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo-output
# Modules are compiled when they are first imported, and only these; what is compiled is kept, since
# otherwise every process would compile all that it imports again.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL := -m pip install -qq --no-compile
INSTALL := $(BIN)/python $(PIP_INSTALL) --no-build-isolation -c constraints.txt
LOWEST := .venv-lowest
NEWEST := .venv-newest
TORCH := $(shell grep -o '^torch==[^ ;]*' constraints.txt)
UV := .venv-pins/bin/uv
# Each process has one thread: small models gain nothing from more. One process more than there are cores,
# since many tests wait for processes of their own.
CORES := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
PROCESSES := -m pytest -n $(shell expr $(CORES) + 1) --dist loadfile --no-loadscope-reorder
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python $(PROCESSES)
NEWEST_PART := tests/interventions tests/engine/test_decoding.py \
	tests/test_encoder_decoders.py tests/model/test_loading.py tests/model/test_tokenizers.py \
	tests/runs/test_tools.py
# With the newest versions, warnings of what will go are listed and fail nothing.
PYTEST_NEWEST := OMP_NUM_THREADS=1 $(NEWEST)/bin/python $(PROCESSES) --newest

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-contracts test-device test-lowest test-newest test-newest-part \
	lint format bench demo-model docs docs-planted notebooks models pins clean $(NEWEST)

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-base ## try every pair of layers of a small model on two tasks; ends with an HTML report
	$(BIN)/crosslatent demo --out $(OUT)

test: $(VENV)/.stamp-dev ## the fast tests
	$(PYTEST) $(PYTEST_ARGS)

test-slow: $(VENV)/.stamp-dev ## the slow tests
	$(PYTEST) -m slow $(PYTEST_ARGS)

test-contracts: $(VENV)/.stamp-dev ## what must hold on every model, on all families
	$(PYTEST) -m slow tests/contracts $(PYTEST_ARGS)

# With more families: make test-device PYTEST_ARGS="-m device"
test-device: $(VENV)/.stamp-dev ## what a GPU would refuse, on a fake accelerator with two devices
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 0 -m "device and not slow" tests/device $(PYTEST_ARGS)

test-lowest: $(LOWEST)/.stamp-test ## fast tests and contracts with the lowest supported versions
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python $(PROCESSES) $(PYTEST_ARGS)
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python $(PROCESSES) -m slow tests/contracts $(PYTEST_ARGS)

test-newest: $(NEWEST) ## fast tests and contracts with the newest versions (torch as pinned)
	$(PYTEST_NEWEST) $(PYTEST_ARGS)
	$(PYTEST_NEWEST) -m slow tests/contracts $(PYTEST_ARGS)

# What breaks first when transformers or a table library moves. Where nothing has moved, these tests
# have run already, with the pinned versions.
test-newest-part: $(VENV)/.stamp-dev ## a part of that, within two minutes, if a version is not the pinned one
	@if $(BIN)/python scripts/newer.py; then \
		echo "the newest versions of what crosslatent names are the pinned ones"; \
	else \
		$(MAKE) --no-print-directory $(NEWEST) && $(PYTEST_NEWEST) $(NEWEST_PART) $(PYTEST_ARGS); \
	fi

lint: $(VENV)/.stamp-dev ## ruff, mypy, the floors (import-linter) and the measures of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/house.py

format: $(VENV)/.stamp-dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.stamp-dev ## time sweeps beside other schemes (over an hour; BENCH_ARGS="--quick" to try)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

demo-model: $(VENV)/.stamp-recipe ## train the shipped model again (up to an hour on 2 cores)
	$(BIN)/python -m recipes.demo_model build

docs: $(VENV)/.stamp-base ## write docs/cli.md, docs/python.md, docs/run-folder.md and docs/scale.md from the code, the index of docs/errors.md, docs/models.md from what `make models` found
	$(BIN)/python scripts/run_folder_docs.py
	$(BIN)/python -m scripts.cli_docs
	$(BIN)/python -m scripts.python_docs
	$(BIN)/python -m scripts.errors_index
	$(BIN)/python -m scripts.scale_docs
	$(BIN)/python -m scripts.models_docs --render

docs-planted: $(VENV)/.stamp-base ## sweep all planted variants, write their part of docs/planted.md and its pictures
	$(BIN)/python -m scripts.planted_docs

notebooks: $(VENV)/.stamp-dev ## execute docs/notebooks/*.ipynb and save their outputs
	$(BIN)/python -m scripts.notebooks

models: $(VENV)/.stamp-dev ## run the contracts on all families, write docs/models.json and docs/models.md
	$(BIN)/python -m scripts.models_docs

clean: ## remove the environment and what tools leave behind
	rm -rf $(VENV) $(LOWEST) $(NEWEST) .venv-pins .bench build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache

pins: $(UV) ## write constraints.txt and constraints-lowest.txt anew, from pyproject.toml and PyPI
	@echo '# Written by `make pins`: all that the environments install, Python 3.11 to 3.13, Linux.' \
		> constraints.txt
	$(UV) pip compile --quiet pyproject.toml --extra dev >> constraints.txt
	@echo '# Written by `make pins`: the lower bounds of pyproject.toml (but for torch, see there).' \
		> constraints-lowest.txt
	$(UV) pip compile --quiet pyproject.toml --extra test --resolution lowest-direct \
		>> constraints-lowest.txt

$(UV):
	$(PYTHON) -m venv .venv-pins
	.venv-pins/bin/python $(PIP_INSTALL) uv

# How an environment is begun: torch comes first, since it is the large download, with what builds this
# package, since nothing is built in isolation, where constraints would not count.
FIRST := torch hatchling editables setuptools

$(LOWEST)/.stamp-test: constraints-lowest.txt pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python $(PIP_INSTALL) -c constraints-lowest.txt $(FIRST)
	$(LOWEST)/bin/python $(PIP_INSTALL) --no-build-isolation -c constraints-lowest.txt -e '.[test]'
	@touch $@

# The newest of everything but torch, looked up again at every call. It begins as a copy of the pinned
# environment, whose files are shared until pip replaces them: most of them are the newest.
$(NEWEST): $(VENV)/.stamp-dev
	test -x $(NEWEST)/bin/python || cp -al $(VENV) $(NEWEST)
	$(NEWEST)/bin/python $(PIP_INSTALL) --no-build-isolation --upgrade --upgrade-strategy eager \
		$(TORCH) -e '.[dev]'

# Each stamp is made once and again only when what it depends on has changed.
$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "crosslatent needs Python 3.11 or later: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-torch: $(VENV)/.stamp-venv constraints.txt
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt $(FIRST)
	@touch $@

$(VENV)/.stamp-base: $(VENV)/.stamp-torch pyproject.toml
	$(INSTALL) -e '.[report]'
	@touch $@

# All of .stamp-base is in it: looking up the same packages twice takes half a minute.
$(VENV)/.stamp-dev: $(VENV)/.stamp-torch pyproject.toml
	$(INSTALL) -e '.[dev]'
	@touch $(VENV)/.stamp-base $@

$(VENV)/.stamp-recipe: $(VENV)/.stamp-base
	$(INSTALL) -e '.[recipe,report]'
	@touch $@
