# What one does with Veza on one machine; `make` alone lists it.
# The real parts that the tests run beside, each the wrapper of the next.
PARTS := deploy/local/test-parts deploy/local/kafka-broker deploy/local/clickhouse-shim

# The parts of the performance suite.
BENCHES := bench-store bench-grpc bench-command bench-query bench-projections

.DEFAULT_GOAL := help
.PHONY: help setup run run-roles demo test torture canaries lint bench $(BENCHES)

# How long `make torture` takes: two of its fifteen long tests run at a time.
# Each goes through the seeds, kills and power cuts that its row asks for at least, however long.
TORTURE_MINUTES ?= 30
TORTURE := TORTURE_SECONDS=$$(($(TORTURE_MINUTES) * 8)) PROPTEST_CASES=$$(($(TORTURE_MINUTES) * 100))

# With CI=true a skipped test fails, and so does one that passes only when tried again.
PROFILE := $(if $(filter true,$(CI)),ci,default)

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## install what the machine lacks (Debian and Ubuntu packages)
	@deploy/local/setup

run: setup ## build and start everything on 127.0.0.1:8080 (Ctrl-C stops it; ARGS="--data DIR")
	@cargo build --release --bins
	@exec cargo run --quiet --release --bin veza -- serve $(ARGS)

run-roles: setup ## the same with every role as a process of its own (commands 8080, queries 8081)
	@cargo build --release --bins
	@exec deploy/local/run-roles "$${CARGO_TARGET_DIR:-target}/release/veza"

demo: setup ## tell the whole story to a running platform (VEZA_URL, VEZA_QUERY_URL, VEZA_DATA)
	@cargo build --quiet --release --bin veza-replay --example demo
	@exec cargo run --quiet --release --example demo

test: setup ## every test, with real parts
	@if cargo nextest --version >/dev/null 2>&1; then \
	  $(PARTS) cargo nextest run --workspace --profile $(PROFILE); \
	else \
	  $(PARTS) cargo test --workspace --lib --bins --tests; \
	fi
	@cargo test --quiet --workspace --doc

torture: setup ## the event store's tests gone through for long (TORTURE_MINUTES=30 in all)
	@$(TORTURE) cargo nextest run -p event-store --profile torture

canaries: setup ## plant bugs in the event store, each of which its tests must catch
	@exec .ci/canaries

bench: setup ## every figure beside its baseline; a part alone: bench-store, -grpc, -command, …
	@exec cargo bench --quiet -p veza --bench performance

# Beside it the event store's server is measured.
bench-grpc: BESIDE := deploy/local/other-stores

$(BENCHES): bench-%: setup
	@exec $(BESIDE) cargo bench --quiet -p veza --bench performance -- $*

lint: setup ## formatting, clippy, licences and sources of dependencies
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings
	@cargo deny check bans licenses sources
