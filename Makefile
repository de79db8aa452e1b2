# Everything starts here, and everything works from a fresh clone: `make demo` and `make test`.
SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
SCANNERS := $(VENV)/scanners
INSTALLED := $(VENV)/.installed
SCANNERS_INSTALLED := $(SCANNERS)/.installed
WORKERS ?= auto
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_PYTHON_DOWNLOADS := never

.NOTPARALLEL:
.PHONY: help operate demo test conformance lint venv scanners chromium bench fuzz separation decisions publishing races hooks kill crash sabotage tamper lock rules reset shell
.DEFAULT_GOAL := help

help:      ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) $(SCANNERS_INSTALLED)   ## the whole portal with one handoff in it; Ctrl-C ends it. REPO=path COMMIT=rev PORT=8000
	@exec $(PY) -m leoportal.stack up --demo $${REPO:+--repo "$$REPO"} $${COMMIT:+--commit "$$COMMIT"}

test: lint chromium   ## lint, then every test on a throw-away PostgreSQL and Valkey. ARGS='-k word' WORKERS=2
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

conformance: $(INSTALLED)   ## cases of other projects from ../shared/corpora, or LEO_CORPORA; part of `make test`, skipped if absent
	@$(PY) -m pytest tests/test_conformance.py tests/test_conformance_signatures.py tests/github/test_hooks_corpus.py -rs $(ARGS)

