# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` set up what they need, once; after that they run without the network.

# python3.11 if it is there and works (version managers leave stubs that do not), else python3.
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3; do "$$p" -c '' >/dev/null 2>&1 && echo "$$p" && break; done)
endif

VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# A venv is bound to its place and its interpreter, so both are part of the key.
KEY := $(shell { cat pyproject.toml constraints.txt; echo '$(PYTHON)'; pwd; } | sha256sum | cut -c 1-16)
MADE_VENV := $(VENV)/.made-venv-$(KEY)
MADE_DEMO := $(VENV)/.made-demo-$(KEY)
MADE_TEST := $(VENV)/.made-test-$(KEY)

# libatomic: the locked updates of the shared flag word.
RUN_PACKAGES := libatomic1
# What builds and boots the rig, and what counts states beside our own search.
TEST_PACKAGES := $(RUN_PACKAGES) qemu-system-x86 debootstrap busybox-static cpio kmod e2fsprogs pciutils \
	spin gcc libc6-dev

.DELETE_ON_ERROR:
.PHONY: help demo test check format clean python run-packages test-packages

help:
	@echo 'make demo    the whole life of a device, proved, served, recorded and judged, in under a minute'
	@echo 'make test    lint, types and the whole suite, real Xen under QEMU included'
	@echo 'make check   lint and types only'
	@echo 'make format  let ruff format the code'
	@echo 'make clean   remove everything that was built'

# The environment of the tests has all that the demo needs.
demo: run-packages $(or $(wildcard $(MADE_TEST)),$(MADE_DEMO))
	@$(VENV)/bin/pvpci demo

test: test-packages check
	@$(VENV)/bin/python -m pytest

check: $(MADE_TEST)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

format: $(MADE_TEST)
	@$(VENV)/bin/ruff format .

run-packages:
	@.ci/packages $(RUN_PACKAGES)

test-packages:
	@.ci/packages $(TEST_PACKAGES)

python:
	@test -n '$(PYTHON)' || { echo 'pvpci: make: no python3 found; install Python 3.11 or newer' >&2; exit 2; }
	@command -v '$(PYTHON)' >/dev/null || { echo 'pvpci: make: there is no $(PYTHON); give another: make PYTHON=/path/to/python3.11' >&2; exit 2; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "pvpci: make: $(PYTHON) is `'$(PYTHON)' -V 2>&1`; Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; \
	  exit 2; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || .ci/packages \
	  "`'$(PYTHON)' -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'`"
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { echo \
	  'pvpci: make: $(PYTHON) has no venv module; on Debian and Ubuntu it is in the package python3-venv' >&2; exit 2; }

$(MADE_VENV): | python
	@echo 'pvpci: make: setting up $(VENV), once' >&2
	@'$(PYTHON)' -m venv --clear $(VENV)
	@touch $@

$(MADE_DEMO): | $(MADE_VENV)
	@$(PIP) -e '.[prove]'
	@touch $@

$(MADE_TEST): | $(MADE_VENV)
	@$(PIP) -e '.[prove,test]'
	@touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find model proofs impl traces tests -name __pycache__ -type d -prune -exec rm -rf {} +
