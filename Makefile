# One command for each thing a developer does; .ci/run uses the same.
# The first run makes .venv and installs the pinned dependencies, later ones start at once.

.DEFAULT_GOAL := help
.PHONY: help demo tools dist test e2e lint lab lab-down bench mutants clean
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
E2E := tests/e2e tests/lab
INPUTS := pyproject.toml constraints.txt
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

help:
	@echo "make demo   show the main job on this machine, in about 20 seconds"
	@echo "make tools  what all commands need, measure and compare among them"
	@echo "make test   the quick tests"
	@echo "make simulate  whatever may happen, in any order, by seeds: SEED=7 RUNS=500 STEPS=16 KEEP=1,4"
	@echo "make e2e    the tests that start nginx, curl, Chromium (CONTRIBUTING.md names them)"
	@echo "make lint   ruff, mypy, the import rule"
	@echo "make lab    as root: a client, a router with the proxy and an origin, in network namespaces"
	@echo "make lab-down  remove them"
	@echo "make bench  measure beside nginx, HAProxy, Squid, tc and bare mitmdump (as root, on Debian)"
	@echo "make mutants  small faults in a copy of the code: do the tests see them? PATHS, COUNT, SEED"
	@echo "make dist   the wheel and the source archive, in dist/"
	@echo "make clean  remove what was made here"

demo: $(VENV)/.lab
	@$(BIN)/mitmthrottle demo

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -m "not e2e" -n auto $(PYTEST_OPTIONS)

# A failing seed is shrunk, and the command that runs it again is printed. A night: RUNS=1000000
SEED := 0
RUNS := $(if $(filter command line,$(origin SEED)),1,500)
STEPS := 16
simulate: $(VENV)/.dev
	@$(BIN)/python -m tests.simulation --seed $(SEED) --runs $(RUNS) --steps $(STEPS) \
	    $(if $(KEEP),--keep $(KEEP)) $(SIMULATE_OPTIONS)

# What a busy machine has spoilt is tried again, by itself, at most twice: the log names it and says
# what came of it. What is wrong is wrong again. (Status 1: tests have failed, and nothing worse.)
AGAIN = $(BIN)/python -m pytest $(E2E) -m "$(1)" -vv --last-failed --last-failed-no-failures none
define tests_and_once_more
@$(BIN)/python -m pytest $(E2E) -m "$(1)" $(2) $(PYTEST_OPTIONS) || { \
    status=$$?; [ $$status = 1 ] || exit $$status; \
    echo "== once more, what has failed of \"$(1)\":"; \
    $(AGAIN) $(PYTEST_OPTIONS); } || { \
    status=$$?; [ $$status = 1 ] || exit $$status; \
    echo "== once more, what has failed of \"$(1)\" twice:"; \
    $(AGAIN) $(PYTEST_OPTIONS); }
endef

# Most of them wait most of the time, so they do it side by side. (Each worker would
# read all other tests, too, if it were not told where these are.)
e2e: $(VENV)/.dev
	$(call tests_and_once_more,e2e and not alone,-n 4 --dist loadfile)
	$(call tests_and_once_more,e2e and alone)

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# Takes about two hours and wants the machine for itself; BENCH_OPTIONS=--quick, ten minutes.
# The other commands, `measure` and `compare`, need some more than the demo.
tools: $(VENV)/.tools
	@echo "$(BIN)/mitmthrottle --help"

bench: $(VENV)/.dev
	@bench/install.sh
	@$(BIN)/python -m bench $(BENCH_OPTIONS)

# By hand: PATHS="addons/mitmthrottle/pacing/quota.py" COUNT=60 SEED=1 make mutants
COUNT ?= 60
SEED ?= 0
mutants: $(VENV)/.dev
	@$(BIN)/python tests/mutants.py --count $(COUNT) --seed $(SEED) $(PATHS)

# As docs/releasing.md says.
dist: | $(BIN)/python
	@$(PIP) install build
	@$(BIN)/python -m build --outdir dist .

lab: $(VENV)/.lab
	@$(BIN)/python -m mitmthrottle.lab.transparent up

lab-down: $(VENV)/.lab
	@$(BIN)/python -m mitmthrottle.lab.transparent down

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find addons tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# What the demo needs, without the developers' tools.
$(VENV)/.lab: $(INPUTS) | $(BIN)/python
	@echo "Installing the pinned dependencies into $(VENV) (once, a minute or so)"
	@$(PIP) install -c constraints.txt -e '.[lab]'
	@touch $@

$(VENV)/.tools: $(INPUTS) | $(BIN)/python
	@echo "Installing the pinned dependencies of all commands into $(VENV) (once, a minute or so)"
	@$(PIP) install -c constraints.txt -e '.[lab,measure,compare]'
	@touch $(VENV)/.lab $@

# Everything; the demo's part is then there as well.
$(VENV)/.dev: $(INPUTS) | $(BIN)/python
	@echo "Installing the pinned dependencies and tools into $(VENV) (once, a minute or so)"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.lab $(VENV)/.tools $@

# `python3` comes first, so that pyenv's and uv's .python-version is honoured; where it is too
# old, as on Debian 12, a newer one under its own name serves. pip would otherwise quietly
# install a mitmproxy of years ago.
$(BIN)/python:
	@for python in python3 python3.13 python3.12 python3.14; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 12, 3))' 2>/dev/null; then \
	        echo "Making $(VENV) with $$($$python --version)"; \
	        $$python -m venv --clear $(VENV) && exit 0; \
	        rm -rf $(VENV); \
	        echo "$$python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo "mitmthrottle needs Python 3.12.3 or newer, and none of python3, python3.13, python3.12," >&2; \
	echo "python3.14 on the PATH is one. On Debian 13: apt-get install python3-venv" >&2; \
	exit 1
