# Everything a developer, a user's first try and CI run. Each environment is made once and again when its pins change.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
PIP_FLAGS ?= -qq
PYTEST_FLAGS ?=
# The demo's and the notebooks' tensors are small: on two cores a second thread doubles the demo's time (2.3 to 4.9 minutes).
SMALL := OMP_NUM_THREADS=1

PY := .venv/bin/python
PY_DGL := .venv-dgl/bin/python
PY_BARE := .venv-matgl/bin/python

# $(call venv,folder): a virtual environment whose pip works (an interrupted one is made anew)
venv = @echo "Making $(1): torch and matgl take a few minutes."; \
	$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(1)
comma := ,
# $(call install,folder,constraints,what): torch goes first and alone, so that nothing later picks another build of it
install = $(1)/bin/python -m pip install $(PIP_FLAGS) -c $(2) torch && \
	$(1)/bin/python -m pip install $(PIP_FLAGS) -c $(2) $(3)

.PHONY: help
help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: demo
demo: .venv/.installed ## Fit 100 labels of the built-in demo data; ends with a table and a figure with error bars
	rm -rf demo
	$(SMALL) $(PY) -m matgl_ssl.demo

.PHONY: test
test: lint ## Lint and test in the default (PyG) backend
	$(PY) -m pytest $(PYTEST_FLAGS)

.PHONY: test-dgl
test-dgl: .venv-dgl/.installed ## Run the same tests in the DGL backend
	env -u MATGL_ONLY_PYTHON $(PY_DGL) -m pytest $(PYTEST_FLAGS)

# Exports must load where matgl_ssl is not installed; these tests find that environment in MATGL_ONLY_PYTHON.
.PHONY: test-bare
test-bare: .venv/.installed-dev bare ## Test that exports load with matgl alone
	@files=$$(grep -rlEi --include='test_*.py' matgl_only_python tests || true); \
	if [ -n "$$files" ]; then MATGL_ONLY_PYTHON="$(CURDIR)/$(PY_BARE)" $(PY) -m pytest $(PYTEST_FLAGS) $$files; \
	else echo "no test asks for MATGL_ONLY_PYTHON"; fi

.PHONY: bare
bare: .venv-matgl/.installed ## Make the environment with matgl alone

.PHONY: environments
environments: .venv/.installed-dev .venv-dgl/.installed ## Make the environments of both backends

.PHONY: lint
lint: .venv/.installed-dev ## Check style, format, types and which package imports which
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

.PHONY: notebooks
notebooks: .venv/.installed-dev ## Execute the notebooks in a temporary folder, two at a time
	$(PY) tests/run_notebooks.py

# Without the slow tests, and without those that have nothing to do with Python's version or the libraries built for it.
CORE := tests/backends tests/crystals tests/encoders tests/hub tests/inference tests/losses tests/pretexts tests/views \
	tests/ensemble/test_fit.py tests/training/test_finetune_run.py tests/training/test_resume.py tests/test_cli.py
.PHONY: test-python
test-python: ## Test the core in another Python: make test-python PYTHON=python3.13
	@folder=.venv-python$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	$(MAKE) "$$folder/.installed"; "$$folder/bin/python" -m pytest -m "not slow" $(PYTEST_FLAGS) $(CORE)

.PHONY: newcomer
newcomer: ## Time a newcomer's path: install into a new environment, fit a table, predict a crystal
	tests/newcomer.sh

.PHONY: docs
docs: .venv/.installed-dev ## Build the documentation site into build/site, without the network; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "built: build/site/index.html"

.PHONY: clean
clean: ## Remove the environments, caches and build leftovers
	rm -rf .venv .venv-dgl .venv-matgl .venv-python* demo build dist ./*.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml constraints/pyg.txt
	$(call venv,.venv)
	$(call install,.venv,constraints/pyg.txt,-e .)
	touch $@

.venv/.installed-dev: .venv/.installed
	$(PY) -m pip install $(PIP_FLAGS) -c constraints/pyg.txt -e '.[dev,anchors]'
	touch $@

.venv-dgl/.installed: pyproject.toml constraints/dgl.txt
	$(call venv,.venv-dgl)
	$(call install,.venv-dgl,constraints/dgl.txt,-e '.[dgl$(comma)test]')
	touch $@

.venv-python%/.installed: pyproject.toml constraints/pyg.txt
	$(call venv,.venv-python$*)
	$(call install,.venv-python$*,constraints/pyg.txt,-e '.[test]')
	touch $@

.venv-matgl/.installed: constraints/pyg.txt
	$(call venv,.venv-matgl)
	$(call install,.venv-matgl,constraints/pyg.txt,matgl)
	touch $@
