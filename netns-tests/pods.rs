//! Containers of another runtime: namespaces, and the calls that attach them.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness;
use crate::net::{Ns, Out};
use crate::world::World;

/// One namespace, with the interface `eth0` once it is attached.
#[derive(Clone, Debug)]
pub struct Pod {
    pub id: String,
    pub netns: String,
    pub ns: Ns,
    pub ip4: String,
    pub ip6: String,
}

impl Pod {
    /// A namespace with nothing but loopback.
    #[track_caller]
    pub fn new(id: &str) -> Self {
        let netns = harness::dir().join(format!("netns-{id}")).display().to_string();
        Ns::host().must(&format!(
            "touch {netns} && unshare --net={netns} ip link set lo up"
        ));
        Self {
            id: id.to_owned(),
            ns: Ns::at(&netns, "eth0"),
            netns,
            ip4: String::new(),
            ip6: String::new(),
        }
    }

    pub fn ip(&self, family: u8) -> &str {
        if family == 4 { &self.ip4 } else { &self.ip6 }
    }

    /// Ends the namespace, as a runtime does that forgot to call DEL.
    #[track_caller]
    pub fn end(&self) {
        Ns::host().must(&format!("umount {0} && rm {0}", self.netns));
    }

    /// Its interfaces, loopback left out.
    pub fn ifaces(&self) -> Vec<String> {
        let text = self.ns.must("ls /sys/class/net 2>/dev/null; ip -br link");
        let names = text.lines().filter_map(|l| l.split_whitespace().next());
        let names = names
            .filter(|n| n.contains('@'))
            .map(|n| n.split('@').next().unwrap());
        names.map(str::to_owned).collect()
    }
}

/// A configuration of type `moat`.
pub fn conf(more: &Value) -> Value {
    let mut all = json!({
        "cniVersion": "1.1.0", "name": "pods", "type": "moat",
        "subnets": ["10.88.0.0/24", "fd00:88::/64"],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    all
}

/// What a call adds to its environment.
#[derive(Clone, Copy, Default)]
pub struct Call<'a> {
    pub verb: &'a str,
    pub id: &'a str,
    pub netns: &'a str,
    pub args: &'a str,
    pub fault: Option<&'a str>,
}

impl World {
    /// One call of the plugin.
    #[track_caller]
    pub fn plugin(&self, call: Call<'_>, conf: &Value) -> Out {
        let mut c = self.command(&[]);
        c.env("CNI_COMMAND", call.verb)
            .env("CNI_PATH", harness::dir())
            .env("CNI_ARGS", call.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !call.id.is_empty() {
            c.env("CNI_CONTAINERID", call.id).env("CNI_IFNAME", "eth0");
            c.env("CNI_NETNS", call.netns);
        }
        if let Some(fault) = call.fault {
            c.env("MOAT_FAULT", fault);
        }
        let mut child = c.spawn().expect("moat starts");
        let mut stdin = child.stdin.take().expect("stdin");
        // One that dies at once does not read.
        let _ = stdin.write_all(conf.to_string().as_bytes());
        drop(stdin);
        let out = child.wait_with_output().expect("moat ends");
        Out {
            code: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    pub fn add(&self, pod: &Pod, conf: &Value) -> Out {
        let call = Call {
            verb: "ADD",
            id: &pod.id,
            netns: &pod.netns,
            args: &format!("IgnoreUnknown=1;K8S_POD_NAME={}", pod.id),
            fault: None,
        };
        self.plugin(call, conf)
    }

    /// DEL, with or without the namespace's path.
    pub fn del(&self, id: &str, netns: &str, conf: &Value) -> Out {
        let call = Call {
            verb: "DEL",
            id,
            netns,
            ..Call::default()
        };
        self.plugin(call, conf)
    }

    /// A new namespace, attached.
    #[track_caller]
    pub fn pod(&self, id: &str, conf: &Value) -> Pod {
        let mut pod = Pod::new(id);
        let out = self.add(&pod, conf);
        assert!(out.ok(), "ADD {id}: {out:?}");
        let result: Value = serde_json::from_str(&out.stdout).expect("one JSON document");
        for ip in result["ips"].as_array().into_iter().flatten() {
            let ip = ip["address"]
                .as_str()
                .unwrap()
                .split('/')
                .next()
                .unwrap()
                .to_owned();
            if ip.contains(':') {
                pod.ip6 = ip;
            } else {
                pod.ip4 = ip;
            }
        }
        pod
    }

    /// A call that must fail with this code; its message.
    #[track_caller]
    pub fn refuses(&self, out: &Out, code: u64) -> String {
        assert_eq!(out.code, 1, "{out:?}");
        let error: Value = serde_json::from_str(&out.stdout).expect("one JSON document");
        assert_eq!(error["code"], code, "{error}");
        error["msg"].as_str().unwrap().to_owned()
    }

    /// DEL must succeed and print nothing.
    #[track_caller]
    pub fn gone(&self, pod: &Pod, conf: &Value) {
        let out = self.del(&pod.id, &pod.netns, conf);
        assert!(out.ok() && out.stdout.is_empty(), "DEL {}: {out:?}", pod.id);
        assert_eq!(pod.ifaces(), Vec::<String>::new(), "at the return of DEL");
    }
}
