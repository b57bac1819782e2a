# The commands of radkit. `make lab` and `make test` do all the set-up themselves, on a machine with Python, make and git.
PYTHON ?= python3
TORCH ?= cpu
VENV := .venv
RUN := $(VENV)/bin
# Two notebooks or tests at a time, one thread each: torch threads of two processes spin against each other otherwise.
PARALLEL := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help lab test check tour notebooks model constraints environment screenshot clean setup-lab setup-test

help:  ## what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 20

setup-lab:
	@$(PYTHON) tools/setup.py lab --torch $(TORCH) --venv $(VENV)

setup-test:
	@$(PYTHON) tools/setup.py test --torch $(TORCH) --venv $(VENV)

lab: setup-lab  ## set everything up and open the first notebook in JupyterLab (with an NVIDIA GPU: make lab TORCH=cuda)
	@$(RUN)/radkit lab

test: setup-test  ## everything: ruff, mypy, pytest, every notebook through papermill
	$(RUN)/ruff check . && $(RUN)/ruff format --check .
	$(RUN)/mypy
	$(PARALLEL) $(RUN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20

check: setup-test  ## the two-minute subset for working
	$(RUN)/ruff check . && $(RUN)/ruff format --check .
	$(RUN)/mypy
	$(PARALLEL) $(RUN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q -m "not slow and not browser"

tour: setup-lab  ## run the whole series headless, two notebooks at a time, and write build/tour/index.html
	@$(RUN)/radkit tour

notebooks: setup-lab  ## rebuild the .ipynb files from their .py sources
	$(RUN)/python tools/build_notebooks.py

model: setup-lab  ## train the nodule network again and rebuild its bundle (ten minutes on two cores at most)
	$(RUN)/python tools/train_nodules.py --out data/bundles/lung_nodule

constraints:  ## pin every package anew, for Python 3.10 and up on Linux, macOS and Windows
	$(PYTHON) -m uv pip compile pyproject.toml --all-extras --universal --python-version 3.10 \
		--no-header --no-annotate --upgrade --output-file constraints.txt
	$(PYTHON) tools/build_environment.py

environment:  ## write environment.yml and binder/environment.yml from pyproject.toml and constraints.txt
	$(PYTHON) tools/build_environment.py

screenshot: setup-test  ## take README's picture again, in a real browser, on the generated stand-in
	$(PARALLEL) $(RUN)/python -m pytest -q tests/test_browser.py -k readme --take-screenshot

clean:  ## remove what was built (not the environment, not the data)
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
