# What people do here, a line each. ARGS reaches the command: make up ARGS=--detach

ARGS =
BIN = .venv/bin
N8N = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/roundhouse/n8n-2.7.5
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate $(ARGS)
EXTRAS = --extra embedded --extra gpu pyproject.toml

.PHONY: up down status demo test test-n8n n8n-catalogue check bench profile chaos overload contracts \
	requirements install-dev

up: ## start the stores and the services
	@./roundhouse up $(ARGS)

down: ## stop them
	@./roundhouse down $(ARGS)

status: ## what runs, and how it is
	@./roundhouse status $(ARGS)

demo: ## run the examples on what `up` started
	@./roundhouse demo $(ARGS)

test: install-dev ## every test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

test-n8n: install-dev ## the workflows on a real n8n, which it installs first (1.7 GB, once)
	tests/n8n/install.sh $(N8N)
	N8N_PROGRAM=$(N8N)/node_modules/.bin/n8n $(BIN)/python -m pytest tests/n8n $(ARGS)

n8n-catalogue: install-dev ## what the workflows may use of n8n, from n8n itself
	tests/n8n/install.sh $(N8N)
	N8N_USER_FOLDER=$(N8N) $(N8N)/node_modules/.bin/n8n export:nodes --output $(N8N)/nodes.json
	$(BIN)/python -m tests.n8n.catalogue $(N8N)/nodes.json 2.7.5

check: install-dev ## format, lint, types, import rules, contracts, house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m cli contracts --check
	$(BIN)/python -m pytest --quiet tests/house

bench: install-dev ## what a request costs, here and elsewhere: ROUNDS=5, QUICK=1, ONLY=ours,litellm,crowd
	$(BIN)/python -m tests.benchmarks $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick) \
		$(if $(ONLY),--only $(ONLY)) $(ARGS)

profile: install-dev ## where the services spend their time: ARGS=--compact
	$(BIN)/python -m tests.benchmarks.profiling $(ARGS)

chaos: install-dev ## real processes under fire: SEEDS=20 SEED=1 REQUESTS=10000, REPORT=1, MUTANT=1
	@$(BIN)/python -m tests.chaos $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(REQUESTS),--requests $(REQUESTS)) $(if $(REPORT),--report) \
		$(if $(MUTANT),--mutant) $(ARGS)

overload: install-dev ## ten times what can be served: MINUTES=5
	@$(BIN)/python -m tests.chaos.overload $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

contracts: install-dev ## generate what is generated from shared/events
	$(BIN)/python -m cli contracts $(ARGS)

requirements: ## pin again after a change of pyproject.toml (needs uv; ARGS=--upgrade for newer ones)
	$(COMPILE) $(EXTRAS) --output-file requirements/runtime.txt
	$(COMPILE) $(EXTRAS) --group dev --constraint requirements/runtime.txt \
		--output-file requirements/dev.txt
	$(COMPILE) --extra gpu pyproject.toml --constraint requirements/runtime.txt \
		--output-file requirements/image.txt
	echo pip | $(COMPILE) - --output-file requirements/pip.txt

install-dev:
	@ROUNDHOUSE_REQUIREMENTS=dev ./roundhouse --version
