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
demo: .venv/.installed ## Pretrain, fine-tune and predict on the built-in demo corpus; ends with a table and a figure
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
lint: .venv/.installed-dev ## Check style, format, types and which room imports which
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

# The notebooks are copied first, so that what they write does not land in the checkout.
.PHONY: notebooks
notebooks: .venv/.installed-dev ## Execute the notebooks in a temporary folder
	@shopt -s nullglob; books=(notebooks/*.ipynb); \
	if [ $${#books[@]} -eq 0 ]; then echo "no notebooks"; exit 0; fi; \
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; cp "$${books[@]}" "$$work"; \
	$(SMALL) PATH="$(CURDIR)/.venv/bin:$$PATH" JUPYTER_PREFER_ENV_PATH=1 $(PY) -m nbconvert --log-level=ERROR --to notebook --execute \
		--ExecutePreprocessor.timeout=600 --output-dir="$$work/executed" "$$work"/*.ipynb; \
	echo "executed: $${books[*]}"

.PHONY: docs
docs: .venv/.installed-dev ## Build the documentation site into build/site, without the network; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "built: build/site/index.html"

.PHONY: clean
clean: ## Remove the environments, caches and build leftovers
	rm -rf .venv .venv-dgl .venv-matgl demo build dist ./*.egg-info .pytest_cache .ruff_cache .mypy_cache
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

.venv-matgl/.installed: constraints/pyg.txt
	$(call venv,.venv-matgl)
	$(call install,.venv-matgl,constraints/pyg.txt,matgl)
	touch $@
