//! The callers themselves, as Debian has them: podman, containerd, and a program on CNI's own
//! library. Each story is a machine of its own: `/etc` and `/opt` are copies, `/run` and
//! `/var/lib` are empty, and the cgroup tree is a plain one, which `crun` asks for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{self, Story, own};
use crate::links::any;
use crate::net::{Ns, Out, Running, until};
use crate::world::{FAMILIES, Mode, Neighbour, lan};

pub const STORIES: &[Story] = &[
    own("clients::podman", podman),
    own("clients::podman_beside_moat_run", podman_beside_moat_run),
    own("clients::podman_networks", podman_networks),
    own("clients::containerd", containerd),
    own("clients::library", library),
];

/// Programs of busybox in the containers' root.
const APPLETS: [&str; 4] = ["sh", "sleep", "ip", "cat"];

const CONTAINERS_CONF: &str = r#"
[containers]
cgroups = "disabled"
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "none"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
"#;
const STORAGE_CONF: &str = r#"
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
"#;
const CONTAINERD: &str = r#"
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
"#;

pub struct Machine {
    pub rootfs: PathBuf,
}

/// A container of another runtime.
pub struct Guest {
    pub id: String,
    pub ip4: String,
    pub ip6: String,
    pub ns: Ns,
}

impl Guest {
    pub fn ip(&self, family: u8) -> &str {
        if family == 4 { &self.ip4 } else { &self.ip6 }
    }

    /// Reads the addresses in a process's namespace.
    pub fn of(id: &str, pid: &str) -> Self {
        let ns = Ns::at(format!("/proc/{pid}/ns/net"), "eth0");
        let ip = |family: u8| {
            let shown = ns.must(&format!("ip -{family} -o addr show dev eth0 scope global"));
            let field = shown.split_ascii_whitespace().nth(3).unwrap_or_default();
            field.split('/').next().unwrap_or_default().to_owned()
        };
        let (ip4, ip6) = (ip(4), ip(6));
        Self {
            id: id.to_owned(),
            ip4,
            ip6,
            ns,
        }
    }
}

impl Machine {
    pub fn new() -> Self {
        let dir = harness::dir();
        for part in ["etc", "opt"] {
            let line = format!(
                "mkdir {d}/{part}.up {d}/{part}.work && mount -t overlay overlay /{part} \
                 -o lowerdir=/{part},upperdir={d}/{part}.up,workdir={d}/{part}.work",
                d = dir.display()
            );
            Ns::host().must(&line);
        }
        Ns::host().must(
            "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && \
             mount -t cgroup2 cgroup2 /sys/fs/cgroup && mkdir -p /etc/containers /etc/cni/net.d /opt/cni/bin",
        );
        Ns::host().must("rm -rf /etc/cni/net.d/* /opt/cni/bin/*");
        let rootfs = dir.join("rootfs");
        for part in ["bin", "proc", "sys", "dev", "etc", "tmp", "run"] {
            fs::create_dir_all(rootfs.join(part)).expect("the root");
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox");
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).expect("an applet");
        }
        let write = |path: &str, text: &str| fs::write(path, text).expect("a configuration");
        write("/etc/containers/containers.conf", CONTAINERS_CONF);
        write("/etc/containers/storage.conf", STORAGE_CONF);
        write(
            "/etc/containers/policy.json",
            r#"{"default":[{"type":"reject"}]}"#,
        );
        Self { rootfs }
    }

    /// A `moat` command in the world that plugins use.
    pub fn moat(&self, line: &str) -> Out {
        let mut c = Command::new(env!("CARGO_BIN_EXE_moat"));
        Out::of(c.args(line.split_whitespace()).env_remove("MOAT_ROOT"))
    }

    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        let out = self.moat(line);
        assert!(out.ok(), "moat {line}: {out:?}");
        out.stdout
    }

    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(line)).expect("JSON")
    }

    #[track_caller]
    pub fn podman(&self, line: &str) -> String {
        Ns::host().must(&format!("podman {line} 2>&1")).trim().to_owned()
    }

    /// `podman run` of a container that only waits.
    #[track_caller]
    pub fn run(&self, name: &str, options: &str) -> Guest {
        let rootfs = self.rootfs.display();
        self.podman(&format!(
            "run -d --name {name} {options} --rootfs {rootfs}:O sleep 1000"
        ));
        self.guest(name)
    }

    #[track_caller]
    pub fn guest(&self, name: &str) -> Guest {
        let said = self.podman(&format!("inspect -f '{{{{.Id}}}} {{{{.State.Pid}}}}' {name}"));
        let (id, pid) = said.split_once(' ').expect("id and pid");
        Guest::of(id, pid)
    }

    /// Whether the world holds nothing any more: no attachment, no rule, no interface.
    #[track_caller]
    pub fn is_empty(&self) {
        assert_eq!(self.json("ps -a --json"), json!([]));
        self.ok("fsck");
        let left = Ns::host().must("nft list tables; ip -br link show; ip rule");
        let ours = |l: &&str| l.contains("moat") || l.starts_with("mt") || l.starts_with("520");
        assert_eq!(left.lines().find(ours), None, "{left}");
    }
}

