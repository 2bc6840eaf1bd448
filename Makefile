# Two commands matter: `make deploy` and `make test`. Everything else is listed by `make help`.
ENV ?= local
EXTRA ?=
INVENTORY := inventories/$(ENV)
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Test processes at a time. Those on real servers wait most of the time.
JOBS ?= 2
SERVER_JOBS ?= 4
UV := $(BIN)/uv
PLAYBOOK := $(BIN)/ansible-playbook -i $(INVENTORY) $(EXTRA)
LOCAL_AWS := $(BIN)/python -m local_aws
# The local inventory has one deployment, and its AWS takes any credentials; elsewhere the name must be given.
ifeq ($(ENV),local)
NAME ?= mlflow-demo
LOCAL_CREDENTIALS := AWS_ACCESS_KEY_ID=AKIALOCALAWS00000000 AWS_SECRET_ACCESS_KEY=local-aws-secret-access-key-0000000000000
endif

export PATH := $(CURDIR)/$(BIN):$(PATH)
# uv trusts what this machine trusts, as pip does: a company's proxy may sign for the package index.
export UV_SYSTEM_CERTS := true
# uv leaves compiling to the first import. Where Python may not keep what it has compiled, everything takes almost twice as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup cost deploy status report logs users verify doctor scale image upgrade backup restore rotate gc migrate password destroy local-aws-up local-aws-down lint sanity unit integration test test-long audit \
	bench requirements constraints operator-policy clean

help: ## Show the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'
	@echo "  ENV=<folder of inventories/> (default: local)   EXTRA='<options of ansible-playbook>'"

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $$(grep -E '^uv==' requirements/local_aws.txt | cut -d ' ' -f 1)

# A stamp a requirements file: what is installed is what is pinned, nothing is installed twice.
$(VENV)/.local_aws: requirements/local_aws.txt $(BIN)/uv
	$(UV) pip install --quiet --python $(BIN)/python --requirements requirements/local_aws.txt
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.local_aws
	$(UV) pip install --quiet --python $(BIN)/python --requirements requirements/test.txt
	@touch $@

# In an environment of its own: what prowler pins does not fit what we do.
$(VENV)/.audit: requirements/audit.txt $(BIN)/uv
	$(UV) venv --quiet --clear $(VENV)/audit
	$(UV) pip install --quiet --python $(VENV)/audit/bin/python --requirements requirements/audit.txt
	@touch $@

setup: $(VENV)/.local_aws ## Install the pinned dependencies into .venv

local-aws-up: setup
	@$(LOCAL_AWS) up

local-aws-down: setup
	@$(LOCAL_AWS) down

cost: setup ## Tell what the deployment costs a month, before it exists
	@$(PLAYBOOK) playbooks/cost.yml

deploy: setup $(if $(filter local,$(ENV)),local-aws-up) ## Deploy and verify MLflow
	@$(PLAYBOOK) playbooks/site.yml
	@$(if $(filter local,$(ENV)),echo "The password: make password")

status: setup ## Tell how the deployment is
	@$(PLAYBOOK) playbooks/status.yml

report: setup ## Write how the deployment is as a page: deployments/<name>/report.html and report.md
	@$(PLAYBOOK) playbooks/report.yml

logs: setup ## Show what the tasks logged in the last ten minutes
	@$(PLAYBOOK) playbooks/logs.yml

users: setup ## Apply the users, groups and grants of the inventory
	@$(PLAYBOOK) playbooks/users.yml

verify: setup ## Prove that the deployment works
	@$(PLAYBOOK) playbooks/verify.yml

doctor: setup ## Tell why the deployment is sick, and what to do about it
	@$(PLAYBOOK) playbooks/doctor.yml

scale: setup ## Change number and size of tasks, or the database class: EXTRA='-e scale_desired_count=4'
	@$(PLAYBOOK) playbooks/scale.yml

image: setup ## Build the image of mlflow_version and keep it in ECR, for mlflow_image: built
	@$(PLAYBOOK) playbooks/image.yml

upgrade: setup ## Bring MLflow to mlflow_version, or tell what that means: EXTRA='-e mlflow_version=3.17.2 --check'
	@$(PLAYBOOK) playbooks/upgrade.yml

backup: setup ## Back the database up now; EXTRA='-e backup_list=true' lists what there is
	@$(PLAYBOOK) playbooks/backup.yml

