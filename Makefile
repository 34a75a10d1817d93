# Every target sets up what it needs; `make setup` alone does nothing else. The second time costs a fraction of a second.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv/bin
DIR ?= .
JSON ?=
UPGRADE ?=
SECONDS ?= 600
SEED ?= 1
export JSON UPGRADE

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test check bench wasm wheel lock doctor deploy-check clean fuzz chaos transcript

help:
	@echo "make demo [DIR=...] [JSON=1]   an agent at the edge reads a directory of yours"
	@echo "make dev                       the edge and a model on this machine, until Ctrl-C"
	@echo "make test                      every test, the last ones in real workerd"
	@echo "make check                     format, lint, types, import arrows, generated pages, wasm, Rust and its tests"
	@echo "make deploy-check              the deployment without the upload"
	@echo "make bench | bench-<name>      measure, beside named peers (JSON=1 for programs)"
	@echo "make fuzz                      five minutes of mutated input"
	@echo "make chaos [SECONDS=600] [SEED=1]   sessions under load while everything around them is killed and cut"
	@echo "make wasm | wheel              rebuild the kernels; as a native wheel, in dist/ (needs Rust)"
	@echo "make transcript                write the README's transcript anew"
	@echo "make lock [UPGRADE=1]          renew the lock files"
	@echo "make setup | doctor | clean    install, say what is missing, remove what was made"

setup:
	@$(PYTHON) -m scripts.setup

demo: setup
	@$(VENV)/python -m scripts.demo --dir "$(DIR)"

dev: setup
	@$(VENV)/python -m scripts.dev

test: setup
	@$(VENV)/python -m pytest tests/core
	@$(VENV)/python -m pytest tests/client
	@$(VENV)/python -m pytest tests/edge

check: setup
	@$(VENV)/python -m scripts.check

bench: setup
	@$(VENV)/python -m bench

bench-%: setup
	@$(VENV)/python -m bench.$(subst -,_,$*)

deploy-check: setup
	@$(VENV)/python -m scripts.deploy_check

wasm: setup
	@$(VENV)/python -m scripts.build_wasm

wheel: setup
	@$(VENV)/python -m scripts.wheel

fuzz: setup
	@$(VENV)/python -m scripts.fuzz

chaos: setup
	@$(VENV)/python -m scripts.chaos --seconds $(SECONDS) --seed $(SEED)

transcript: setup
	@$(VENV)/python -m scripts.transcript

lock: setup
	@$(VENV)/python -m scripts.lock

doctor:
	@$(PYTHON) -m scripts.doctor

clean:
	rm -rf .venv .edgeloop .wrangler node_modules python_modules rust-wasm/target dist