#[track_caller]
pub fn apart(a: &Guest, b: &Guest) {
    for family in FAMILIES {
        let _server = b.ns.serve("tcp", any(family), 5432);
        assert!(!a.ns.pings(b.ip(family)), "ping {}", b.ip(family));
        assert!(!a.ns.reaches("tcp", b.ip(family), 5432), "tcp {}", b.ip(family));
    }
}

#[track_caller]
pub fn linked(a: &Guest, b: &Guest) {
    for family in FAMILIES {
        let _server = b.ns.start(&["serve", "tcp", any(family), "5432-5433"]);
        assert!(a.ns.reaches("tcp", b.ip(family), 5432), "tcp {}", b.ip(family));
        assert!(
            !a.ns.reaches("tcp", b.ip(family), 5433),
            "another port of {}",
            b.ip(family)
        );
        assert!(!b.ns.reaches("tcp", a.ip(family), 5432), "the other way");
    }
}

/// The default network: two containers do not see each other until they are linked.
fn podman(_: Mode) {
    let m = Machine::new();
    m.ok("cni install --for podman");
    let (_lan, lan) = lan();
    let a = m.run("a", "");
    let b = m.run("b", "-p 8080:80 -p 5353:53/udp --ip 10.88.0.77 --label app=db");
    assert!(
        a.ip4.starts_with("10.88.") && b.ip4 == "10.88.0.77",
        "{} {}",
        a.ip4,
        b.ip4
    );
    let known = m.ok("ps -a --json");
    assert!(known.contains(&format!("cni:podman/{}", a.id)), "{known}");
    apart(&a, &b);
    // By podman's names.
    m.ok("link a b:5432/tcp");
    linked(&a, &b);
    m.ok("unlink a b:5432/tcp");
    apart(&a, &b);
    for family in FAMILIES {
        let _tcp = b.ns.serve("tcp", any(family), 80);
        let _udp = b.ns.serve("udp", any(family), 53);
        for from in [&lan.ns, &Ns::host()] {
            assert!(from.reaches("tcp", Neighbour::host(family), 8080));
            assert!(from.reaches("udp", Neighbour::host(family), 5353));
        }
        assert!(!lan.ns.reaches("tcp", Neighbour::host(family), 8081));
    }
    let network: Value = serde_json::from_str(&m.podman("network inspect podman")).expect("JSON");
    assert_eq!(network[0]["driver"], "moat", "{network}");
    let other = Ns::host().sh(&format!(
        "podman run -d -p 8080:80 --rootfs {}:O sleep 9",
        m.rootfs.display()
    ));
    assert!(!other.ok(), "one host port twice: {other:?}");
    // The same container anew: with its port and its fixed address, and still behind the wall.
    m.podman("restart -t 0 b");
    let b = m.guest("b");
    assert_eq!(b.ip4, "10.88.0.77");
    apart(&a, &b);
    let _tcp = b.ns.serve("tcp", "0.0.0.0", 80);
    assert!(lan.ns.reaches("tcp", Neighbour::host(4), 8080), "published again");
    m.ok("fsck");
    m.podman("rm -f -t 0 -a");
    m.is_empty();
}

