# `make figure2` and `make test` work from a fresh clone with python3 (3.11 or newer); both are safe to repeat.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: figure2 test quick lint docs pictures notebook torture simulate bench pretrained clean

figure2: .venv/installed
	$(BIN)/mtlbench run --pair det_attr --all-splits
	$(BIN)/mtlbench plot figure2

# A file of tests goes to one worker: what its tests share is made once. Workers take files in the order of
# tests/conftest.py.
test: .venv/installed lint
	$(BIN)/python -m pytest -n logical --dist loadfile --no-loadscope-reorder

# What needs neither Ray nor other processes, for between two edits.
quick: .venv/installed
	$(BIN)/python -m pytest -n logical --dist loadfile -m 'not slow'

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2

# The site of docs/ in site/, strictly; needs the extra docs.
docs: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/mkdocs build --strict

# The gallery's pictures, from the studies that its page names: an hour on two cores, less where RESULTS has some.
pictures: .venv/installed
	$(BIN)/python docs/_pictures.py $(RESULTS)

# docs/notebook.ipynb, executed again.
notebook: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/python docs/_notebook.py

# 36 runs killed at random moments; make torture ARGS='--driver 2 --worker 1 --seed 7' for fewer or the same again.
torture: .venv/installed
	$(BIN)/python -m tests.stress.torture $(ARGS)

# Studies of equal arms through the real verdict, about an hour; make simulate ARGS='--studies 50' for fewer.
simulate: .venv/installed
	$(BIN)/python -m tests.stress.simulate $(ARGS)

# Ten minutes, every figure against benchmarks/reference.json; make bench ARGS='startup load' for some of them.
bench: .venv/installed
	$(BIN)/python benchmarks/bench.py $(ARGS)

# The trunks that networks on rooms start from, from nothing: half an hour of one core.
pretrained: .venv/installed
	$(BIN)/python pretraining/rooms.py $(ARGS)

# Reinstalled only when pyproject.toml or the tested versions changed.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mtlbench needs Python 3.11 or newer; try make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv
