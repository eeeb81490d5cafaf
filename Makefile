# SPDX-License-Identifier: Apache-2.0
#
# `make` alone lists the targets. `make build` and `make run` need Go and nothing else; every other target installs
# from the distribution's packages what it lacks, and says so first.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

GO ?= go
# Go writes the version, taken from the tag and the commit, into the binaries. Where git cannot be asked (a source
# archive, or root in somebody else's checkout) they say "(devel)" instead of failing to build.
VCS := $(shell git rev-parse -q --verify HEAD >/dev/null 2>&1 && echo true || echo false)
BUILD = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=$(VCS) -ldflags='-s -w'
# Tools come from a module of their own, pinned by its go.sum, and are built when they are first used.
TOOL = $(GO) tool -modfile=tools/go.mod
STAGE = tools/stage
SUDO = $(if $(filter-out 0,$(shell id -u)),sudo)

# What needs the machine, as root, is below test/; all other packages are unit tests. The scripts of cmd/spoor start the program hundreds of
# times, which the race detector makes three times as slow; the packages that it is made of are tested with it.
UNIT = $$($(GO) list ./... | grep -v '^github.com/spoor/spoor/\(test\(/\|$$\)\|cmd/spoor$$\)')
# Executions, not seconds: a Go fuzzer that is stopped by the clock now and then fails with "context deadline exceeded".
FUZZTIME ?= 4000x
KERNELS ?= 5.10 6.1 6.12
# base is what every kernel has; full takes the best of each.
TIERS ?= base
IN_KERNEL = env CGO_ENABLED=0 VM_TIMEOUT=3600 $(GO) test -count=1 -timeout=90m -exec "$$PWD/test/kernels/exec $$kernel"
DATA ?= build/data

##@ Use

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## Build static bin/spoor and bin/spoor-agent
	@mkdir -p bin
	$(BUILD) -o bin/ ./cmd/spoor ./cmd/spoor-agent

.PHONY: run
run: build ## Watch this machine: `spoor up` with its data in build/data; needs root, and uses sudo to become it
	@mkdir -p $(DATA)
	@$(if $(SUDO),echo "Loading eBPF programs needs root: sudo asks for your password.";) \
	exec $(SUDO) bin/spoor up --data $(DATA)

.PHONY: image
image: build ## Build container images, one for each binary, as build/image/*.tar
	@tools/deps image
	tools/image

##@ Test

