# Main commands: `make demo` and `make test`. The first one installs everything into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Parallel test processes, with one thread each.
JOBS ?= 2
INSTALL := $(BIN)/python -m pip install --no-input -qq --disable-pip-version-check --no-compile -c constraints.txt
# Keep compiled code, whatever the shell says; otherwise each short process compiles its libraries again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean

help:
	@echo "make demo    tune and evaluate the pocket world: runs/demo/report/index.html"
	@echo "make test    all checks and all tests"
	@echo "make check   only style, types, imports, spelling and commit subjects"
	@echo "make bench   measure the figures of the pocket world"
	@echo "make clean   remove .venv and caches; runs/ stays"

demo: $(VENV)/.installed
	@$(BIN)/worldtune demo

test: check
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

check: $(VENV)/.installed-dev
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo > $(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }
	@$(BIN)/codespell
	@$(BIN)/python .ci/check_commits.py
	@echo "style, types, imports, spelling and commit subjects: ok"

bench: $(VENV)/.installed
	@$(BIN)/worldtune bench pocket

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing worldtune and its libraries into $(VENV), which takes a few minutes (PyTorch is large)"
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing worldtune, its libraries, its tools and the simulator into $(VENV), which takes a few minutes"
	@$(INSTALL) -e '.[dev,sim]'
	@touch $(VENV)/.installed $@
