# make report | make test: both set up everything they need in .venv and reuse it.
PYTHON ?= python3
VENV ?= .venv
THREADS ?= 2
TEST_PROCESSES ?= 2
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin

# Thread pools are sized here once, so that four chains on two cores do not fight over them.
export OMP_NUM_THREADS ?= $(THREADS)
export OPENBLAS_NUM_THREADS ?= $(THREADS)
export MKL_NUM_THREADS ?= $(THREADS)
export NUMBA_NUM_THREADS ?= $(THREADS)

.PHONY: report test lint typecheck unit setup clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt constraints-3.12.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "rram-reliability needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	constraints=$$($(BIN)/python -c 'import sys; print("constraints.txt" if sys.version_info < (3, 12) else "constraints-3.12.txt")'); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $$constraints --editable '.[dev]'
	touch $(STAMP)

report: $(STAMP)
	$(BIN)/rram-reliability run --threads $(THREADS) --out build/report --force

test: lint typecheck unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(STAMP)
	$(BIN)/mypy

# Each process takes whole files, so that what the tests of a file share is made once. The processes
# share the cores already, so each of them has one thread for linear algebra.
unit: export OMP_NUM_THREADS = 1
unit: export OPENBLAS_NUM_THREADS = 1
unit: export MKL_NUM_THREADS = 1
unit: $(STAMP)
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache
