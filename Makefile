# make help lists what there is. Everything sets itself up; a second make installs nothing again.
# make reproduce-cifar ARGS='scale=full seeds=[0]' passes overrides on.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
export PYTHONUNBUFFERED := 1

.PHONY: help setup test lint bench bench-gpu figures report publish dashboard wandb-workspace
.PHONY: reproduce-cifar reproduce-ablations reproduce-mnist reproduce-recurrent tune-cifar tune-mnist precision-cifar
.PHONY: reproduce-inception reproduce-changes figure-5 tune-inception

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 20

setup: .venv/installed  ## make .venv with the locked versions (the other targets do this first)

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit(f"error: Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}; try make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[0-9.]*' requirements.lock)"
	VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: lock
lock:  ## solve the dependencies of pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--extra dev --extra dashboard pyproject.toml -o requirements.lock

test: setup lint  ## the whole suite; real data are found through BATCHNORM_DATA
	$(BIN)/python -m pytest -n 2

lint: setup  ## style, and whether the README and results/ say what the records say
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/report.py --check

bench: setup  ## images per second against the usual recipe, and what the loop costs
	$(BIN)/python scripts/bench.py
	$(BIN)/python scripts/bench_mnist.py
	$(BIN)/python scripts/bench_images.py
	$(BIN)/python scripts/bench_images.py data.image_size=80 data.crop_size=64

bench-gpu: setup  ## on a GPU: images per second of one run, of its parts, compiled, and of several side by side
	$(BIN)/python scripts/bench_gpu.py --compiled $(ARGS)

reproduce-cifar: setup  ## Figures 2 and 3 on CIFAR-10, Dropout, initial weights, trained here
	$(BIN)/python scripts/reproduce.py cifar10_learning_rate cifar10_dropout \
		cifar10_initialization $(ARGS)

reproduce-ablations: setup  ## changes one at a time, batch sizes, statistics, depth, the small Inception (64 minutes)
	$(BIN)/python scripts/reproduce.py cifar10_ablations cifar10_depth cifar10_shift \
		cifar10_inception cifar10_inception_published $(ARGS)

reproduce-mnist: setup  ## Figure 1 on MNIST (6 minutes), the scale of its initial weights (2)
	$(BIN)/python scripts/reproduce.py mnist mnist_initialization $(ARGS)

reproduce-recurrent: setup  ## an LSTM that reads MNIST's pixels, with BN at each time step: C29 (12 minutes)
	$(BIN)/python scripts/reproduce.py mnist_recurrent $(ARGS)

reproduce-inception: setup  ## Figures 2 to 4 with the paper's network on Imagenette: C8 to C13, C25 (30 to 40 minutes)
	$(BIN)/python scripts/reproduce.py imagenette imagenette_ensemble $(ARGS)

reproduce-changes: setup  ## the changes of section 4.2.1 one at a time, on Imagenette: C19, C20, C24 (20 to 30 minutes)
	$(BIN)/python scripts/reproduce.py imagenette_changes $(ARGS)

figure-5: setup  ## the table of Figure 5, with the sizes and parameters of our network beside it
	$(BIN)/python scripts/figure_5.py $(ARGS)

tune-inception: setup  ## the 1x rate on Imagenette, chosen on a hold-out (11 minutes)
	$(BIN)/python scripts/reproduce.py imagenette_tune $(ARGS)

tune-cifar: setup  ## the shared decay, the 1x rate, the rates of BN and of single arms, chosen on a hold-out (4 hours)
	$(BIN)/python scripts/reproduce.py cifar10_schedule cifar10_tune cifar10_tune_bn \
		cifar10_tune_inception cifar10_tune_dropout cifar10_tune_ablations cifar10_tune_depth \
		cifar10_tune_sigmoid $(ARGS)

tune-mnist: setup  ## the learning rates of both nets of Figure 1, swept on a hold-out (20 minutes)
	$(BIN)/python scripts/reproduce.py mnist_tune $(ARGS)

precision-cifar: setup  ## four of the arms in float32: does bfloat16 bias the comparison? (17 minutes)
	$(BIN)/python scripts/reproduce.py cifar10_precision $(ARGS)

figures: setup  ## draw results/ and the README's tables from the committed records
	$(BIN)/python scripts/report.py --readme README.md

report: setup  ## results/report.html: the interactive page of the committed records, one file
	$(BIN)/python scripts/report.py --html

publish: setup  ## promote your finished records from outputs/ to results/
	$(BIN)/python scripts/publish.py; status=$$?; \
		$(BIN)/python scripts/report.py --readme README.md && exit $$status

dashboard: setup  ## follow running and finished runs on a page of this machine, without an account
	$(BIN)/python scripts/dashboard.py $(ARGS)

wandb-workspace: setup  ## for who is logged in to W&B: a workspace per experiment, and a report
	$(BIN)/python scripts/wandb_workspace.py $(ARGS)
