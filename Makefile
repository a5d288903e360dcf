# Two commands matter: `make demo` and `make test`. Each sets itself up.
PYTHON ?= python3
LIGHT := .venv-light
FULL := .venv
HOG := .venv-hog
PIP_FLAGS := -q --disable-pip-version-check -c constraints.txt

.PHONY: demo operations test test-slow fuzz mutants lint format fashion hog bccd dress deploy-example bench zoo clean

demo: $(LIGHT)/.ready  ## run the dress detector end to end, without torch
	$(LIGHT)/bin/fullconv demo -o fullconv-demo

test: $(FULL)/.ready  ## lint, type check and run the test suite
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .
	$(FULL)/bin/mypy
	$(FULL)/bin/pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(FULL)/.ready  ## the slow sweeps
	$(FULL)/bin/pytest -n 2 --dist worksteal -m slow

fuzz: $(FULL)/.ready  ## give the commands what is damaged, and count the outcomes in docs/security.md
	PYTHONPATH=tests $(FULL)/bin/python -m fuzz.run --cases 300 --keep fuzz-out --page docs/security.md

mutants: $(FULL)/.ready  ## plant defects in copies of the sources; a test must notice each
	PYTHONPATH=tests $(FULL)/bin/python -m mutants.run

operations: $(FULL)/.ready  ## write docs/operations.md from the tables of rules and readers
	$(FULL)/bin/python docs/figures/operations.py

bench: $(FULL)/.ready  ## measure conversion, speed and memory against crops and hand-made surgery
	$(FULL)/bin/python benchmarks/conversion.py
	$(FULL)/bin/python benchmarks/speed.py
	$(FULL)/bin/python benchmarks/padded.py
	$(FULL)/bin/python benchmarks/memory.py

fashion: $(FULL)/.ready  ## train on real garments, convert, find the dresses in the real sheet
	$(FULL)/bin/python examples/fashion.py -o fashion-out

hog: $(HOG)/.ready  ## beside the classical detector, after `make fashion` and `make bccd`
	$(HOG)/bin/python benchmarks/hog.py

bccd: $(FULL)/.ready  ## train on blood cells, convert, find them in whole microscope fields
	$(FULL)/bin/python examples/bccd.py -o bccd-out

dress: $(FULL)/.ready  ## draw crops, train the packaged dress classifier on them, judge it
	$(FULL)/bin/fullconv demo --train -o dress-out
	$(FULL)/bin/python examples/judge_dress_classifier.py dress-out/dress.onnx
	cp dress-out/dress.onnx src/fullconv/demo/dress.onnx

deploy-example: $(FULL)/.ready  ## the boxes of a deployed detector in Python, and in Node from npm
	cd examples/deploy && npm install
	$(FULL)/bin/pytest tests/test_deploy_example.py

zoo: $(FULL)/.ready  ## convert every architecture of three libraries, and write docs/zoo.md
	OMP_NUM_THREADS=1 $(FULL)/bin/python benchmarks/zoo/sweep.py
	$(FULL)/bin/python benchmarks/zoo/table.py

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

$(FULL)/.ready: pyproject.toml constraints.txt benchmarks/zoo/requirements.txt
	$(PYTHON) -m venv $(FULL)
	$(FULL)/bin/pip install $(PIP_FLAGS) -e ".[torch,openvino,wsi,geo,keras,dev]"
	$(FULL)/bin/pip install $(PIP_FLAGS) --no-deps -r benchmarks/zoo/requirements.txt
	touch $@

$(HOG)/.ready: pyproject.toml constraints.txt benchmarks/hog.txt
	$(PYTHON) -m venv $(HOG)
	$(HOG)/bin/pip install $(PIP_FLAGS) -r benchmarks/hog.txt -e ".[train]"
	touch $@

clean:
	rm -rf $(LIGHT) $(FULL) $(HOG) fullconv-demo fashion-out dress-out bccd-out fuzz-out
