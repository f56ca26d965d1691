//! `doctor`: what this machine has of what moat needs, by trying it in a namespace of its own.

mod beside;

use std::path::Path;

use serde::Serialize;

use super::context::Where;
use crate::kernel::Kernel;
use crate::kernel::linux::Linux;
use crate::model::{Mac, Network, Router, Subnet};
use crate::plan::{Names, Object, Place, Ruleset, Step, desired};
use crate::sandbox;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Something works less well, or not at all, without it.
    Warning,
    /// moat cannot work.
    Failed,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub name: String,
    pub level: Level,
    pub detail: String,
}

fn check(name: &str, level: Level, detail: impl Into<String>) -> Check {
    Check {
        name: name.to_owned(),
        level,
        detail: detail.into(),
    }
}

/// All checks.
#[must_use]
pub fn doctor(place: &Where) -> Vec<Check> {
    let mut all = Vec::new();
    if nix::unistd::geteuid().is_root() {
        all.push(check("rights", Level::Ok, "root"));
    } else {
        all.push(check(
            "rights",
            Level::Failed,
            "not root: use sudo; `moat lab -- moat doctor` says what works without",
        ));
        return all;
    }
    all.push(state_root(&place.root));
    all.extend(network());
    for (name, result) in sandbox::probe(&place.data) {
        all.push(match result {
            Ok(detail) => check(&name, Level::Ok, detail),
            Err(detail) => check(&name, Level::Warning, detail),
        });
    }
    all.extend(beside::beside(place));
    all
}

fn state_root(root: &Path) -> Check {
    let probe = root.parent().unwrap_or(root);
    match nix::sys::statfs::statfs(probe) {
        Ok(fs) if fs.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC => {
            check("state", Level::Ok, "on tmpfs")
        }
        Ok(_) => check(
            "state",
            Level::Ok,
            format!(
                "{} is no tmpfs: the state is cleared by boot identifier instead of by the reboot",
                probe.display()
            ),
        ),
        Err(e) => check("state", Level::Warning, format!("{}: {e}", probe.display())),
    }
}

/// Makes one of each kernel object in a router of our own, which goes again.
fn network() -> Vec<Check> {
    let dir = std::env::temp_dir().join(format!("moat-doctor-{}", std::process::id()));
    let path = dir.join("router");
    let mut all = Vec::new();
    if let Err(e) = std::fs::create_dir(&dir) {
        return vec![check(
            "network namespace",
            Level::Failed,
            format!("{}: {e}", dir.display()),
        )];
    }
    match Linux::new(Names::of_world(0xfe00), path.clone()) {
        Err(e) => all.push(check("network namespace", Level::Failed, e.to_string())),
        Ok(mut kernel) => {
            for (name, objects) in samples(&path) {
                all.push(attempt(&mut kernel, name, &objects));
            }
            let _ = kernel.apply(&[Step::Del(Object::Namespace)], &mut |_| {});
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
    all
}

fn attempt(kernel: &mut Linux, name: &str, objects: &[Object]) -> Check {
    for object in objects {
        let done = kernel.apply(&[Step::Add(object.clone())], &mut |_| {});
        if let Err(e) = done {
            return check(name, Level::Failed, e.to_string());
        }
        if !kernel.has(object).unwrap_or(false) {
            return check(name, Level::Failed, "the kernel took it and does not show it");
        }
    }
    check(name, Level::Ok, "works")
}

/// What is tried, in the order in which it builds on itself.
fn samples(router: &Path) -> Vec<(&'static str, Vec<Object>)> {
    let names = Names::of_world(0xfe00);
    let subnets: Vec<Subnet> = ["10.9.0.0/24", "fd6d:6f61:1::/64"]
        .iter()
        .filter_map(|s| s.parse().ok())
        .collect();
    let Ok(name) = "doctor".parse() else { return vec![] };
    let net = Network {
        name,
        subnets,
        internal: true,
        router: Router::Own,
        default_policy: crate::model::DefaultPolicy::Isolated,
        gateways: vec![],
        masquerade: true,
        foreign: false,
        mtu: 1500,
    };
    let at = Place::Router;
    let port = names.port(1);
    let veth = Object::Veth {
        at: at.clone(),
        port: port.clone(),
        sandbox: Place::Sandbox(router.to_owned()),
        inside: "doctor0".to_owned(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
    };
    let bridge: Vec<Object> = desired::bridge(&names, &net, 1).into_iter().collect();
    let rules = desired::router_policy(&names, crate::model::Family::Ip4);
    let rules6 = desired::router_policy(&names, crate::model::Family::Ip6);
    let bridge_port = Object::BridgePort {
        at: at.clone(),
        port,
        bridge: names.bridge(1),
    };
    vec![
        ("network namespace", vec![Object::Namespace]),
        (
            "nftables (nft, sets, conntrack)",
            vec![Object::Ruleset {
                at: at.clone(),
                which: Ruleset::Wall,
            }],
        ),
        ("bridge", bridge),
        ("veth", vec![veth]),
        ("isolated, locked bridge ports", vec![bridge_port]),
        ("routing policy IPv4", rules.into_iter().collect()),
        ("routing policy IPv6", rules6.into_iter().collect()),
    ]
}
