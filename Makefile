# make demo and make test do everything on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv demo bench faults test lint odbc chromium constraints clean

$(STAMP): pyproject.toml deployments/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deployments/constraints.txt -e '.[dev,odbc]'
	@touch $(STAMP)

venv: $(STAMP)  ## Create .venv with the tested set of packages

demo: $(STAMP)  ## Install, start the sandbox and run the main job on it
	$(BIN)/ident-amocrm demo

bench: $(STAMP)  ## Measure the first load against amoCRM's pace, about five minutes
	$(BIN)/python -m deployments.sandbox.bench

faults: $(STAMP)  ## Kill and mislead the transfer in every way we know, about half an hour
	$(BIN)/python -m tests.faults.storm $(FAULTS)

odbc:  ## Install the system's ODBC manager and FreeTDS, where we may
	@if ldconfig -p 2>/dev/null | grep -q libodbc.so.2 && ls /usr/lib/*/odbc/libtdsodbc.so >/dev/null 2>&1; then \
		true; \
	elif ! command -v apt-get >/dev/null; then \
		echo "No apt-get here: install unixODBC and FreeTDS yourself to run the SQL Server tests."; \
	elif [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq unixodbc tdsodbc >/dev/null; \
	elif sudo -n true 2>/dev/null; then \
		sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq unixodbc tdsodbc >/dev/null; \
	else \
		echo "The SQL Server tests will be skipped. To run them: sudo apt-get install unixodbc tdsodbc"; \
	fi

chromium:  ## Install Debian's chromium, where we may: the test of the forms drives it
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		command -v google-chrome >/dev/null; then \
		true; \
	elif ! command -v apt-get >/dev/null; then \
		echo "No apt-get here: install chromium yourself to run the tests of the forms."; \
	elif [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	elif sudo -n true 2>/dev/null; then \
		sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	else \
		echo "The tests of the forms will be skipped. To run them: sudo apt-get install chromium"; \
	fi

test: $(STAMP) odbc chromium  ## Install and run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

constraints: $(STAMP)  ## Write down the set of packages that is installed now
	@{ echo "# The whole tested set. Regenerate with: make constraints"; \
		$(BIN)/python -m pip freeze --exclude-editable | grep -v '@ '; } > deployments/constraints.txt

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
