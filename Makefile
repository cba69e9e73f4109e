# Bare `make` prints what there is to make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint types wheel wasm ci bench tables fuzz docs clean

help: ## print the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,dev,bench]"
	touch $@

demo: $(READY) ## train, compress and decode LeNet-5 on embedded digits, print the table
	$(BIN)/qacomp demo --force

test: $(READY) ## run the tests
	$(BIN)/python -P -m pytest -q -n 2 --dist worksteal

lint: $(READY) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy, strict
	$(BIN)/mypy

wheel: $(READY) ## build sdist and wheel, install it elsewhere, run the command from outside the repo
	PYTHON=$(abspath $(BIN))/python sh .ci/wheel

wasm: ## compile the C reader to formats/js/wasm/qac.wasm (clang and lld)
	sh formats/js/wasm/build formats/js/wasm/qac.wasm

ci: ## everything that must pass before a change lands
	bash .ci/run

bench: $(READY) ## measure a suite: make bench SUITE=codec
	$(BIN)/python benchmarks/run.py $(SUITE)

tables: $(READY) ## generate the tables and figures of README and docs from benchmarks/results
	$(BIN)/python benchmarks/figures.py
	$(BIN)/python benchmarks/tables.py

MUTANTS ?= 100000

fuzz: $(READY) ## fuzz the reader with mutants whose checksums are right, and with atheris and libFuzzer where they are installed
	$(BIN)/python tests/fuzz/structured.py --mutants $(MUTANTS)
	$(BIN)/python tests/fuzz/run.py
	$(BIN)/python tests/fuzz/run_c.py
	$(BIN)/python tests/fuzz/run_c.py --deltas

docs: $(READY) ## build the API reference into build/docs (pdoc)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/python docs/build.py build/docs

clean: ## remove the environment and everything built
	rm -rf $(VENV) build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