/// One link joins the two runtimes, in both directions.
fn podman_beside_moat_run(_: Mode) {
    let m = Machine::new();
    m.ok("cni install --for podman");
    let a = m.run("a", "");
    let rootfs = m.rootfs.display().to_string();
    m.ok(&format!("run -d --name own --rootfs {rootfs} -- sleep 1000"));
    let pid = m.json("inspect own")["pid"].to_string();
    let own = Guest::of("own", &pid);
    apart(&a, &own);
    apart(&own, &a);
    m.ok("link a own:5432/tcp");
    linked(&a, &own);
    m.ok("unlink a own:5432/tcp");
    m.ok("link own a:5432/tcp");
    linked(&own, &a);
    // The name resolves as that of any linked container.
    let found = m.ok("exec own cat /etc/hosts");
    assert!(
        found.lines().any(|l| l.starts_with(&a.ip4) && l.contains('a')),
        "{found}"
    );
    m.podman("rm -f -t 0 a");
    m.ok("rm -f own");
    m.is_empty();
}

/// Networks that podman makes itself run through the same program by other names; one more
/// of moat's own stands beside them. Aliases are names for links.
fn podman_networks(_: Mode) {
    let m = Machine::new();
    m.ok("cni install --for podman");
    m.ok("cni install --for podman --name lab --subnet 10.70.0.0/24 --subnet fd70::/64");
    m.podman("network create made");
    let all = m.podman("network ls --format '{{.Name}} {{.Driver}}'");
    for line in ["podman moat", "lab moat", "made bridge"] {
        assert!(all.lines().any(|l| l == line), "{line}: {all}");
    }
    let web = m.run("web", "--network lab");
    let db = m.run("db", "--network lab --network-alias store --ip 10.70.0.9");
    assert_eq!(db.ip4, "10.70.0.9");
    apart(&web, &db);
    m.ok("link web store:5432/tcp");
    linked(&web, &db);
    // Open inside, as podman's networks are; the port is published by `portmap`.
    m.podman(&format!(
        "run -d --name c --network made -p 8081:80 --rootfs {}:O sleep 1000",
        m.rootfs.display()
    ));
    m.podman(&format!(
        "run -d --name d --network made --rootfs {}:O sleep 1000",
        m.rootfs.display()
    ));
    let at = |name: &str| {
        let pid = m.podman(&format!("inspect -f '{{{{.State.Pid}}}}' {name}"));
        let ns = Ns::at(format!("/proc/{pid}/ns/net"), "eth0");
        let ip = ns.must("ip -4 -o addr show dev eth0");
        (
            ns,
            ip.split_ascii_whitespace()
                .nth(3)
                .unwrap_or_default()
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let ((c, c4), (d, _)) = (at("c"), at("d"));
    let _server = c.serve("tcp", "0.0.0.0", 80);
    assert!(d.reaches("tcp", &c4, 80), "open inside");
    assert!(Ns::host().reaches("tcp", "127.0.0.1", 8081), "published");
    // It is part of the world for moat's containers, who have a way out; nothing comes back in.
    let _web = web.ns.serve("tcp", "0.0.0.0", 5432);
    assert!(!c.reaches("tcp", &web.ip4, 5432), "closed from there");
    m.podman("rm -f -t 0 -a");
    m.podman("network prune -f");
    let all = m.podman("network ls --format '{{.Name}}'");
    assert_eq!(all, "podman", "pruned");
    assert_eq!(m.json("ps -a --json"), json!([]));
}

/// `ctr run --cni`; its DEL comes without namespace.
fn containerd(_: Mode) {
    let m = Machine::new();
    m.ok("cni install --for containerd");
    let config = harness::dir().join("containerd.toml");
    fs::write(&config, CONTAINERD).expect("the configuration");
    let mut daemon = Command::new("containerd");
    daemon.arg("-c").arg(&config);
    let _daemon = Running::start(&mut daemon, "containerd successfully booted");
    let run = |id: &str| {
        let spec = harness::dir().join(format!("{id}.json"));
        fs::write(&spec, oci(&m.rootfs).to_string()).expect("the specification");
        Ns::host().must(&format!("ctr run -d --cni --config {} {id} 2>&1", spec.display()));
        let tasks = Ns::host().must("ctr task ls");
        let line = tasks
            .lines()
            .find(|l| l.starts_with(&format!("{id} ")))
            .expect("a task");
        Guest::of(id, line.split_ascii_whitespace().nth(1).expect("a pid"))
    };
    let (a, b) = (run("a"), run("b"));
    assert!(a.ip4.starts_with("10.86."), "{}", a.ip4);
    apart(&a, &b);
    m.ok("link cni:containerd/default-a cni:containerd/default-b:5432/tcp");
    linked(&a, &b);
    for id in ["a", "b"] {
        Ns::host().must(&format!("ctr task kill -s KILL {id}"));
        let gone = until(Duration::from_secs(5), || {
            Ns::host()
                .must("ctr task ls")
                .lines()
                .any(|l| l.contains("STOPPED"))
        });
        assert!(gone, "{id} still runs");
        Ns::host().sh(&format!("ctr task rm {id}; ctr container rm {id}"));
    }
    // In the foreground ctr makes DEL itself, and has no namespace to name.
    let spec = harness::dir().join("c.json");
    let mut once = oci(&m.rootfs);
    once["process"]["args"] = json!(["ip", "addr"]);
    fs::write(&spec, once.to_string()).expect("the specification");
    let said = Ns::host().must(&format!("ctr run --rm --cni --config {} c 2>&1", spec.display()));
    assert!(said.contains("eth0") && said.contains("10.86."), "{said}");
    let left = m.ok("ps -a --json");
    assert!(!left.contains("default-c"), "{left}");
    // In the background it makes none: the attachments of the other two stay on record until
    // somebody takes them away.
    let said = m.moat("fsck");
    assert_eq!(said.code, 1, "{said:?}");
    m.ok("rm -f cni:containerd/default-a cni:containerd/default-b");
    m.is_empty();
}

/// A container that waits, in namespaces of its own and without limits.
pub fn oci(rootfs: &std::path::Path) -> Value {
    let kinds = ["pid", "network", "mount", "ipc", "uts"];
    json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sleep", "1000"], "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": rootfs},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": kinds.map(|kind| json!({"type": kind}))},
    })
}

