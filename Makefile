# Everything that a person or a CI needs. Works as root on a fresh Debian with the Rust
# toolchain, gcc, python3 and git; whatever else is needed, `deps` installs.

PREFIX ?= /usr/local
CARGO  ?= cargo
MOAT   := target/release/moat

# What the binary needs at run time, and what demo and tests use to look at it.
PACKAGES := nftables iproute2 tcpdump conntrack redis-server nginx-light curl jq \
            iputils-ping netcat-openbsd busybox-static util-linux procps strace
PROGRAMS := nft ip tcpdump conntrack redis-server nginx curl jq ping nc busybox unshare ps strace

.PHONY: help build deps deny-tool test lint unit netns demo bench man completions install clean

help:            ## this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  .*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

build:           ## the release binary, target/release/moat
	$(CARGO) build --release --locked

deps:            ## installs Debian packages that are missing; starts no service
	@missing=; for p in $(PROGRAMS); do PATH="$$PATH:/usr/sbin:/sbin" command -v $$p >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then sh docs/demo/install-packages $(PACKAGES); fi

deny-tool:
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --locked

test: deps lint unit netns   ## everything: formatting, lints, licences, unit tests, namespaces

lint: deny-tool  ## formatting, clippy, licences
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) deny --config .cargo-deny.toml check bans licenses sources

unit: deps       ## unit tests and the layers test
	$(CARGO) test --locked --lib --bins --test layers
	$(CARGO) test --locked --doc

netns: deps      ## stories in real network namespaces, through the real binary
	$(CARGO) test --locked --test netns

demo: deps build ## the main job on real programs, in a private network namespace
	@sh docs/demo/demo $(abspath $(MOAT))

bench: deps build ## how long run, link and ps take
	@unshare -nm python3 docs/demo/bench.py $(abspath $(MOAT))

man: build       ## target/moat.1
	$(MOAT) gen man > target/moat.1

completions: build ## target/completions
	mkdir -p target/completions
	for s in bash zsh fish; do $(MOAT) gen $$s > target/completions/moat.$$s; done

install: build man completions  ## into PREFIX
	install -D -m 755 $(MOAT) $(DESTDIR)$(PREFIX)/bin/moat
	install -D -m 644 target/moat.1 $(DESTDIR)$(PREFIX)/share/man/man1/moat.1
	install -D -m 644 target/completions/moat.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/moat
	install -D -m 644 target/completions/moat.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_moat
	install -D -m 644 target/completions/moat.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/moat.fish

clean:           ## what was built
	$(CARGO) clean
