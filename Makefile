# One command each. `make run` as root on a fresh Debian 12 shows a mesh heal itself; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run test check format chaos kernels image lock clean

BIN := .venv/bin
# pytest rewrites each test file it imports; without its cache every worker of every run would do that anew.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -q
# Most of a test's time is waiting: two workers a core, and on two cores two whole systems and what needs none
# (TEST_HOUSES=0: one system, one test after another).
TEST_WORKERS ?= $(shell echo $$((2 * $$(nproc))))
TEST_HOUSES ?= 3
UNIT = $(PYTEST) -n $(TEST_WORKERS) --dist loadfile -m "not e2e"
# ONCE=1 stops after one fault; HEAL=0 shows what routing alone does.
ONCE ?=
FAULT ?= grey
NODES ?= 6
TOPOLOGY ?= ring-chord
HEAL ?= 1
# What scripts/image.sh is told; empty is its own default.
export BASE EXTRAS TAG

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

setup: ## Install what is missing: system packages, Python environment, eBPF objects
	@scripts/setup.sh

run: setup ## Bring a mesh up, harm it, heal it (ONCE=1 FAULT=grey NODES=6 TOPOLOGY=ring-chord HEAL=1)
	@$(BIN)/x0tta6bl4 demo --fault $(FAULT) --nodes $(NODES) --topology $(TOPOLOGY) \
		$(if $(filter 0,$(HEAL)),--no-heal,--heal) $(if $(filter-out 0,$(ONCE)),--once)

test check chaos: export FOR_TESTS := 1
test: setup ## Run every test that ends in minutes; each skip says why
	@# The whole system at work wants the machine to itself, so the two parts follow each other. Both always run.
	@status=0; \
	$(UNIT) --durations 10 || status=$$?; \
	$(PYTEST) -n $(TEST_HOUSES) --dist loadfile --durations 10 -m e2e || status=$$?; \
	exit $$status

check: setup ## Format, lint, types, layers, and all tests but the end-to-end ones
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(UNIT)

format: setup ## Format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

chaos: setup ## Run the long tests: every kill at every stage of a heal, a thousand orders under kills, races, leaks
	@status=0; \
	X0_CHAOS=1 $(PYTEST) -n $(TEST_HOUSES) --dist loadfile --durations 10 -m e2e tests || status=$$?; \
	X0_CHAOS=1 $(PYTEST) tests/ebpf/test_leaks.py || status=$$?; \
	exit $$status

kernels: setup ## Boot Debian's 6.1 and 6.12 kernels under QEMU and run the eBPF tests there (long; needs qemu)
	@scripts/kernels.sh

image: ## Build the images x0tta6bl4 and x0tta6bl4-node with docker or buildah (BASE= EXTRAS= TAG=, see docs/deploy.md)
	@scripts/image.sh

lock: ## Resolve requirements.lock anew from pyproject.toml (needs uv)
	@# For 3.11.0 and up: Debian 12 has 3.11.2, which needs a package or two that later ones do not.
	@uv pip compile pyproject.toml --extra dev --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--no-annotate --no-header -q -o requirements.lock

clean: ## Remove what set-up and the tools made; the state folder stays (`x0tta6bl4 down` first)
	@rm -rf .venv .setup .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache x0tta6bl4.egg-info
	@rm -f ebpf/programs/*.o
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