/// Every verb of `libcni`, by a program as small as `cnitool`, for each file of `cni-conf`.
fn library(_: Mode) {
    let m = Machine::new();
    let tool = harness::dir().join("cnitool");
    let built = Ns::host().sh(&format!(
        "cd {}/netns-tests && GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE={d}/go HOME={d} timeout 120 \
         go build -o {} cnitool.go",
        env!("CARGO_MANIFEST_DIR"),
        tool.display(),
        d = harness::dir().display()
    ));
    assert!(built.ok(), "{built:?}");
    for caller in ["podman", "containerd", "crio", "nerdctl"] {
        let conf = format!("/etc/cni/{caller}.d");
        m.ok(&format!("cni install --for {caller} --conf-dir {conf}"));
        let written = fs::read_dir(&conf)
            .expect("the directory")
            .next()
            .expect("a file")
            .expect("a file")
            .path();
        let shown = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("cni-conf/{caller}.conflist"));
        assert_eq!(fs::read_to_string(written).ok(), fs::read_to_string(shown).ok());
        let name = if caller == "nerdctl" { "bridge" } else { caller };
        let call = |verb: &str, id: &str| {
            let tool = tool.display();
            Ns::host().sh(&format!("CNI_PATH=/opt/cni/bin CAP_ARGS='{{\"portMappings\":[{{\"hostPort\":8080,\
                \"containerPort\":80,\"protocol\":\"tcp\"}}]}}' NETCONFPATH={conf} {tool} {verb} {name} /run/netns/{id}"))
        };
        Ns::host().must(&format!("ip netns add {caller}"));
        let added = call("add", caller);
        let result: Value = serde_json::from_str(&added.stdout).unwrap_or_else(|e| panic!("{e}: {added:?}"));
        assert_eq!(result["ips"].as_array().map(Vec::len), Some(2), "{added:?}");
        let there = Ns::at(format!("/run/netns/{caller}"), "eth0");
        let _server = there.serve("tcp", "0.0.0.0", 80);
        assert!(Ns::host().reaches("tcp", "127.0.0.1", 8080), "{caller}");
        for verb in ["check", "del", "del"] {
            let out = call(verb, caller);
            assert!(out.ok() && out.stdout.is_empty(), "{caller} {verb}: {out:?}");
        }
        assert!(
            !there.sh("ip link show eth0").ok(),
            "{caller}: eth0 is still there"
        );
        m.is_empty();
    }
}