# Linters that load the settings get a production's environment; none of them connects to a database.
lint: $(INSTALLED) $(SCANNERS_INSTALLED)   ## format, rules, types, layers, templates, deployment checks, migrations
	@if grep -nE '://|^ *-' requirements/*.txt | grep -vE ':[0-9]+: +--hash=sha256:[0-9a-f]{64}( \\)?$$'; then \
	   echo 'An address or an option in a lock file. Next: make lock'; exit 1; fi
	@$(PY) -m ruff format --quiet --check --output-format concise . || { echo 'Next: .venv/bin/ruff format .'; exit 1; }
	@$(PY) -m ruff check --quiet .
	@set -e; quietly() { "$$@" >$(VENV)/.lint 2>&1 || { cat $(VENV)/.lint; exit 1; }; }; \
	 SECRET_KEY=$$($(PY) -c 'import secrets; print(secrets.token_hex(32))'); SIGNING_KEY_PASSWORD=$$SECRET_KEY; \
	 export SECRET_KEY SIGNING_KEY_PASSWORD LEO_URL=https://portal.example ALLOWED_HOSTS=portal.example; \
	 export DATABASE_URL='postgresql:///none?host=/nonexistent'; \
	 unset DEBUG LEOPORTAL_EMBEDDED; \
	 quietly $(PY) -m mypy .; \
	 quietly $(VENV)/bin/lint-imports --no-logo; \
	 quietly $(PY) manage.py check --deploy --fail-level WARNING; \
	 quietly $(PY) -W 'ignore:Got an error checking a consistent:RuntimeWarning' \
	   manage.py makemigrations --check --dry-run; \
	 quietly find templates leoportal handoffs verdicts audit -name '*.html' \
	   -exec $(VENV)/bin/djade --check --target-version 6.1 {} +; \
	 quietly $(VENV)/bin/djlint --quiet --lint templates; \
	 quietly $(SCANNERS)/bin/shellcheck leoportal/stack/*.sh .ci/run
	@echo 'lint: clean'

venv: $(INSTALLED)   ## .venv from requirements/dev.txt
$(INSTALLED): requirements/dev.txt pyproject.toml leoportal/stack/find-python.sh
	@set -e; python=$$(sh leoportal/stack/find-python.sh); \
	 if ! $(PY) -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 15))' >/dev/null 2>&1; then \
	   echo "Making $(VENV) with $$python (about 20 s, once)"; rm -rf $(VENV); \
	   if uv --version >/dev/null 2>&1; then uv venv -q --no-project --python "$$python" $(VENV); \
	   else "$$python" -m venv $(VENV); fi; fi
	@sh leoportal/stack/install.sh $(PY) requirements/dev.txt .
	@touch $@

scanners: $(SCANNERS_INSTALLED)   ## .venv/scanners from requirements/scanners.txt
$(SCANNERS_INSTALLED): requirements/scanners.txt | $(INSTALLED)
	@set -e; if ! $(SCANNERS)/bin/python -c '' >/dev/null 2>&1; then \
	   echo "Making $(SCANNERS) (once)"; rm -rf $(SCANNERS); \
	   if uv --version >/dev/null 2>&1; then uv venv -q --no-project --python $(PY) $(SCANNERS); \
	   else $(PY) -m venv $(SCANNERS); fi; fi
	@sh leoportal/stack/install.sh $(SCANNERS)/bin/python requirements/scanners.txt
	@touch $@

chromium:   ## a Chromium for the browser tests, if this machine lets us
	@sh leoportal/stack/find-chromium.sh

fuzz: $(INSTALLED)   ## long fuzzing: archives, JSON, patches, envelopes, markers, SBOMs, policies. ARGS='json --seed 7 --rounds 1000'
	@$(PY) -m tests.fuzz $(ARGS)

crash: $(INSTALLED) $(SCANNERS_INSTALLED)   ## kill -9 of PostgreSQL under load, TIMES=200, about 15 min; nothing acknowledged is lost
	@LEO_CRASHES=$${TIMES:-200} $(PY) -m pytest -n 0 -s tests/kill/test_crashes.py $(ARGS)

separation: $(INSTALLED)   ## the arithmetic of separation against its oracle: 2,000 histories of 50 steps, about 10 min
	@SEPARATION_EXAMPLES=2000 $(PY) -m pytest -n 0 tests/audit/test_separation.py $(ARGS)

decisions: $(INSTALLED)   ## the portal's verdict and the single file's on 10,000 made-up inputs, about 5 min
	@DECISION_EXAMPLES=$${DECISION_EXAMPLES:-10000} $(PY) -m pytest -n 0 tests/verdicts/test_decisions_twice.py $(ARGS)

publishing: $(INSTALLED)   ## what leo-gate shows on GitHub: 2,000 histories of 50 steps, an error at every passage of every call site
	@PUBLISHING_EXAMPLES=$${PUBLISHING_EXAMPLES:-2000} LEO_FAULTS=1 $(PY) -m pytest -n 0 -s tests/verdicts/test_publishing.py tests/github/test_publishing_faults.py tests/github/test_publishing_races.py tests/github/test_outage.py $(ARGS)

races: $(INSTALLED)   ## everything that may be there once, fought over by 400 twos and 200 eights of real connections
	@LEO_RACES=1 $(PY) -m pytest -n 0 tests/test_races.py $(ARGS)

hooks: $(INSTALLED)   ## webhooks: 3,000 in 60 s while the worker dies, 10,000 sent 1 to 5 times, 50,000 made up, 20,000 interleavings, about 2 h
	@LEO_HOOKS=1 $(PY) -m pytest -n 0 -s tests/kill/test_webhooks.py tests/github/test_deliveries.py tests/github/test_interleavings.py $(ARGS)

bench: $(INSTALLED) $(SCANNERS_INSTALLED)   ## figures: the speed goals, a bundle stage by stage, pages with 100 and 100,000 handoffs. ARGS=goal1, bundle or pages
	@$(PY) -m bench $(ARGS)

kill: $(INSTALLED) $(SCANNERS_INSTALLED)   ## kill -9 around each effect on GitHub, at every place of the lanes, then at random moments. MINUTES=10 SEED=n TIMES=25
	@LEO_KILLS=1 $(PY) -m pytest -n 0 tests/github/test_killed_enforcer.py
	@exec $(PY) -m tests.kill.campaign --minutes $${MINUTES:-10} --signings $${TIMES:-25} $${SEED:+--seed "$$SEED"}

sabotage: $(INSTALLED)   ## take each guard of tests/sabotage out of a copy: its test must fail. ARGS=word for some of them
	@exec $(PY) -m tests.sabotage $(ARGS)

tamper: $(INSTALLED)   ## rewrite the log as its database's owner: 7 kinds at 100 places, before and after a checkpoint; the window, measured
	@PLACES=100 $(PY) -m pytest -n 0 -s tests/audit/test_tampering.py tests/audit/test_log_processes.py $(ARGS)

# From the oldest Python that pyproject.toml allows: --universal then locks for every later one, .python-version's 3.13, too.
lock:   ## requirements/*.txt anew from *.in; needs uv. UPGRADE=--upgrade
	@cd requirements && for name in base dev scanners parquet; do \
	   uv pip compile -q --universal --python-version 3.12 --generate-hashes --no-header --no-annotate \
	     $(UPGRADE) -o $$name.txt $$name.in || exit 1; done

rules: $(INSTALLED)   ## write leoportal/lanes/rules.txt anew after a migration: what guards the database, for the review
	@LEO_WRITE_RULES=1 $(PY) -m pytest -q -n 0 tests/lanes/test_catalogue.py -k rules_of_the_database

reset: $(INSTALLED)   ## throw the local data away
	@$(PY) -m leoportal.stack reset

operate: $(INSTALLED)   ## manage.py operate on the local data, also while the demo runs. ARGS='token story-gate'
	@$(PY) -m leoportal.stack run $(PY) manage.py operate $(ARGS)

shell: $(INSTALLED)   ## manage.py shell on the local data, also while the demo runs
	@exec $(PY) -m leoportal.stack run $(PY) manage.py shell
