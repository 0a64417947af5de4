# `make demo` and `make test` need Python >= 3.10, make and a package index; everything else they install.
# On Linux the default index has torch with several gigabytes of CUDA. For a build without it:
#   make demo TORCH_INDEX=<the CPU index shown at https://pytorch.org/get-started/locally>

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
JOBS ?= 2

BENCH_THREADS ?= 2
.DEFAULT_GOAL := help

.PHONY: help demo test bench docs docs-serve lint format clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.run  ## what the library does, in a minute: an equation, a function, a layer, a compressed network
	$(BIN)/gmlayers demo

test: $(VENV)/.dev lint  ## everything that CI runs
	$(BIN)/pytest -n $(JOBS)

bench: $(VENV)/.bench  ## time the layer against its floor and what it replaces (BENCH_THREADS=2)
	OMP_NUM_THREADS=$(BENCH_THREADS) $(BIN)/python benchmarks/speed.py --threads $(BENCH_THREADS)

lint: $(VENV)/.dev  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/.dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist

$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("gmlayers needs Python 3.10 or newer, got " + sys.version.split()[0] + "; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml studies/pyproject.toml constraints.txt
	$(PIP) --editable '.[experiments]' --editable studies
	touch $@

$(VENV)/.bench: $(VENV)/.run
	$(PIP) --editable '.[experiments,bench]' --editable 'studies[peers]'
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) --editable '.[experiments,dev,docs]' --editable 'studies[peers,cluster]'
	touch $@

docs: $(VENV)/.docs  ## build the site into site/, with its gallery
	$(BIN)/mkdocs build

docs-serve: $(VENV)/.docs  ## show the site at http://localhost:8000
	$(BIN)/mkdocs serve

$(VENV)/.docs: $(VENV)/.run
	$(PIP) --editable '.[experiments,docs]'
	touch $@
