# Every command that a contributor needs. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Cargo uses all cores by itself, and suites must not disturb each other.
.NOTPARALLEL:

# The fast tier, by test target of Cargo.toml.
FAST := golden layering generated cli docs dataplane
SUITE := scripts/suite.sh

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | while IFS=$$'\t' read -r name what; do printf '  make %-18s %s\n' "$$name" "$$what"; done

.PHONY: setup
setup: ## Check what the machine has and install the rest (into a cache of the project's own)
	@scripts/setup.sh

.PHONY: run
run: ## Serve deploy/samples/quickstart.yaml on this machine, no cluster needed
	@scripts/run-quickstart.sh

# --- tests -----------------------------------------------------------------------------------------------------------

.PHONY: test
test: build ## Run the fast tier: unit, golden, generated files, layering, command line, docs, data plane
	@$(SUITE) unit cargo test --locked --lib --bins --example bench
	@for name in $(FAST); do $(SUITE) $$name cargo test --locked --test $$name; done

.PHONY: test-all
test-all: test chart interop conformance tracing control-plane e2e bench-smoke ## Run everything there is, against real servers and clients too

.PHONY: chart
chart: build ## Render the chart, and check what comes of it
	@$(SUITE) cluster-tools scripts/cluster-tools.sh node
	@HELM=$${HELM:-$$(scripts/cluster-tools.sh node)/helm} $(SUITE) chart cargo test --locked --test chart

.PHONY: interop
interop: build ## Run the gateway against MCP servers and clients from npm and PyPI
	@$(SUITE) test-tools tests/tools/install.sh
	@$(SUITE) interop cargo test --locked --test interop

.PHONY: conformance
conformance: build ## Run the MCP conformance suite through the gateway
	@$(SUITE) test-tools tests/tools/install.sh
	@$(SUITE) conformance cargo test --locked --test interop -- --exact conformance::conformance conformance::conformance_of_replicas --ignored --nocapture

.PHONY: tracing
tracing: build ## Run the gateway against an OpenTelemetry Collector
	@$(SUITE) collector scripts/collector.sh
	@$(SUITE) tracing cargo test --locked --test dataplane -- tracing:: --ignored

.PHONY: control-plane
control-plane: build ## Run the operator against a real API server, in a network namespace of its own
ifdef KUBECONFIG
	@echo 'KUBECONFIG is set: asking that API server for its verdicts only; the other tests need a control plane of their own' >&2
	@CONTROL_PLANE_KUBECONFIG=$$KUBECONFIG $(SUITE) control-plane-cel cargo test --locked --test control-plane cel::
else
	@$(SUITE) cluster-tools scripts/cluster-tools.sh
	@$(SUITE) control-plane-build cargo test --locked --test control-plane --no-run
	@$(SUITE) control-plane scripts/in-netns.sh cargo test --locked --test control-plane -- --skip scale::
	@# It counts writes in a minute of quiet, which others would disturb.
	@$(SUITE) control-plane-scale scripts/in-netns.sh cargo test --locked --test control-plane -- scale:: --nocapture
endif

.PHONY: e2e
e2e: build ## Install the chart on a whole cluster of this machine's own (or of KUBECONFIG) and try everything on it
	@$(SUITE) test-tools tests/tools/install.sh
	@$(SUITE) cluster-tools scripts/cluster-tools.sh node
	@$(SUITE) images scripts/images.sh --fast
	@$(SUITE) test-images tests/images/build.sh
	@$(SUITE) e2e-build cargo test --locked --test e2e --no-run
	@$(SUITE) e2e scripts/e2e.sh

.PHONY: bench-smoke
bench-smoke: build # One short round on the development build: proves that the benchmark runs and that answers are right
	@$(SUITE) bench-smoke target/debug/examples/bench run --quick --gateway target/debug/mcp-gateway --out target/bench-smoke

# Tests start the binaries and the examples as processes.
.PHONY: build
build: # Build everything that tests start
	@$(SUITE) build cargo build --locked --bins --examples

# --- a control plane to try things on ----------------------------------------------------------------------------------

.PHONY: control-plane-up
control-plane-up: ## Start etcd, an API server and a controller manager; prints the KUBECONFIG
	@scripts/control-plane.sh up

.PHONY: control-plane-down
control-plane-down: ## End them and forget what they held
	@scripts/control-plane.sh down

# --- images ------------------------------------------------------------------------------------------------------------

.PHONY: images
images: ## Build the container images as tars in target/images, without Docker
	@scripts/images.sh

# --- a whole cluster to try things on ------------------------------------------------------------------------------------

.PHONY: cluster-up
cluster-up: ## Start a Kubernetes of one node in namespaces of its own (needs root); prints the KUBECONFIG
	@scripts/cluster.sh up

.PHONY: cluster-down
cluster-down: ## End it and leave nothing behind
	@scripts/cluster.sh down

.PHONY: demo
demo: ## From nothing to a tool called through a gateway in a cluster; prints what to try next
	@scripts/demo.sh

# --- speed -----------------------------------------------------------------------------------------------------------

.PHONY: bench
bench: ## Measure the gateway against a bare proxy hop; prints a Markdown table, writes target/bench/summary.json
	cargo build --locked --release --bin mcp-gateway --example bench
	target/release/examples/bench run

# --- source ----------------------------------------------------------------------------------------------------------

.PHONY: lint
lint: ## Check format, clippy in every feature set, docs, dependencies
	@$(SUITE) fmt cargo fmt --check
	@$(SUITE) clippy cargo clippy --locked --all-targets -- -D warnings
	@$(SUITE) clippy-gateway cargo clippy --locked --all-targets --no-default-features --features gateway -- -D warnings
	@$(SUITE) clippy-operator cargo clippy --locked --all-targets --no-default-features --features operator -- -D warnings
	@$(SUITE) doc env RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps
	@$(SUITE) deny scripts/cargo-deny.sh check --hide-inclusion-graph bans licenses sources

.PHONY: generate
generate: ## Rewrite what is generated: crds/, the chart's values and definitions, deploy/install.yaml
	UPDATE_GENERATED=1 cargo test --locked --test generated
	HELM=$${HELM:-$$(scripts/cluster-tools.sh node)/helm} UPDATE_GOLDEN=1 cargo test --locked --test chart rendered::
