# The one front door; `make` alone prints what there is.

.DEFAULT_GOAL := help
.PHONY: help demo test lint drift kernels faults build static size growth bench bpf setup fixtures golden fuzz instructions order datapath filling clean

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## show a packet filter at work, in a private network namespace
	scripts/setup demo
	scripts/build-bpf
	cargo build --release
	$(SUDO) $(TARGET)/release/xdpload demo --objects target/bpf

test: ## run every test, on the running kernel
	scripts/setup test
	scripts/test

lint: ## check the style of everything
	scripts/setup lint
	cargo test --quiet --test tidy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --no-default-features --features gateway --bin xdpload -- -D warnings
	cargo clippy --manifest-path loader/fuzz/Cargo.toml --target-dir $(TARGET)/fuzz -- -D warnings
	cargo test --quiet --no-default-features --features gateway --bin xdpload
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
	shellcheck $$(find scripts .ci tests/kernels -type f ! -name '*.c') $$(grep -rl '^#!' examples)

drift: ## compare the committed objects and headers with their sources
	scripts/setup drift
	scripts/build-bpf --check-fixtures
	scripts/check-headers

faults: ## make every command fail, and kill it, at each of its system calls
	scripts/setup test
	scripts/faults

kernels: ## test the static program on emulated Debian kernels (ARCH=aarch64: on those of another architecture)
	scripts/setup kernels
	scripts/kernels

build: ## build the program
	cargo build --release

static: ## build the program as one static file (ARCH=aarch64: for another architecture)
	scripts/build-static

size: ## print what each command adds to the static program, and compare with the record
	scripts/size --features

growth: ## fail if the static program is more than 2% larger than recorded
	scripts/size

bpf: ## compile bpf-src/ to target/bpf/
	scripts/build-bpf

setup: ## install what test, lint and drift need, but Rust
	scripts/setup

fixtures: ## rebuild the committed objects; needs clang 14 and 19
	scripts/setup drift
	scripts/build-bpf --update-fixtures

golden: ## rewrite the golden files of the tests, to be read in the diff
	UPDATE_GOLDEN=1 cargo test --package loader --test golden

fuzz: ## run each fuzz target for a minute; needs Rust nightly and cargo-fuzz
	scripts/fuzz

bench: ## measure packets, loads and growth beside other tools; writes docs/benchmarks.md; needs root or sudo
	scripts/setup bench
	scripts/bench/packets
	scripts/bench/load
	scripts/bench/growth
	scripts/bench/instructions

instructions: ## compare the instruction counts of reading, planning and CO-RE with the record
	scripts/setup bench
	scripts/bench/instructions

order: ## compare what everyday commands use of the static program with what lies side by side in it; needs root or sudo
	scripts/setup bench
	scripts/bench/order

datapath: ## measure what the blocklist costs per packet; needs root or sudo, and some minutes
	scripts/bench/blocklist

filling: ## measure how fast the blocklist is loaded and listed; needs root or sudo
	scripts/bench/block-fill

clean: ## remove what was built
	cargo clean
