//! A chain of CNI plugins as a runtime runs it, of our binary and the reference's in any mixture.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness;
use crate::net::{Ns, Out};

/// Where Debian's `containernetworking-plugins` lie.
const REFERENCE: &str = "/usr/lib/cni";

/// Whose binary a plugin of a chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Ours,
    Reference,
}

/// The plugins of a network, with their configurations.
#[derive(Clone)]
pub struct Chain {
    pub name: String,
    pub version: &'static str,
    pub plugins: Vec<(Whose, Value)>,
    /// `runtimeConfig`, for every plugin.
    pub runtime: Value,
    /// `MOAT_FAULT`
    pub fault: Option<String>,
}

/// Makes the directory of our plugins and a place for namespaces; once a story.
pub fn prepare() {
    Ns::host().must("mkdir -p /run/netns && mount -t tmpfs none /run/netns");
    std::fs::create_dir(ours()).unwrap();
    for name in ["bridge", "portmap", "firewall", "moat"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_moat"), ours().join(name)).unwrap();
    }
    let counter = ours().join("counter");
    std::fs::write(&counter, COUNTER).unwrap();
    Ns::host().must(&format!("chmod +x {}", counter.display()));
}

fn ours() -> PathBuf {
    harness::dir().join("cni")
}

/// Addresses by counting, for versions that Debian's host-local does not speak; a lease is a file
/// by the container's name in `$DIR/ipam/counter`, and each GC leaves one by the name of `gc`.
const COUNTER: &str = r#"#!/bin/sh
dir=$(dirname "$0")/../ipam/counter; mkdir -p "$dir"; cat >/dev/null
case $CNI_COMMAND in
ADD) n=2; while ! (set -C; : >"$dir/10.88.0.$n") 2>/dev/null; do n=$((n + 1)); done
     echo "10.88.0.$n" >"$dir/$CNI_CONTAINERID"
     echo '{"cniVersion":"1.1.0","ips":[{"address":"10.88.0.N/16"},{"address":"fd00:88::N/64"}]}' | sed "s/N\//$n\//g";;
DEL) [ ! -e "$dir/$CNI_CONTAINERID" ] || { rm "$dir/$(cat "$dir/$CNI_CONTAINERID")"; rm "$dir/$CNI_CONTAINERID"; };;
GC) touch "$dir/gc";;
esac
"#;

/// A container's namespace.
pub fn container(name: &str) -> Ns {
    Ns::host().must(&format!("ip netns add {name} && ip -n {name} link set lo up"));
    Ns::at(format!("/run/netns/{name}"), "eth0")
}

