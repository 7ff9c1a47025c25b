# Targets that run Python first update .venv, so only make and Python 3.11, 3.12 or 3.13 are needed.
# `make` alone prints the targets.

APP ?= language_model
APPS := $(patsubst apps/%/train.py,%,$(wildcard apps/*/train.py))
BENCHMARKS := $(patsubst benchmarks/%.py,%,$(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)))
PYTHON ?= python3 python3.13 python3.12 python3.11
PY := .venv/bin/python

# With this variable, Python compiles TensorFlow at each import.
unexport PYTHONDONTWRITEBYTECODE
# Hides the log of TensorFlow's C++ runtime; errors are still raised in Python.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help demo test lint format bench results lock clean venv

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile
	@echo "apps:         $(or $(APPS),none)"

ifneq ($(filter demo,$(MAKECMDGOALS)),)
unknown := $(filter-out all $(APPS),$(or $(strip $(APP)),(none)))
$(if $(unknown),$(error no such app: $(unknown). Choose APP from: all $(APPS)))
endif

define demo_of
$(PY) -m apps.$(1).train
$(PY) -m apps.$(1).export runs/$(1)/default
$(PY) -m shared.predict saved_models/$(1) $(addprefix @,$(wildcard apps/$(1)/demo/*))

endef

demo: venv ## train, export and query one app: APP=language_model, another, or all
	$(foreach app,$(if $(filter all,$(APP)),$(APPS),$(APP)),$(call demo_of,$(app)))

test: venv ## run the tests
	$(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: venv ## check style and format of the code
	$(PY) -m ruff check --no-cache
	$(PY) -m ruff format --check --no-cache

format: venv ## format the code
	$(PY) -m ruff check --fix-only
	$(PY) -m ruff format

define bench_of
$(PY) -m benchmarks.$(1)

endef

bench: $(if $(BENCHMARKS),venv) ## run each benchmark in turn
	$(if $(BENCHMARKS),$(foreach b,$(BENCHMARKS),$(call bench_of,$(b))),@echo "no benchmarks/*.py to run")

results: venv ## write the README tables from apps/*/results/*.json
	$(PY) -m shared.results

lock: ## update requirements.lock; UPGRADE=1 upgrades every version, not only what must change
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(find_python) -m venv "$$tmp"; "$$tmp/bin/python" -m pip install --quiet uv; \
	"$$tmp/bin/uv" pip compile --quiet --universal --all-extras --no-header --no-annotate \
	  --no-emit-index-url $(if $(UPGRADE),--upgrade) --output-file requirements.lock pyproject.toml

clean: ## remove caches; keep runs/, saved_models/ and .venv
	rm -rf .pytest_cache .ruff_cache build
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. The stamp contains the folder of the checkout and is written after a complete
# install: a moved checkout or an interrupted install starts again from an empty .venv.
STAMP := .venv/.installed
is_whole = [ "$$(cat $(STAMP) 2>/dev/null)" = "$$(pwd -P)" ] && $(PY) -c "" 2>/dev/null
is_fresh = $(is_whole) && [ -z "$$(find pyproject.toml requirements.lock -newer $(STAMP))" ]
suitable = import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
find_python = $(or $(shell for p in $(PYTHON); do \
    "$$p" -c "$(suitable)" 2>/dev/null && echo "$$p" && break; done),$(error Python 3.11, 3.12 or 3.13 \
  with its venv module is needed, and is not among: $(PYTHON). Install it (Debian, Ubuntu: \
  apt install python3-venv) or name one: make PYTHON=/path/to/python3.12))

venv:
	@$(if $(shell $(is_fresh) && echo yes),:,$(install))

# Two makes at once: flock holds fd 9 until this shell ends; then the second one has nothing to do.
define install
set -e; python="$(find_python)"; exec 9<Makefile; \
	"$$python" -c "import fcntl; fcntl.flock(9, fcntl.LOCK_EX)"; \
	if $(is_fresh); then exit 0; fi; \
	echo "installing into .venv: this takes some minutes the first time"; \
	if $(is_whole); then rm $(STAMP); else "$$python" -m venv --clear .venv; fi; \
	$(PY) -m pip install -c requirements.lock -e '.[all,dev]'; \
	pwd -P > $(STAMP)
endef
