# Everything that a person or a CI needs. Works as root on a fresh Debian with the Rust
# toolchain, gcc, python3 and git; whatever else is needed, `deps` installs.

PREFIX ?= /usr/local
CARGO  ?= cargo
MOAT   := target/release/moat
RUNS   ?= 30
FUZZ_SECONDS ?= 60
SECONDS ?= 600

# Debian keeps nft, ip and tcpdump where not every shell looks.
export PATH := $(PATH):/usr/sbin:/sbin

# What the binary needs at run time, and what demo and tests use to look at it: PROGRAM=PACKAGE.
NEEDED := nft=nftables ip=iproute2 tcpdump=tcpdump ping=iputils-ping nc=netcat-openbsd unshare=util-linux \
          redis-server=redis-server redis-cli=redis-tools nginx=nginx-light curl=curl jq=jq \
          /usr/bin/python3=python3 ps=procps flock=util-linux tc=iproute2 \
          /usr/lib/cni/bridge=containernetworking-plugins iptables=iptables busybox=busybox-static \
          pasta=passt newuidmap=uidmap setpriv=util-linux skopeo=skopeo docker-registry=docker-registry \
          /usr/lib/python3/dist-packages/scapy=python3-scapy arping=arping nping=nmap \
          podman=podman chromium=chromium crun=crun conmon=conmon containerd=containerd runc=runc go=golang-go \
          /usr/share/gocode/src/github.com/containernetworking/cni=golang-github-appc-cni-dev

# What the example in docs/examples/shop runs beside these, and what its demo reads its file with.
SHOP := haproxy=haproxy etcd=etcd-server etcdctl=etcd-client psql=postgresql-client \
        /usr/lib/postgresql=postgresql /usr/lib/python3/dist-packages/yaml=python3-yaml
NEEDED += $(SHOP)

.PHONY: help build deps deny-tool test lint unit netns netpol fuzz soak soak-run debian demo demo-shop bench man completions install uninstall clean

help:            ## this list
	@awk -F ':[a-z -]*## ' '/^[a-z-]+:.*## / { printf "  %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build:           ## the release binary, target/release/moat
	$(CARGO) build --release --locked

deps:            ## install the Debian packages that are missing; no service is started
	@missing=; for n in $(NEEDED); do \
	    { command -v "$${n%%=*}" >/dev/null || [ -d "$${n%%=*}" ]; } || missing="$$missing $${n#*=}"; \
	done; \
	if [ -n "$$missing" ]; then sh docs/demo/install-packages $$missing; fi

deny-tool:
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --locked

test: deps lint unit netns ## everything: formatting, lints, licences, unit tests, namespaces

lint: deny-tool  ## formatting, clippy, licences, duplicates
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) deny --locked --config .cargo-deny.toml check bans licenses sources

unit: deps       ## unit tests, layers, examples in the documentation
	$(CARGO) test --locked --lib --bins --test layers --test netpol
	$(CARGO) test --locked --doc

netns: deps      ## stories in real network namespaces, through the real binary
	$(CARGO) test --locked --test netns

netpol:          ## the shared corpus of network policies, each cell decided and tried with packets, as tables
	NETPOL=all $(CARGO) test --locked --test netpol -- --test-threads=1

fuzz: deps       ## broken input for every reader, and CNI calls to the binary, FUZZ_SECONDS=60 each
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --locked --lib broken -- --nocapture --test-threads=2
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --locked --lib cni::tests::fuzz -- --nocapture
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --locked --test netns fuzz

soak: deps       ## all commands, kills and flushes at random for SECONDS=600, and every step of every command
	MOAT_SOAK_SECONDS=$(SECONDS) $(CARGO) test --locked --test netns -- soak --nocapture
	MOAT_SOAK_SECONDS=$(SECONDS) $(CARGO) test --locked --test netns -- steps

soak-run: deps   ## `run --rm -- /bin/true` RUNS=1000 times: no hang, nothing left
	MOAT_RUNS=$(if $(filter-out file,$(origin RUNS)),$(RUNS),1000) $(CARGO) test --locked --test netns -- many_short_runs

debian: NEEDED += mmdebstrap=mmdebstrap
debian: deps     ## a whole Debian by mmdebstrap, from the mirror, as image and as directory
	@mkdir -p target
	@test -e target/debian.tar || { . /etc/os-release && \
	    mmdebstrap --variant=minbase "$$VERSION_CODENAME" target/debian.new.tar && \
	    mv target/debian.new.tar target/debian.tar; }
	MOAT_DEBIAN=$(CURDIR)/target/debian.tar $(CARGO) test --locked --test netns -- debian::

demo: deps build ## the main job on real programs, in a private network namespace
	@bash docs/demo/demo $(MOAT)

demo-shop: deps build ## ten real servers from one Compose file, tried with packets; draws target/shop.svg
	@bash docs/demo/demo-shop $(MOAT) target/shop.svg

bench: NEEDED += bwrap=bubblewrap iperf3=iperf3
bench: deps build ## how long commands, the plugin and packets take, alone and beside peers: medians of RUNS=30
	@python3 -B docs/demo/bench $(MOAT) $(RUNS)
	@python3 -B docs/demo/bench-cni $(MOAT) $(RUNS)
	@python3 -B docs/demo/bench-peers $(MOAT) $(RUNS)
	@python3 -B docs/demo/bench-path $(MOAT) 5

man: build       ## target/moat.1
	$(MOAT) gen man > target/moat.1

completions: build ## target/completions, for bash, zsh and fish
	@mkdir -p target/completions
	for s in bash zsh fish; do $(MOAT) gen $$s > target/completions/moat.$$s || exit 1; done

install: man completions ## binary, man page and completions, into PREFIX=/usr/local
	install -D -m 755 $(MOAT) $(DESTDIR)$(PREFIX)/bin/moat
	install -D -m 644 target/moat.1 $(DESTDIR)$(PREFIX)/share/man/man1/moat.1
	install -D -m 644 target/completions/moat.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/moat
	install -D -m 644 target/completions/moat.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_moat
	install -D -m 644 target/completions/moat.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/moat.fish

uninstall:       ## what install put there
	cd $(DESTDIR)$(PREFIX) && rm -f bin/moat share/man/man1/moat.1 share/bash-completion/completions/moat \
	    share/zsh/site-functions/_moat share/fish/vendor_completions.d/moat.fish

clean:           ## what was built
	$(CARGO) clean
