//! What a list of plugins says for the runtime, and plugins that are dropped into a list.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::lab::{Attached, Lab, Net, Subject};
use super::{Part, Row, Verdict};
use crate::net::{Ns, until};

pub const PART: Part = Part {
    heading: "Lists and drop-in files",
    rows: &[
        Row::new(
            "79",
            "what a list says for the runtime does not disturb",
            list_keys,
        ),
        Row::new(
            "80",
            "a file `<confdir>/<network>/90-….conf` is last in the network's chain: mode `policy` walls another plugin's bridge, `portmap` publishes",
            dropped_in,
        ),
    ],
};

/// A network as libcni loads it: of a list, `name` and `cniVersion` come into each plugin;
/// with them, what a configuration without a list has beside its plugin.
fn list_keys(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    let plugin = net.plugins[0].as_object_mut().expect("an object");
    let more = json!({"cniVersions": ["0.4.0", "1.0.0", "1.1.0"], "disableCheck": true, "disableGC": true,
        "loadOnlyInlinedPlugins": true, "args": {"podman_options": {"isolate": "true"}},
        "nerdctlID": 1, "nerdctlLabels": {"nerdctl/default-network": "true"}});
    plugin.extend(more.as_object().expect("an object").clone());
    let a = lab.add(&net, "a")?;
    if lab.version >= "0.4.0" {
        lab.check(&net, &a)[0].quiet()?;
    }
    if lab.version == "1.1.0" {
        lab.status(&net).quiet()?;
    }
    lab.del(&net, &a)
}

/// `libcni/conf.go`, since 1.3: the list, then the files of the directory by its name.
fn load(dir: &str, name: &str) -> Result<Vec<Value>, String> {
    let read = |path: String| -> Result<Value, String> {
        let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        serde_json::from_str(&text).map_err(|e| format!("{path}: {e}"))
    };
    let list = read(format!("{dir}/{name}.conflist"))?;
    let mut plugins = list["plugins"].as_array().cloned().unwrap_or_default();
    let more = fs::read_dir(format!("{dir}/{name}")).map_err(|e| e.to_string())?;
    let mut files: Vec<String> = more
        .flatten()
        .map(|f| f.path().display().to_string())
        .filter(|f| f.ends_with(".conf"))
        .collect();
    files.sort();
    for file in files {
        plugins.push(read(file)?);
    }
    Ok(plugins)
}

fn dropped_in(lab: &Lab) -> Verdict {
    const DIR: &str = "/run/net.d";
    let mut net = Net {
        plugins: vec![json!({
            "type": if lab.subject == Subject::Moat && lab.version < "1.1.0" { "theirs" } else { "bridge" },
            "bridge": "cx0", "isGateway": true, "ipMasq": false,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}], [{"subnet": "fd99::/64"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]},
        })],
        ..lab.net()
    };
    let (file, dropped) = match lab.subject {
        Subject::Moat => ("90-moat.conf", json!({"type": "moat", "mode": "policy"})),
        _ => (
            "90-portmap.conf",
            json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}),
        ),
    };
    let write = |path: String, value: &Value| fs::write(path, value.to_string()).map_err(|e| e.to_string());
    fs::create_dir_all(format!("{DIR}/lab")).map_err(|e| e.to_string())?;
    let list = json!({"cniVersion": lab.version, "name": "lab", "plugins": net.plugins});
    write(format!("{DIR}/lab.conflist"), &list)?;
    net.plugins = load(DIR, "lab")?;
    let open = [lab.add(&net, "a")?, lab.add(&net, "b")?];
    reaches(lab, "a", &open[1].address(4), true)?;
    write(format!("{DIR}/lab/{file}"), &dropped)?;
    net.plugins = load(DIR, "lab")?;
    if net.plugins.len() != 2 || net.plugins[1]["type"] != dropped["type"] {
        return Err(format!("not loaded: {:?}", net.plugins));
    }
    if lab.subject == Subject::Moat {
        walled(lab, &net)
    } else {
        published(lab, &net)
    }
}

fn reaches(lab: &Lab, from: &str, ip: &str, should: bool) -> Verdict {
    let wait = if should { 4 } else { 1 };
    let seen = until(Duration::from_secs(wait), || {
        lab.inside(from, &format!("ping -n -c 1 -W 1 {ip}")).ok()
    });
    (seen == should)
        .then_some(())
        .ok_or(format!("{from} to {ip}: reached {seen}"))
}

/// What the bridge learned by asking is the kernel's, and goes by itself.
fn nothing_of(lab: &Lab, a: &Attached) -> Verdict {
    let mut traces = lab.traces(&[&a.address(4), &a.address(6)]);
    traces.retain(|line| !line.contains(" lladdr "));
    traces.is_empty().then_some(()).ok_or(format!("{traces:#?}"))
}

fn walled(lab: &Lab, net: &Net) -> Verdict {
    let (c, d) = (lab.add(net, "c")?, lab.add(net, "d")?);
    for family in [4, 6] {
        reaches(lab, "c", &d.address(family), false)?;
    }
    for gateway in ["10.99.0.1", "fd99::1"] {
        reaches(lab, "c", gateway, true)?;
    }
    let names = [&c, &d].map(|x| format!("cni:lab/{}", x.id));
    let said = lab.sh(&format!("{} link {} {}", lab.moat(), names[0], names[1]));
    if !said.ok() {
        return Err(format!("{said:?}"));
    }
    for family in [4, 6] {
        reaches(lab, "c", &d.address(family), true)?;
    }
    for x in [&c, &d] {
        lab.del(net, x)?;
        nothing_of(lab, x)?;
    }
    // Who came before the file has no wall, and goes by the new list all the same.
    lab.each(net, "DEL", ("a", "/run/netns/a"), None)
        .iter()
        .try_for_each(super::call::Said::quiet)
}

fn published(lab: &Lab, net: &Net) -> Verdict {
    let mut net = net.clone();
    net.runtime = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    lab.sh(
        "ip link add ext0 type dummy 2>/dev/null || ip link add ext0 type veth peer name ext1
            ip addr add 192.168.50.1/24 dev ext0; ip link set ext0 up",
    );
    let c = lab.add(&net, "c")?;
    let inside = Ns::at(&c.netns, "eth0");
    let _server = inside.serve("tcp", "::", 80);
    let host = Ns::host();
    let reached = until(Duration::from_secs(4), || {
        host.reaches("tcp", "192.168.50.1", 8080)
    });
    if !reached {
        return Err("the published port is not reached".into());
    }
    lab.del(&net, &c)?;
    nothing_of(lab, &c)
}
