# Two commands matter: `make demo` and `make test`. Everything is installed into .venv, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that test at once, with one thread each.
JOBS ?= 2
INSTALL := $(BIN)/python -m pip install --no-input -qq --disable-pip-version-check --no-compile -c constraints.txt
# Compiled code is kept, whatever the shell says: each of many short processes would compile its libraries again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean

help:
	@echo "make demo    tune the pocket world, see whether it helped: runs/demo/report/index.html"
	@echo "make test    every check and every test"
	@echo "make check   style, types and floors only"
	@echo "make bench   the pocket world's own figures"
	@echo "make clean   remove .venv and caches; runs/ stays"

demo: $(VENV)/.installed
	@$(BIN)/worldtune demo

test: check
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check: $(VENV)/.installed-dev
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo > $(VENV)/floors.log || { cat $(VENV)/floors.log; exit 1; }
	@echo "style, types and floors: good"

bench: $(VENV)/.installed
	@$(BIN)/worldtune bench pocket

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing worldtune and its libraries into $(VENV): once, a few minutes (PyTorch is large)"
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing worldtune, its libraries, its tools and the simulator into $(VENV): once, a few minutes"
	@$(INSTALL) -e '.[dev,sim]'
	@touch $(VENV)/.installed $@