.PHONY: test
test: ## Everything that must pass; needs root for the parts that load eBPF programs
	@$(STAGE) --begin
	@$(STAGE) packages $(MAKE) --no-print-directory deps
	@$(STAGE) build $(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory verify image-test fuzz
	@$(STAGE) "unit tests" $(MAKE) --no-print-directory unit
	@$(STAGE) "formats of others" $(MAKE) --no-print-directory test-formats
	@$(STAGE) "web page" $(MAKE) --no-print-directory test-web
	@$(STAGE) "integration tests" $(MAKE) --no-print-directory integration
	@$(STAGE) "pods that come and go" $(MAKE) --no-print-directory test-churn CHURN=10s
	@$(STAGE) "kernel 6.1" $(MAKE) --no-print-directory test-kernel
	@$(STAGE) --summary
	@grep -hE '^(ok|FAIL|---)' build/unit.log build/web.log build/integration.log

.PHONY: unit
unit: ## Unit tests, with the race detector (not of SQLite, 25 times slower with it, nor of the command line's scripts)
	@tools/deps test
	@tools/unpack prometheus-alertmanager prometheus-alertmanager
	@mkdir -p build
	@PATH="$$PWD/build/packages/usr/bin:$$PATH" CGO_ENABLED=1 $(GO) test -race -gcflags='modernc.org/...=-race=false' -shuffle=on -count=1 -timeout=10m $(UNIT) 2>&1 | tee build/unit.log
	@PATH="$$PWD/build/packages/usr/bin:$$PATH" $(GO) test -shuffle=on -count=1 -timeout=10m ./cmd/spoor 2>&1 | tee -a build/unit.log

.PHONY: integration
integration: build ## Tests of the real thing, as root, on this machine's kernel or, where it refuses, in a virtual machine
	@mkdir -p build
	@tools/integration 2>&1 | tee build/integration.log

.PHONY: test-web
test-web: ## The web page in a real browser
	@tools/deps web
	@mkdir -p build
	@$(GO) -C test/web test -count=1 -timeout=10m ./... 2>&1 | tee build/web.log

.PHONY: test-formats
test-formats: build ## What spoor writes for others (JUnit, SARIF, network policies), read, checked and decided by programs of others
	@$(GO) -C test/formats test -count=1 ./...

.PHONY: test-kernels
test-kernels: build ## The integration tests on Debian's kernels 5.10, 6.1 and 6.12, in virtual machines; columns for `make coverage`
	@test/kernels/deps
	@test/kernels/fetch $(KERNELS)
	@mkdir -p build/coverage test/coverage/columns
	@failed=0; for kernel in $(KERNELS); do \
		$(STAGE) "kernel $$kernel" $(IN_KERNEL) ./test/up ./test/selftest ./test/kernels/verifier || failed=1; \
		for tier in $(TIERS); do \
			VM_OUT=$$PWD/build/coverage/$$kernel-$$tier.json $(STAGE) "coverage of kernel $$kernel, tier $$tier" \
				$(IN_KERNEL) ./test/coverage -tier $${tier/full/auto} || failed=1; \
		done; \
	done; exit $$failed

.PHONY: test-kernel
test-kernel: build ## The same in short: what is seen on kernel 6.1, ext4 and xfs
	@test/kernels/deps
	@CGO_ENABLED=0 $(GO) test -count=1 -timeout=60m -exec "$$PWD/test/kernels/run 6.1 -s ext4,xfs -m sctp,nft_nat,nft_chain_nat" ./test/coverage

.PHONY: test-upgrade
test-upgrade: build ## Replace the agent 100 times under load, and look for facts that are missing or doubled
	@SPOOR_UPGRADES=$${SPOOR_UPGRADES:-100} tools/integration -v -run 'TestUpgrade$$' ./test/upgrade

.PHONY: test-upgrade-full
test-upgrade-full: build ## The same in the full tier: 6 times, in a virtual machine with kernel 6.12; takes 2 to 6 minutes
	@test/kernels/deps
	@CGO_ENABLED=0 $(GO) test -c -o build/upgrade.test ./test/upgrade
	@cd test/upgrade && ../kernels/run 6.12 -s ext4 -m veth,bridge -f bin -e TMPDIR=/fs/ext4 -e SPOOR_UPGRADES=$${SPOOR_UPGRADES:-6} -- ../../build/upgrade.test -test.v -test.run 'TestUpgrade$$'

.PHONY: test-verdicts
test-verdicts: build ## Run real programs with known answers, and write what is said of them as docs/verdicts.md; takes 6 minutes
	@tools/deps programs
	@CGO_ENABLED=0 $(GO) build -o build/verdict-store ./test/verdicts/store
	@CGO_ENABLED=0 $(GO) build -o build/verdicts ./test/verdicts
	@$(SUDO) build/verdicts $(VERDICTS)

.PHONY: test-tutorial
test-tutorial: build ## Everything that docs/tutorial.md tells people to type, in a folder of its own, with what must come of it; half a minute
	@tools/deps programs
	@$(GO) test -count=1 -timeout=5m -exec "$(or $(SUDO:sudo=sudo -E),env)" ./test/tutorial

QUIET ?= 30m

.PHONY: test-quiet
test-quiet: build ## Watch services as the distribution installs them for QUIET (30m), and a third of that by learned contracts: nobody may be told
	@tools/deps programs
	@CGO_ENABLED=0 $(GO) build -o build/verdicts ./test/verdicts
	@$(SUDO) build/verdicts -host $(QUIET)

.PHONY: test-chaos
test-chaos: build ## Kill agents, the collector and what is between them 100 times each under load, also of one that forwards, and count every event
	@SPOOR_KILLS=$${SPOOR_KILLS:-100} tools/integration -v -timeout 30m -run 'TestChaos' ./test/chaos

.PHONY: engine
engine: ## Install ClickHouse's engine for the tests of the store for fleets, in build/engine; fetches 150 MB once
	@tools/deps engine
	@mkdir -p build/engine
	@cmp -s test/clickhouse/engine/package-lock.json build/engine/package-lock.json || { \
		cp test/clickhouse/engine/package.json test/clickhouse/engine/package-lock.json build/engine/; \
		npm ci --prefix build/engine --no-audit --no-fund --ignore-scripts || { rm -f build/engine/package-lock.json; exit 1; }; }

.PHONY: test-clickhouse
test-clickhouse: engine ## The store for fleets with ClickHouse's engine: what every store promises, and two collectors that are killed; takes 5 minutes
	@$(GO) test -count=1 -timeout=30m -v ./test/clickhouse 2>&1 | tee build/clickhouse.log | grep -E '^( *--- |ok|FAIL|PASS|panic)|_test.go'; exit $${PIPESTATUS[0]}

.PHONY: test-cluster
test-cluster: build ## The shop of test/shop in a two-node Kubernetes on this machine, every event compared; builds Kubernetes once, in 15 minutes
	@$(SUDO) test/cluster/deps
	@test/cluster/build
	@$(GO) test -count=1 -timeout=30m -v -exec "$(or $(SUDO:sudo=sudo -E),env)" ./test/cluster
	@$(GO) -C test/formats test -count=1 -run Replay ./... -shop ../../build/shop

.PHONY: test-churn
test-churn: build ## Real containers that come and go at 20 a second for five minutes: every event named, and memory that stays; CHURN=1m
	@$(SUDO) test/cgroup/deps churn
	@test/cgroup/images build/cgroup
	@SPOOR_CHURN=$(or $(CHURN),5m) $(GO) test -count=1 -timeout=30m -v -run 'TestChurn$$' -exec "$(or $(SUDO:sudo=sudo -E),env)" ./test/cgroup

.PHONY: test-crio
test-crio: build ## Pods of a CRI-O on this machine: every event named; builds CRI-O once, in some minutes
	@$(SUDO) test/cgroup/deps crio
	@test/cgroup/crio/build build/crio
	@test/cgroup/images build/cgroup
	@$(GO) test -count=1 -timeout=10m -v -run 'TestCRIO$$' -exec "$(or $(SUDO:sudo=sudo -E),env)" ./test/cgroup

CGROUPS ?= v2 v1

.PHONY: test-cgroup2
test-cgroup2: build ## Units, logins, docker, podman, CRI-O and NFS in a virtual machine with systemd, on cgroup v2 and on v1; makes it once, in 10 minutes
	@test/kernels/deps
	@$(SUDO) test/cgroup/deps machine
	@test/cgroup/crio/build build/crio
	@test/cgroup/images build/cgroup
	@test/kernels/fetch 6.1
	@$(SUDO:sudo=sudo -E) test/cgroup/machine/image >/dev/null
	@failed=0; for cgroups in $(CGROUPS); do \
		$(STAGE) "cgroup $$cgroups" env CGO_ENABLED=0 $(GO) test -count=1 -timeout=40m -v -run 'TestSystemd$$|TestCRIO$$|TestNFS$$' \
			-exec "$$PWD/test/cgroup/machine/exec $$cgroups" ./test/cgroup || failed=1; \
	done; exit $$failed

.PHONY: coverage
coverage: build ## Do every act under an agent's eyes on this kernel, and write docs/coverage.md of that and what was measured elsewhere
	@tools/deps acts
	@mkdir -p build/coverage test/coverage/columns
	@for tier in $(TIERS); do \
		SPOOR_TEST_OUT=$$PWD/build/coverage/$$(uname -r | cut -d. -f1,2)-$$tier.json tools/integration ./test/coverage -tier $${tier/full/auto}; done
	@find build/coverage -name '*.json' -size +0 -exec cp {} test/coverage/columns/ \;
	@$(MAKE) --no-print-directory coverage-table

.PHONY: coverage-table
coverage-table: ## Write docs/coverage.md of the columns in test/coverage/columns
	@$(GO) run ./test/coverage/table test/coverage/columns/*.json > docs/coverage.md

.PHONY: verifier-cost
verifier-cost: ## Write down what the programs cost the verifier of this kernel and of those in virtual machines
	@$(GO) test -count=1 -exec "$(SUDO)" ./test/kernels/verifier -update
	@test/kernels/deps
	@for kernel in $(KERNELS); do \
		VM_OUT=$$PWD/test/kernels/verifier/testdata/$$kernel-amd64 $(IN_KERNEL) ./test/kernels/verifier -update; done

.PHONY: fuzz
fuzz: ## Every fuzzer for FUZZTIME, executions (4000x) or a time
	@$(STAGE) fuzzers tools/fuzz $(FUZZTIME)

.PHONY: fuzz-hour
fuzz-hour: ## Every fuzzer for an hour, one after the other, before a release
	@$(MAKE) --no-print-directory fuzz FUZZTIME=1h

.PHONY: image-test
image-test: ## Build the container images and run each once
	@tools/deps image
	@$(STAGE) "container images" tools/image

##@ Measure

.PHONY: bench-overhead
bench-overhead: build ## What an agent costs the programs of this machine, with it off and on in turns; BENCH="-rounds 3" takes flags
	@mkdir -p build
	@$(GO) build -o build/overhead ./test/bench/overhead
	@$(SUDO) build/overhead $(BENCH)

SENSORS ?= $(OPTIONAL)
OPTIONAL = file socket udp names memory dns readback unix

.PHONY: bench-sensors
bench-sensors: build ## The same of each sensor alone, with that of processes, which none can do without
	@mkdir -p build
	@$(GO) build -o build/overhead ./test/bench/overhead
	@for sensor in $(SENSORS); do \
		without=$$(printf '%s\n' $(OPTIONAL) | grep -vx "$$sensor" | paste -sd,); \
		case $$sensor in dns | udp) without=$${without/socket,/} ;; esac; \
		case $$sensor in dns) without=$${without/udp,/} ;; esac; \
		echo "== $$sensor"; $(SUDO) build/overhead $(BENCH) -without "$$without"; \
	done

.PHONY: bench-instructions
bench-instructions: build ## The same in instructions, which are the same every time: of both tiers, in a virtual machine with kernel $(INSTRUCTIONS_ON)
	@mkdir -p build
	@test/kernels/deps
	@CGO_ENABLED=0 $(GO) build -o build/overhead ./test/bench/overhead
	@for tier in base auto; do echo "== tier $$tier"; \
		test/kernels/run $(INSTRUCTIONS_ON) -i -s ext4,tmpfs -f bin -e SPOOR_TIER=$$tier -- build/overhead $(COUNTED) -tmpfs /fs/tmpfs -ext4 /fs/ext4 || exit; done
	@for fs in xfs btrfs; do echo "== full tier, $$fs"; \
		test/kernels/run $(INSTRUCTIONS_ON) -i -s $$fs -f bin -- build/overhead $(COUNTED) -anywhere -tmpfs /fs/$$fs -ext4 /fs/$$fs \
			-only overwrite,append,pread,open+close || exit; done

.PHONY: bench-programs
bench-programs: build ## What each program of the kernel side takes, in instructions, in the same virtual machine
	@mkdir -p build
	@test/kernels/deps
	@CGO_ENABLED=0 $(GO) build -o build/programs ./test/bench/programs
	@test/kernels/run $(INSTRUCTIONS_ON) -i -s ext4 -f bin -- build/programs --dir /fs/ext4 $(BENCH)

INSTRUCTIONS_ON ?= 6.12
COUNTED = -clock cpu -cpu 0 -rounds 2 -slices 20 -slice 5ms

.PHONY: bench-agent
bench-agent: build ## What an agent takes for itself, at rest and while facts change; BENCH="--length 1m" takes flags
	@mkdir -p build
	@$(GO) build -o build/agent-bench ./test/bench/agent
	@$(SUDO) build/agent-bench $(BENCH)

.PHONY: bench-loss
bench-loss: ## What an agent reports, counts as lost and misses of the heaviest loads; BENCH="--seconds 10" takes flags
	@mkdir -p build
	@$(GO) build -o build/loss ./test/bench/loss
	@$(SUDO) build/loss $(BENCH)

.PHONY: bench-backtest
bench-backtest: build ## A back-test over a week of ten million events, which it makes first, whole and killed half way; BENCH="-events 1000000" takes flags
	@CGO_ENABLED=0 $(GO) build -o build/backtest ./test/bench/backtest
	@build/backtest $(BENCH)

.PHONY: bench-fairness
bench-fairness: ## How long a quiet agent waits for its acknowledgement, alone and beside agents that flood the collector
	@$(GO) test ./collector/ingest -run '^$$' -bench '^BenchmarkFairness$$' -benchtime 200x -timeout 10m

.PHONY: bench-collector
bench-collector: build ## What a collector stores, how soon, for how many agents, and how fast it answers; 25 minutes; BENCH="connected --seconds 60" takes parts and flags
	@mkdir -p build
	@$(GO) build -o build/collector-bench ./test/bench/collector
	@build/collector-bench $(BENCH)

.PHONY: bench-clickhouse
bench-clickhouse: engine ## What it costs to store EVENTS events (1,000,000) with ClickHouse's engine, and how long questions take
	@SPOOR_EVENTS=$(EVENTS) $(GO) test ./test/clickhouse -run '^$$' -bench '^BenchmarkQueries$$' -benchtime 1x -timeout 30m

.PHONY: scale
scale: ## What fleets of 10, 1,000 and 50,000 nodes cost collectors by what was measured, and what breaks first; BENCH="--rate 1 200" takes flags and sizes
	@$(GO) run ./test/bench/scale $(BENCH)

##@ Verify

.PHONY: verify
verify: ## All the checks below
verify: verify-format verify-scripts verify-vet verify-generated verify-api verify-lint verify-licences verify-deploy

.PHONY: verify-format
verify-format: ## C formatting, go.mod and go.sum; Go formatting is part of verify-lint
	@tools/deps verify
	@$(STAGE) "C formatting" clang-format-19 --dry-run --Werror bpf/*.c bpf/*.h
	@$(STAGE) "module files" $(GO) mod tidy -diff
	@for module in test/cluster/csi test/formats test/web tools/licences tools/manifests; do \
		$(STAGE) "module files, $$module" $(GO) -C $$module mod tidy -diff || exit 1; \
	done

.PHONY: verify-scripts
verify-scripts: ## Shell scripts
	@tools/deps verify
	@$(STAGE) "shell scripts" shellcheck -x -P SCRIPTDIR .ci/run \
		$$(grep -lrE '^(#!/usr/bin/env bash|#!/bin/sh|# shellcheck shell=)' tools test)

.PHONY: verify-vet
verify-vet: ## go vet
	@$(STAGE) "go vet" $(GO) vet ./...

.PHONY: verify-generated
verify-generated: ## Generate everything again, in a copy, and compare
	@tools/deps generate
	@$(STAGE) "generated code" tools/verify-generated

.PHONY: verify-api
verify-api: ## Lint the protobuf files, and compare with what was published
	@$(STAGE) "protobuf lint" $(TOOL) buf lint
	@$(STAGE) "protobuf compatibility" tools/verify-api-compatible

.PHONY: verify-lint
verify-lint: ## Go formatting and linters, as .golangci.yml names them
	@$(STAGE) "Go formatting" $(TOOL) golangci-lint fmt --diff
	@$(STAGE) "Go linters" $(TOOL) golangci-lint run
	@for module in tools/licences tools/manifests; do \
		$(STAGE) "Go linters, $$module" env -C $$module $(GO) tool -modfile=../go.mod golangci-lint run; done

.PHONY: verify-licences
verify-licences: ## Every dependency has a permissive licence
	@$(STAGE) "licence check's own tests" $(GO) -C tools/licences test .
	@$(STAGE) licences $(GO) -C tools/licences run . -dir ../.. ./cmd/...

.PHONY: verify-deploy
verify-deploy: build ## Kubernetes manifests, systemd units, alert rules and dashboards
	@$(STAGE) "deployment files" tools/verify-deploy

##@ Develop

.PHONY: generate
generate: ## Compile the BPF programs and write their Go bindings; write the Go code of the protobuf files
	@tools/deps generate
	$(GO) generate ./bpf/...
	$(TOOL) buf generate

.PHONY: format
format: ## Format C and Go
	@tools/deps verify
	clang-format-19 -i bpf/*.c bpf/*.h
	$(TOOL) golangci-lint fmt

.PHONY: deps
deps: ## Install everything that any target needs, from the distribution's packages
	@tools/deps test generate verify web image
	@tools/unpack prometheus-alertmanager prometheus-alertmanager
	@tools/unpack promtool prometheus

.PHONY: clean
clean: ## Remove what was built; keeps the data of `make run`
	rm -rf bin $(filter-out $(DATA),$(wildcard build/*))
