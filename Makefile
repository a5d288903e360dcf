# Two commands matter: `make demo` and `make test`. Each sets itself up.
PYTHON ?= python3
LIGHT := .venv-light
FULL := .venv
PIP_FLAGS := -q --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-slow lint format fashion bench clean

demo: $(LIGHT)/.ready  ## run the dress detector end to end, without torch
	$(LIGHT)/bin/fullconv demo -o fullconv-demo

test: $(FULL)/.ready  ## lint, type check and run the test suite
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .
	$(FULL)/bin/mypy
	$(FULL)/bin/pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(FULL)/.ready  ## the slow sweeps
	$(FULL)/bin/pytest -n 2 --dist worksteal -m slow

bench: $(FULL)/.ready  ## measure conversion, speed and memory against crops and hand-made surgery
	$(FULL)/bin/python benchmarks/conversion.py
	$(FULL)/bin/python benchmarks/speed.py
	$(FULL)/bin/python benchmarks/padded.py
	$(FULL)/bin/python benchmarks/memory.py

fashion: $(FULL)/.ready  ## train on real garments, convert, find the dresses in the real sheet
	$(FULL)/bin/python training/fashion.py -o fashion-out

lint: $(FULL)/.ready
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .
	$(FULL)/bin/mypy

format: $(FULL)/.ready
	$(FULL)/bin/ruff check --fix .
	$(FULL)/bin/ruff format .

$(LIGHT)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/pip install $(PIP_FLAGS) -e .
	touch $@

$(FULL)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(FULL)
	$(FULL)/bin/pip install $(PIP_FLAGS) -e ".[torch,openvino,wsi,geo,dev]"
	touch $@

clean:
	rm -rf $(LIGHT) $(FULL) fullconv-demo fashion-out