/// `bridge` with addresses of both families from the reference's host-local.
pub fn bridge(name: &str, net4: &str, net6: &str) -> Value {
    json!({
        "type": "bridge", "bridge": name, "isGateway": true, "ipMasq": true, "hairpinMode": true,
        "ipam": {
            "type": "host-local", "dataDir": harness::dir().join("ipam"),
            "ranges": [[{ "subnet": net4 }], [{ "subnet": net6 }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
        },
    })
}

/// A result of ADD.
#[derive(Clone, Debug)]
pub struct Added(pub Value);

impl Added {
    /// The address of a family, without its prefix length.
    pub fn ip(&self, family: u8) -> String {
        let of = |ip: &&str| ip.contains(':') == (family == 6);
        let all = self.0["ips"].as_array().expect("ips").iter();
        let found = all.filter_map(|ip| ip["address"].as_str()).find(of);
        found.expect("an address").split('/').next().unwrap().to_owned()
    }

    /// The port on the host.
    pub fn port(&self) -> &str {
        self.0["interfaces"][1]["name"].as_str().expect("a port")
    }
}

impl Chain {
    pub fn new(name: &str, plugins: Vec<(Whose, Value)>) -> Self {
        Self {
            name: name.to_owned(),
            version: "1.0.0",
            plugins,
            runtime: json!({}),
            fault: None,
        }
    }

    pub fn ours(name: &str, plugins: Vec<Value>) -> Self {
        Self::new(name, plugins.into_iter().map(|p| (Whose::Ours, p)).collect())
    }

    pub fn with(&self, runtime: Value) -> Self {
        Self {
            runtime,
            ..self.clone()
        }
    }

    /// One plugin's call; the namespace is that of the container's name unless another is given.
    pub fn call(&self, n: usize, verb: &str, id: &str, netns: Option<&str>, extra: &Value) -> Out {
        let (whose, config) = &self.plugins[n];
        let mut config = config.clone();
        config["cniVersion"] = json!(self.version);
        config["name"] = json!(self.name);
        config["runtimeConfig"] = self.runtime.clone();
        for (key, value) in extra.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let dir = match whose {
            Whose::Ours => ours(),
            Whose::Reference => REFERENCE.into(),
        };
        let default = format!("/run/netns/{id}");
        let mut c = Command::new(dir.join(config["type"].as_str().unwrap()));
        c.env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("MOAT_ROOT", harness::dir().join("root"))
            .env("MOAT_DATA", harness::dir().join("data"))
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", netns.unwrap_or(&default))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", format!("{}:{REFERENCE}", ours().display()));
        if let Some(fault) = &self.fault {
            c.env("MOAT_FAULT", fault);
        }
        fed(&mut c, &config.to_string())
    }

    /// ADD of the whole chain; the error of the first plugin that fails.
    pub fn try_add(&self, id: &str) -> Result<Added, Out> {
        let mut extra = json!({});
        for n in 0..self.plugins.len() {
            let out = self.call(n, "ADD", id, None, &extra);
            if !out.ok() {
                return Err(out);
            }
            let result = serde_json::from_str(&out.stdout).map_err(|_| out)?;
            extra = json!({ "prevResult": Value::clone(&result) });
        }
        Ok(Added(extra["prevResult"].clone()))
    }

    #[track_caller]
    pub fn add(&self, id: &str) -> Added {
        self.try_add(id).unwrap_or_else(|e| panic!("ADD {id}: {e:?}"))
    }

    /// CHECK by our plugins of the chain: the first that fails.
    pub fn check(&self, id: &str, added: &Added) -> Result<(), Out> {
        let extra = json!({ "prevResult": added.0 });
        // The reference's CHECK has bugs of its own: portmap 1.1.1 misses its rules for IPv6.
        let ours = |n: &usize| self.plugins[*n].0 == Whose::Ours;
        for n in (0..self.plugins.len()).filter(ours) {
            let out = self.call(n, "CHECK", id, None, &extra);
            if !out.ok() {
                return Err(out);
            }
        }
        Ok(())
    }

    /// DEL of the whole chain, last plugin first; `netns` may be empty.
    #[track_caller]
    pub fn del_with(&self, id: &str, netns: Option<&str>, previous: Option<&Added>) {
        let extra = previous.map_or_else(|| json!({}), |p| json!({ "prevResult": p.0 }));
        for n in (0..self.plugins.len()).rev() {
            let out = self.call(n, "DEL", id, netns, &extra);
            assert!(out.ok(), "DEL {id} by plugin {n}: {out:?}");
            assert_eq!(out.stdout, "", "DEL says nothing");
        }
    }

    #[track_caller]
    pub fn del(&self, id: &str, added: &Added) {
        self.del_with(id, None, Some(added));
    }
}

fn fed(command: &mut Command, input: &str) -> Out {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let out = child.wait_with_output().expect("the plugin ends");
    Out {
        code: out.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

/// The error code of a failed call.
pub fn error_code(out: &Out) -> u64 {
    let error: Value = serde_json::from_str(&out.stdout).unwrap_or_default();
    error["code"].as_u64().unwrap_or_default()
}

/// What the host's namespace holds, apart from counters and what the kernel numbers.
pub fn host_state() -> String {
    let links = Ns::host().must("ip -br link | awk '{print $1}' | cut -d@ -f1 | sort");
    let rest = Ns::host().must(
        "ip -o addr | grep -v fe80 | awk '{print $2,$3,$4}' | sort; ip route | sed 's/ linkdown//'; \
         ip -6 route show table all | grep -v -E 'fe80|^multicast|^anycast|^local [^:]' | sed 's/ linkdown//' | sort; \
         nft list ruleset | sed 's/counter packets [0-9]* bytes [0-9]*//' | grep -v '^$'; sysctl net.ipv4.ip_forward net.ipv4.conf | grep -E 'forward|localnet' | sort",
    );
    links + &rest
}

/// Leases that the address management holds.
pub fn leases(network: &str) -> usize {
    let dir = harness::dir().join("ipam").join(network);
    let is_lease = |e: &std::fs::DirEntry| {
        let name = e.file_name().to_string_lossy().into_owned();
        name.parse::<std::net::IpAddr>().is_ok()
    };
    let entries = std::fs::read_dir(Path::new(&dir));
    entries.map_or(0, |all| all.flatten().filter(is_lease).count())
}
