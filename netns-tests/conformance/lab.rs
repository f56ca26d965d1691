//! Who is being examined, and a runtime as small as possible to examine it with: it calls the
//! plugins of a network in order, with the previous result, as `libcni` does.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Verdict;
use super::call::{Call, Said};
use crate::harness;
use crate::net::Out;

/// Who is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Plugin type `moat`.
    Moat,
    /// Our binary, called `bridge`, `portmap` and so on.
    Names,
    /// Debian's `containernetworking-plugins`.
    Reference,
}

impl Subject {
    pub const ALL: [Self; 3] = [Self::Moat, Self::Names, Self::Reference];
}

const NAMES: [&str; 9] = [
    "moat",
    "bridge",
    "host-local",
    "portmap",
    "firewall",
    "bandwidth",
    "tuning",
    "loopback",
    "static",
];
/// An address plugin that does as it is told, and writes down what it was asked.
const DELEGATE: &str = include_str!("delegate.sh");
/// Where that plugin keeps what it was told and asked.
pub const NOTES: &str = "/run/delegate";

/// Lays out the programs of the story: ours under all names, and the delegate.
pub fn programs() {
    let bin = harness::dir().join("bin");
    fs::create_dir_all(&bin).expect("bin");
    for name in NAMES {
        symlink(env!("CARGO_BIN_EXE_moat"), bin.join(name)).expect("a plugin's name");
    }
    symlink("/usr/lib/cni/bridge", bin.join("theirs")).expect("the reference's bridge");
    let delegates = harness::dir().join("delegates");
    fs::create_dir_all(&delegates).expect("delegates");
    let script = delegates.join("told");
    fs::write(&script, DELEGATE).expect("the delegate");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("the delegate");
}

/// A fresh host with one subject, examined in one version.
pub struct Lab {
    pub subject: Subject,
    pub version: &'static str,
}

/// A network: its plugins, and what the runtime passes to them.
#[derive(Clone)]
pub struct Net {
    pub name: String,
    pub plugins: Vec<Value>,
    /// `runtimeConfig`, of which each plugin gets the capabilities that it declares.
    pub runtime: Value,
    pub env: Vec<(String, String)>,
    pub ifname: String,
}

/// A container that is on a network.
pub struct Attached {
    pub id: String,
    /// The namespace's path.
    pub netns: String,
    /// Of the last plugin.
    pub result: Value,
}

impl Lab {
    pub fn new(subject: Subject, version: &'static str) -> Self {
        let lab = Self { subject, version };
        lab.sh("ip link set lo up; mkdir -p /run/netns /run/delegate; touch /run/delegate/fails");
        lab.delegate_answers("10.99.0.77/24", "10.99.0.1");
        lab
    }

    /// Whether the subject's main plugin speaks the version at all.
    pub fn speaks(&self) -> bool {
        let said = self.call(self.main(), "VERSION").run();
        let all = said.json().unwrap_or_default()["supportedVersions"].clone();
        all.as_array()
            .is_some_and(|all| all.iter().any(|v| v == self.version))
    }

    /// Where the subject's plugins are.
    pub fn bin(&self) -> PathBuf {
        match self.subject {
            Subject::Reference => "/usr/lib/cni".into(),
            _ => harness::dir().join("bin"),
        }
    }

    /// The command `moat`.
    pub fn moat(&self) -> String {
        harness::dir().join("bin/moat").display().to_string()
    }

