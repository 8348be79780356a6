# Foretwin: everything a contributor types. `make help` lists it.
# pip reads its own configuration and any PIP_* variable of yours; nothing here overrides them.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
TESTSET := $(VENV)/.testset-installed

# One thread per process: the suite runs two processes on two cores.
export OMP_NUM_THREADS ?= 1
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help setup demo test test-all servers check format bench clean FORCE
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: $(RUNTIME) ## make .venv with .venv/bin/foretwin and what it needs to run

demo: $(RUNTIME) ## set up, then show an incident unfolding in the browser (ARGS="--headless ..." passes options)
	$(BIN)/foretwin demo $(ARGS)

test: $(TESTSET) ## set up, then run the default tests: no server, no network, none of the slow ones
	$(PYTEST) $(ARGS)

test-all: $(TESTSET) ## every test, with the real servers of `make servers`; a skip is a failure
	HYPOTHESIS_PROFILE=full FORETWIN_NO_SKIPS=1 $(PYTEST) -m "" $(ARGS)

servers: ## install the optional real servers from Debian (root; for test-all only)
	sh scripts/servers.sh

check: $(TESTSET) ## formatting, lint, types (strict on plant, twin, recovery)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(TESTSET) ## let ruff format and tidy the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(RUNTIME) ## measure: the twin, a fork, a rehearsal, the network, growth, reliability, ingest
	$(BIN)/foretwin bench twin $(ARGS)
	$(BIN)/foretwin bench fork $(ARGS)
	$(BIN)/foretwin bench rehearse $(ARGS)
	$(BIN)/foretwin bench network $(ARGS)
	$(BIN)/foretwin bench growth $(ARGS)
	$(BIN)/foretwin bench reliability $(ARGS)
	$(BIN)/foretwin bench ingest $(ARGS)

clean: ## remove what make and the tools made; the state under .foretwin stays
	rm -rf $(VENV) foretwin.egg-info build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +

# --- the virtual environment -----------------------------------------------------------------
# A stamp is newer than pyproject.toml and constraints.txt when what they ask for is installed, and it holds the
# place it was made for: a virtual environment that was copied or moved points at another checkout and is remade.
ifneq ($(wildcard $(RUNTIME)),)
ifneq ($(shell cat $(RUNTIME)),$(CURDIR))
$(RUNTIME) $(TESTSET): FORCE
endif
endif

$(RUNTIME): pyproject.toml constraints.txt
	$(call install,.)
	@$(BIN)/python -m verbs.warm
	@printf '%s\n' '$(CURDIR)' > $@

$(TESTSET): pyproject.toml constraints.txt
	$(call install,.[test])
	@$(BIN)/python -m verbs.warm
	@printf '%s\n' '$(CURDIR)' > $(RUNTIME)
	@printf '%s\n' '$(CURDIR)' > $@

# $(1): what to install. Interrupted half-way it leaves no stamp, so the next call takes up where this one stopped.
define install
@$(PYTHON) -c 'import sys; ok = sys.version_info >= (3, 11); print("" if ok else "Foretwin needs Python 3.11 or newer; %s is %s. Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" % (sys.executable, sys.version.split()[0]), file=sys.stderr, end="" if ok else "\n"); sys.exit(not ok)'
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: python3-venv), or name another one with PYTHON=." >&2; exit 1; }
@if [ ! -f $(RUNTIME) ] || [ "$$(cat $(RUNTIME))" = '$(CURDIR)' ]; then :; else rm -rf $(VENV); fi
@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
$(BIN)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt -e '$(1)'
endef
