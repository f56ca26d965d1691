//! One call of one CNI plugin, of our binary or the reference's, as a runtime makes it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness;
use crate::net::Ns;

/// Where Debian's `containernetworking-plugins` lie.
const REFERENCE: &str = "/usr/lib/cni";

/// Whose binary it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Ours,
    Reference,
}

/// What a call answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: i32,
    /// `null` where nothing was printed.
    pub json: Value,
}

/// The host's end and the container's, with addresses of both families.
const PAIR: &str = "ip link add h0 type veth peer name eth0 netns c address 02:00:00:00:00:01 && \
    ip link set h0 up && ip addr add 10.1.0.1/24 dev h0 && ip addr add fd00:1::1/64 dev h0 nodad && \
    ip -n c link set eth0 up && ip -n c addr add 10.1.0.2/24 dev eth0 && \
    ip -n c addr add fd00:1::2/64 dev eth0 nodad";

impl Answer {
    pub fn ok(&self) -> bool {
        self.code == 0
    }

    /// The code of the error.
    pub fn error(&self) -> u64 {
        assert_eq!(self.code, 1, "{self:?}");
        self.json["code"].as_u64().expect("an error")
    }
}

/// A plugin with the configuration it is called with.
#[derive(Clone, Debug)]
pub struct Plugin {
    pub whose: Whose,
    pub conf: Value,
    pub ifname: &'static str,
    /// `CNI_NETNS`
    pub netns: String,
    /// `MOAT_FAULT`
    pub fault: Option<String>,
}

/// Makes the directory of our plugins and a place for namespaces; once a story.
pub fn prepare() {
    Ns::host().must("mkdir -p /run/netns && mount -t tmpfs none /run/netns");
    std::fs::create_dir(ours()).unwrap();
    for name in ["bandwidth", "host-local", "loopback", "static", "tuning"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_moat"), ours().join(name)).unwrap();
    }
}

fn ours() -> PathBuf {
    harness::dir().join("cni")
}

impl Plugin {
    /// A plugin of network `net` at the latest version that Debian's reference speaks.
    pub fn new(kind: &str, keys: &Value) -> Self {
        let mut conf = json!({ "cniVersion": "1.0.0", "name": "net", "type": kind });
        let keys = keys.as_object().expect("keys").clone();
        conf.as_object_mut().unwrap().extend(keys);
        Self {
            whose: Whose::Ours,
            conf,
            ifname: "eth0",
            netns: "/run/netns/none".into(),
            fault: None,
        }
    }

    pub fn of(&self, whose: Whose) -> Self {
        Self {
            whose,
            ..self.clone()
        }
    }

    /// With another key.
    pub fn with(&self, key: &str, value: Value) -> Self {
        let mut other = self.clone();
        other.conf[key] = value;
        other
    }

    pub fn call(&self, verb: &str, container: &str) -> Answer {
        let kind = self.conf["type"].as_str().unwrap();
        let dir = match self.whose {
            Whose::Ours => ours(),
            Whose::Reference => REFERENCE.into(),
        };
        let mut command = Command::new(dir.join(kind));
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", &self.netns)
            .env("CNI_IFNAME", self.ifname)
            .env("CNI_PATH", ours())
            .env("MOAT_ROOT", harness::dir().join("root"));
        command.envs(self.fault.iter().map(|f| ("MOAT_FAULT", f)));
        let command = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the plugin starts");
        let text = self.conf.to_string();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let json = match out.stdout.as_slice() {
            [] => Value::Null,
            bytes => serde_json::from_slice(bytes).expect("one JSON document"),
        };
        Answer {
            code: out.status.code().unwrap_or(-1),
            json,
        }
    }

    /// A call that must succeed; its result.
    #[track_caller]
    pub fn must(&self, verb: &str, container: &str) -> Value {
        let answer = self.call(verb, container);
        assert!(answer.ok(), "{verb} {container} {self:?}: {answer:?}");
        answer.json
    }

    /// GC, which is younger than the reference.
    pub fn gc(&self, valid: Value) -> Answer {
        let call = self.with("cniVersion", json!("1.1.0"));
        call.with("cni.dev/valid-attachments", valid).call("GC", "")
    }
}

/// The addresses of a result.
pub fn ips(result: &Value) -> Vec<String> {
    let all = result["ips"].as_array().expect("ips").iter();
    all.map(|ip| ip["address"].as_str().expect("an address").to_owned())
        .collect()
}

/// A container with a pair, and a plugin that is called for it.
pub fn chained(kind: &str, keys: &Value) -> Plugin {
    prepare();
    Ns::host().must("ip netns add c");
    Ns::host().must(PAIR);
    let mut plugin = Plugin::new(kind, keys).with("prevResult", previous("h0", "eth0"));
    plugin.netns = "/run/netns/c".into();
    plugin
}

pub fn previous(host: &str, inside: &str) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "interfaces": [
            { "name": host, "mac": "02:00:00:00:00:99" },
            { "name": inside, "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/c" },
        ],
        "ips": [{ "interface": 1, "address": "10.1.0.2/24" }, { "interface": 1, "address": "fd00:1::2/64" }],
    })
}

pub fn container() -> Ns {
    Ns::at("/run/netns/c", "eth0")
}