restore: setup ## Bring a lost database back from its latest snapshot, or as EXTRA says: docs/backup-and-restore.md
	@$(PLAYBOOK) playbooks/restore.yml

gc: setup ## Tell what was deleted in MLflow long ago; EXTRA='-e gc_delete=true' removes it for good
	@$(PLAYBOOK) playbooks/gc.yml

rotate: setup ## Replace the passwords and the server key (EXTRA='-e rotate_secrets=admin' for one of them)
	@$(PLAYBOOK) playbooks/rotate.yml

migrate: setup ## Move in from another MLflow: EXTRA='-e migrate_source_tracking_uri=http://localhost:5000'
	@$(PLAYBOOK) playbooks/migrate.yml

password: setup ## Show the admin's password (elsewhere than local: NAME=<deployment name>)
	@$(LOCAL_CREDENTIALS) $(BIN)/python scripts/admin_password.py deployments/$(NAME)/outputs.json

destroy: setup ## Take the deployment away, and the local AWS with it (elsewhere: NAME=<deployment name> to confirm)
	@if [ "$(ENV)" != local ] || $(LOCAL_AWS) status >/dev/null 2>&1; then \
		$(PLAYBOOK) playbooks/destroy.yml -e confirm_destroy=$(NAME); fi
	@$(if $(filter local,$(ENV)),$(LOCAL_AWS) down)

lint: $(VENV)/.test ## Run ansible-lint with the production profile
	$(BIN)/ansible-lint --offline --profile production --strict

sanity: $(VENV)/.test ## Run ansible-test sanity
	tests/sanity/run $(BIN)

unit: $(VENV)/.test ## Run the unit tests, with branch coverage of plugins/
	$(BIN)/pytest tests/unit -n $(JOBS) --cov=plugins --cov-report=term-missing:skip-covered --cov-fail-under=95

# In the order of the files: those that take longest come first. A file of tests is never split.
# The tests of the connection are Ansible's controller themselves: they run in a process of their own.
CONNECTION := tests/integration/warm_local
SIDE_BY_SIDE := --ignore $(CONNECTION) -n $(SERVER_JOBS) --dist loadfile --no-loadscope-reorder

integration: $(VENV)/.test ## Run the tests on real servers
	$(BIN)/pytest $(CONNECTION) -m "not long"
	$(BIN)/pytest tests/integration -m "not long and not audit" $(SIDE_BY_SIDE)

# Two at a time what starts no servers; the output of each in one piece.
test: $(VENV)/.test ## Run every test but the exhaustive ones
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint sanity unit
	@$(MAKE) --no-print-directory integration

test-long: $(VENV)/.test ## Run the exhaustive tests too
	$(BIN)/pytest $(CONNECTION)
	$(BIN)/pytest tests -m "not audit" $(SIDE_BY_SIDE)

audit: $(VENV)/.test $(VENV)/.audit ## Let an outside scanner, prowler, judge a deployment (it is large; keeps docs/controls.md)
	$(BIN)/pytest tests/integration/deployment -m audit -s

bench: $(VENV)/.test ## Measure the playbooks, as ratios; BENCH='overlap --times 1' for a part
	$(BIN)/python -m tests.benchmarks.deploy
	$(BIN)/python -m tests.benchmarks.speed $(BENCH)

requirements: $(BIN)/uv ## Pin the dependencies anew
	for set in run local_aws test audit; do \
		$(UV) pip compile --quiet --universal --python-version 3.11 --no-annotate --upgrade \
			--custom-compile-command "make requirements" requirements/$$set.in --output-file requirements/$$set.txt; done

constraints: $(BIN)/uv ## Pin MLflow's dependencies anew, version by version
	$(BIN)/python roles/ecs_mlflow/files/constraints/generate
	$(BIN)/python roles/ecs_mlflow/files/constraints/generate --into tests/integration/constraints

operator-policy: $(BIN)/uv ## Make the policies of docs/iam anew, from docs/iam/operations.txt
	$(UV) run --no-project --with policy_sentry==0.15.2 --with-requirements requirements/run.txt \
		python -m scripts.operator_policy write

clean: ## Remove what the tests and the set-up left (not a running local AWS)
	rm -rf .cache .pytest_cache .hypothesis build tests/output $(VENV)
