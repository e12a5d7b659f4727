# SPDX-License-Identifier: AGPL-3.0-or-later

# Where what the tests need from outside is kept: models, clients, browsers' helpers. Not in the repository.
PARTS ?= $(CURDIR)/.parts
export HORDE_TEST_PARTS ?= $(PARTS)

.DEFAULT_GOAL := help

help: ## Show this.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the programs into bin/.
	go build -trimpath -o bin/ ./cmd/...

test: parts ## Install what the tests need where that can be done, and run everything.
	hack/check.sh
	hack/fuzz.sh 500x 60
	hack/test.sh

quick: ## Run the tests with what is installed already; what is missing is skipped.
	go test ./...

parts: ## Install what the tests need: browser, database, models and clients of others.
	hack/parts.sh "$(PARTS)"

fuzz: ## Run every fuzz target for a minute.
	hack/fuzz.sh 60s

SEEDS ?= 10000

sim: ## Simulate SEEDS worlds (10000) of the engine against faults; a seed that breaks a rule is told with how to replay it.
	go test ./internal/simulation -run 'TestSeeds$$' -timeout 2h -v -seeds=$(SEEDS)

roles: ## Print who may call what as the tests see it, and write it down in docs/roles.md.
	go test ./internal/conformance -run 'TestRole(Matrix|sAreDocumented)' -count=1 -v -update

examples: ## Run the conformance tests and tell which of them shows which worked example.
	go test ./internal/conformance -count=1 -v | grep -E '^(FAIL|ok|.*/example [0-9]+: |[a-z]+: [0-9]+ of )'

bench: ## Run the benchmarks of the path of a job.
	go test -run '^$$' -bench . -benchmem ./internal/dispatch ./internal/engine ./internal/store/... ./internal/api/...

bench-horde: ## Measure whole lifecycles against the targets of docs/performance.md (most of an hour).
	hack/bench.sh

ROUNDS ?= 1000

crash: ## Kill a server on SQLite ROUNDS times (1000) under load, and look each time for what it had acknowledged.
	HORDE_TEST_CRASH_ROUNDS=$(ROUNDS) go test ./internal/node -run '^TestKillsUnderLoadLoseNothing$$' -v -timeout 0

crash-cluster: ## Take the leader of three nodes on PostgreSQL away N times under load (default 60), and look for what was lost.
	HORDE_TEST_REQUIRE=1 HORDE_TEST_CLUSTER_ROUNDS=$(or $(N),60) go test ./internal/node -run '^TestLeadersThatDieOrSleepLoseNothing$$' -v -timeout 0

test-comfyui: ## Run the image worker against a real ComfyUI on the CPU, installed first (1 GB, minutes).
	hack/test-comfyui.sh "$(PARTS)"

.PHONY: help build test quick parts fuzz sim roles bench bench-horde crash crash-cluster test-comfyui
