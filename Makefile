# make demo and make test do everything on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
TESTED := -c deployments/constraints.txt -e '.[dev,odbc]'
# Some machines forbid Python to keep what it compiled: each process would compile all of Prefect anew, for seconds.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: venv demo bench faults soak test lint audit odbc postgresql redis chromium constraints clean

$(STAMP): pyproject.toml deployments/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# uv takes seconds where pip takes minutes, but does not read pip's configuration (a mirror, say): then pip does it.
	$(PIP) uv -c deployments/constraints.txt && $(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python $(TESTED) \
		|| $(PIP) $(TESTED)
	@touch $(STAMP)

venv: $(STAMP)  ## Create .venv with the tested set of packages

demo: $(STAMP)  ## Install, start the sandbox and run the main job on it
	$(BIN)/ident-amocrm demo

# datacompy wants an older pandas than the tested set has.
$(VENV)-datacompy: deployments/sandbox/diff/datacompy.txt
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# dlt and amocrm-api are what a clinic could take instead: no part of the tested set.
$(VENV)-rivals: deployments/sandbox/rivals/rivals.txt
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Each measurement by itself: python -m deployments.sandbox.NAME --help
SAVE := --save docs/reference/benchmarks
bench: $(STAMP) $(VENV)-datacompy $(VENV)-rivals odbc postgresql redis  ## Measure each part against a baseline, and make docs/reference/benchmarks.md of it
	$(BIN)/python -m deployments.sandbox.starts $(SAVE)
	$(BIN)/python -m deployments.sandbox.tick --growth 8 --profile docs/reference/benchmarks/tick-after.txt $(SAVE)
	$(BIN)/python -m deployments.sandbox.parts --shared $(SAVE)
	$(BIN)/python -m deployments.sandbox.extraction $(SAVE)
	$(BIN)/python -m deployments.sandbox.quality $(SAVE)
	$(BIN)/python -m deployments.sandbox.diff --patients 100000 --appointments 1000000 --times 1 \
		--datacompy $(VENV)-datacompy/bin/python $(SAVE)
	$(BIN)/python -m deployments.sandbox.rivals --python $(VENV)-rivals/bin/python $(SAVE)
	$(BIN)/python -m deployments.sandbox.latency $(SAVE)
	@# These fail where a target is missed: the page tells that, too.
	$(BIN)/python -m deployments.sandbox.workers --patients 11000 --appointments 22000 $(SAVE) || missed=1; \
		$(BIN)/python -m deployments.sandbox.updates $(SAVE) || missed=1; \
		$(BIN)/python -m deployments.sandbox.bench $(SAVE) || missed=1; \
		$(BIN)/python -m deployments.sandbox.report && $(BIN)/python -m deployments.sandbox.sizing --write && exit $${missed:-0}

faults: $(STAMP)  ## Kill and mislead the transfer in every way we know, half an hour
	$(BIN)/python -m tests.faults.storm $(FAULTS)

soak: $(STAMP) odbc chromium  ## What lasts: an operator's day with its waits, ten thousand wild answers; three quarters of an hour
	$(BIN)/python -m pytest -m soak

# What the system must have for the tests of $(3): nothing where $(1) finds it, else the packages $(2), where we may.
define system
	@if { $(1); } >/dev/null 2>&1; then \
		true; \
	elif ! command -v apt-get >/dev/null; then \
		echo "No apt-get here: install $(2) yourself to run the $(3) tests."; \
	elif [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(2) >/dev/null; \
	elif sudo -n true 2>/dev/null; then \
		sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(2) >/dev/null; \
	else \
		echo "The $(3) tests will be skipped. To run them: sudo apt-get install $(2)"; \
	fi
endef

odbc:  ## Install the system's ODBC manager and FreeTDS, where we may
	$(call system,ldconfig -p | grep -q libodbc.so.2 && ls /usr/lib/*/odbc/libtdsodbc.so,unixodbc tdsodbc,SQL Server)

postgresql:  ## Install a PostgreSQL server, where we may; the tests start one of their own
	$(call system,command -v initdb || ls /usr/lib/postgresql/*/bin/initdb,postgresql,PostgreSQL)

redis:  ## Install a Redis server, where we may; make bench starts one of its own
	$(call system,command -v redis-server,redis-server,Redis)

chromium:  ## Install Debian's chromium, where we may; the tests of the UI drive it
	$(call system,command -v chromium || command -v chromium-browser || command -v google-chrome,chromium,browser)

# Three processes for two cores: a third of the time a test waits for a server or a browser.
test: $(STAMP) odbc chromium  ## Install and run the tests
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(STAMP)  ## Look for known vulnerabilities in the tested set; says so where nobody can be asked
	@$(BIN)/python .ci/audit.py

constraints: $(STAMP)  ## Write down the set of packages that is installed now
	@{ echo "# The whole tested set. Regenerate with: make constraints"; \
		$(BIN)/python -m pip freeze --exclude-editable | grep -v '@ '; } > deployments/constraints.txt

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