    /// The plugin that makes the interface.
    pub fn main(&self) -> &'static str {
        if self.subject == Subject::Moat {
            "moat"
        } else {
            "bridge"
        }
    }

    pub fn sh(&self, line: &str) -> Out {
        Out::of(std::process::Command::new("timeout").args(["20", "sh", "-c", line]))
    }

    /// A line of shell in a container's namespace.
    pub fn inside(&self, id: &str, line: &str) -> Out {
        self.sh(&format!("ip netns exec {id} sh -c '{line}'"))
    }

    /// A namespace for a container; its path.
    pub fn netns(&self, id: &str) -> String {
        self.sh(&format!("ip netns add {id} && ip -n {id} link set lo up"));
        format!("/run/netns/{id}")
    }

    /// A network of 10.99.0.0/24 and fd99::/64, with way out and gateway.
    pub fn net(&self) -> Net {
        let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
        let plugin = match self.subject {
            Subject::Moat => json!({
                "type": "moat", "subnets": ["10.99.0.0/24", "fd99::/64"], "ipMasq": true,
                "capabilities": {"portMappings": true, "ips": true, "mac": true, "ipRanges": true,
                    "bandwidth": true, "dns": true, "aliases": true, "io.kubernetes.cri.pod-annotations": true},
            }),
            _ => json!({
                "type": "bridge", "bridge": "cx0", "isGateway": true, "ipMasq": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}], [{"subnet": "fd99::/64"}]],
                    "routes": routes},
                "capabilities": {"ips": true, "mac": true, "ipRanges": true},
            }),
        };
        Net {
            name: "lab".into(),
            plugins: vec![plugin],
            runtime: json!({}),
            env: Vec::new(),
            ifname: "eth0".into(),
        }
    }

    /// The same with port mappings, which for the reference is one plugin more.
    pub fn net_with_ports(&self, mappings: &Value) -> Net {
        let mut net = self.net();
        net.runtime = json!({ "portMappings": mappings });
        if self.subject != Subject::Moat {
            net.plugins
                .push(json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}));
        }
        net
    }

    /// The same, its addresses from the delegate.
    pub fn net_told(&self) -> Net {
        let mut net = self.net();
        net.plugins[0]["ipam"] = json!({"type": "told", "pool": "blue"});
        net
    }

    /// What the delegate answers to ADD, in the version's shape.
    pub fn delegate_answers(&self, address: &str, gateway: &str) {
        let answer = match self.version {
            "0.1.0" | "0.2.0" => json!({"ip4": {"ip": address, "gateway": gateway}}),
            "1.0.0" | "1.1.0" => json!({"ips": [{"address": address, "gateway": gateway}]}),
            _ => json!({"ips": [{"version": "4", "address": address, "gateway": gateway}]}),
        };
        let mut answer = answer;
        answer["cniVersion"] = json!(self.version);
        fs::write(format!("{NOTES}/answer"), answer.to_string()).expect("the answer");
    }

    /// A call of a plugin with the usual variables.
    pub fn call(&self, plugin: &str, verb: &str) -> Call {
        let path = format!(
            "{}:{}",
            self.bin().display(),
            harness::dir().join("delegates").display()
        );
        Call::new(self.bin().join(plugin).display().to_string())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_PATH", &path)
            .env("CNI_COMMAND", verb)
    }

    /// A call about a container with the main plugin of a network.
    pub fn about(&self, net: &Net, verb: &str, id: &str, netns: &str) -> Call {
        self.call(self.main(), verb)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", &net.ifname)
            .conf(&self.conf(net, 0, None))
    }

    /// What the n-th plugin of a network gets on stdin.
    pub fn conf(&self, net: &Net, n: usize, prev: Option<&Value>) -> Value {
        let mut conf = net.plugins[n].clone();
        conf["cniVersion"] = json!(self.version);
        conf["name"] = json!(net.name);
        let declared = conf["capabilities"].as_object().cloned().unwrap_or_default();
        let passed: Map<String, Value> = net
            .runtime
            .as_object()
            .expect("an object")
            .iter()
            .filter(|(key, _)| declared.contains_key(*key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if !passed.is_empty() {
            conf["runtimeConfig"] = Value::Object(passed);
        }
        if let Some(prev) = prev {
            conf["prevResult"] = prev.clone();
        }
        conf
    }

    fn step(&self, net: &Net, n: usize, verb: &str, at: (&str, &str), prev: Option<&Value>) -> Said {
        let plugin = net.plugins[n]["type"].as_str().expect("a type");
        let mut call = self
            .call(plugin, verb)
            .env("CNI_CONTAINERID", at.0)
            .env("CNI_NETNS", at.1)
            .env("CNI_IFNAME", &net.ifname)
            .conf(&self.conf(net, n, prev));
        for (key, value) in &net.env {
            call = call.env(key, value);
        }
        call.run()
    }

    /// ADD by all plugins of the network, in a namespace of this name.
    pub fn try_add(&self, net: &Net, id: &str) -> Result<Attached, Said> {
        let netns = self.netns(id);
        self.add_at(net, id, &netns)
    }

    /// ADD in a namespace that is there.
    pub fn add_at(&self, net: &Net, id: &str, netns: &str) -> Result<Attached, Said> {
        let mut result = None;
        for n in 0..net.plugins.len() {
            let said = self.step(net, n, "ADD", (id, netns), result.as_ref());
            let json = said.json();
            match json {
                Ok(json) if said.code == 0 => result = Some(json),
                _ => return Err(said),
            }
        }
        Ok(Attached {
            id: id.into(),
            netns: netns.into(),
            result: result.expect("a plugin"),
        })
    }

    /// ADD that must succeed.
    pub fn add(&self, net: &Net, id: &str) -> Result<Attached, String> {
        self.try_add(net, id)
            .map_err(|said| format!("ADD of {id}: {said:?}"))
    }

    /// A verb about an attachment by all plugins, the last first for DEL.
    pub fn each(&self, net: &Net, verb: &str, at: (&str, &str), prev: Option<&Value>) -> Vec<Said> {
        let mut all: Vec<usize> = (0..net.plugins.len()).collect();
        if verb == "DEL" {
            all.reverse();
        }
        all.into_iter()
            .map(|n| self.step(net, n, verb, at, prev))
            .collect()
    }

    /// DEL as a runtime does it: with the namespace and the last result.
    pub fn del(&self, net: &Net, a: &Attached) -> Verdict {
        let said = self.each(net, "DEL", (&a.id, &a.netns), Some(&a.result));
        said.iter().try_for_each(Said::quiet)
    }

    /// CHECK as a runtime does it.
    pub fn check(&self, net: &Net, a: &Attached) -> Vec<Said> {
        self.each(net, "CHECK", (&a.id, &a.netns), Some(&a.result))
    }

    /// GC by the main plugin with these attachments, or without the key.
    pub fn gc(&self, net: &Net, valid: Option<Value>) -> Said {
        let mut conf = self.conf(net, 0, None);
        if let Some(valid) = valid {
            conf["cni.dev/valid-attachments"] = valid.clone();
            conf["cni.dev/attachments"] = valid;
        }
        self.call(self.main(), "GC").conf(&conf).run()
    }

    pub fn status(&self, net: &Net) -> Said {
        self.call(self.main(), "STATUS")
            .conf(&self.conf(net, 0, None))
            .run()
    }

    /// The delegate fails at these verbs from now on.
    pub fn delegate_fails(&self, verbs: &str) {
        fs::write(format!("{NOTES}/fails"), verbs.replace(' ', "\n") + "\n").expect("the delegate's notes");
    }

    /// The verbs that the delegate was asked, in order.
    pub fn asked(&self) -> Vec<String> {
        let calls = fs::read_to_string(format!("{NOTES}/calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}

impl Attached {
    /// The container's addresses without length.
    pub fn addresses(&self) -> Vec<String> {
        let list = self.result["ips"].as_array().cloned().unwrap_or_default();
        let old = ["ip4", "ip6"].map(|k| self.result[k]["ip"].clone());
        list.iter()
            .map(|ip| ip["address"].clone())
            .chain(old)
            .filter_map(|ip| Some(ip.as_str()?.split('/').next()?.to_owned()))
            .collect()
    }

    /// The address of this family.
    pub fn address(&self, family: u8) -> String {
        let v6 = family == 6;
        self.addresses()
            .into_iter()
            .find(|a| a.contains(':') == v6)
            .unwrap_or_default()
    }
}
