# Everything sets itself up: a .venv with pinned packages, then the job.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
RUN := $(VENV)/bin/shardwright

.PHONY: demo proof test test-slow lint types bench clean

demo: $(VENV)/.core
	@sh examples/demo.sh $(RUN)

proof: $(VENV)/.dev
	@sh examples/proof.sh $(RUN)

test: $(VENV)/.dev lint types
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2

test-slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m slow

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo

types: $(VENV)/.dev
	$(VENV)/bin/mypy

bench: $(VENV)/.dev
	$(VENV)/bin/python benchmarks/plan_cpu.py
	$(VENV)/bin/python benchmarks/graph.py
	$(VENV)/bin/python benchmarks/two_batch_overlap.py
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/overlap.py

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

# torch comes first and by itself: with it installed, transformers asks for no other build.
$(VENV)/.dev: $(VENV)/.core
	$(PIP) torch
	$(PIP) --editable '.[dev,run,chakra]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
