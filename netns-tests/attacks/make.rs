//! How the two laboratories are made: behind the walls, and on a plain bridge.

use std::time::Duration;

use serde_json::json;

use super::lab::Lab;
use super::talk::Talk;
use crate::isolation::PYTHON;
use crate::net::{Ns, until};
use crate::walls::gateway_mac;
use crate::world::{Container, Mode, Neighbour, World};

/// The attacker: what all attacks use, then the attacks, then its loop.
const ATTACKER: &str = concat!(
    include_str!("attacker.py"),
    include_str!("link.py"),
    include_str!("source.py"),
    include_str!("discovery.py"),
    include_str!("groups.py"),
    include_str!("fragments.py"),
    include_str!("flows.py"),
    include_str!("routes.py"),
    include_str!("machine.py"),
    include_str!("windows.py"),
    "\nmain()\n"
);

/// What a container needs to be root with raw sockets.
pub const ARMED: [&str; 4] = ["--cap-add", "NET_RAW", "--cap-add", "NET_ADMIN"];

impl Lab {
    /// Behind the walls; the attacker is the command of a container.
    pub fn walled(mode: Mode) -> Self {
        let mut w = World::new(mode);
        let lan = w.lan();
        let people = ["victim", "friend", "witness"].map(|name| w.idle(name, &[]));
        let place = ["run", "-i", "--rm", "--name", "me", "--net", &w.net];
        let attacker =
            Talk::start(&mut w.command(&[&place[..], &ARMED, &["--", PYTHON, "-uc", ATTACKER]].concat()));
        assert!(until(Duration::from_secs(10), || runs(&w)), "the attacker starts");
        for link in [
            "friend victim:4000/udp",
            "friend me:6000/udp",
            "friend me:6000/tcp",
            "me witness:4999/udp",
            "me host:7001/udp",
        ] {
            let ends: Vec<&str> = link.split(' ').collect();
            w.ok(&["link", ends[0], ends[1]]);
        }
        let [victim, friend, witness] = people;
        let me = w.container("me");
        let router = w.router();
        let uplink = json!({ "4": uplink(&w, 4), "6": uplink(&w, 6) });
        let gate = (
            gateway_mac(&me),
            w.net_field("gateways", 0),
            w.net_field("gateways", 1),
        );
        let mut places = vec![("host", Ns::host(), json!(7000))];
        if mode == Mode::Own {
            places.push(("host", router.clone(), json!(7000)));
            let line = "ip -o link | grep -o 'm[^ ]*up@' | tr -d @";
            places.push(("uplink", Ns::host(), json!(Ns::host().must(line).trim())));
        }
        Self::furnish(
            true,
            [me, victim, friend, witness],
            &lan,
            router,
            &gate,
            uplink,
            attacker,
            places,
            Some(w),
        )
    }

    /// On a bridge with nothing but an address, in namespaces of its own.
    pub fn plain() -> Self {
        let setup = include_str!("plain.sh");
        Ns::host().must(setup);
        let ns = |name: &str, iface: &str| Ns::at(format!("/run/netns/{name}"), iface);
        let person = |n: u8, name: &str| Container {
            name: name.to_owned(),
            pid: 0,
            mac: format!("02:77:00:00:00:0{n}"),
            ip4: format!("10.77.0.{n}"),
            ip6: format!("fd77::{n}"),
            ns: ns(name, "eth0"),
        };
        let people = [
            person(2, "me"),
            person(3, "victim"),
            person(4, "friend"),
            person(5, "witness"),
        ];
        let attacker = Talk::start(people[0].ns.command(PYTHON).args(["-uc", ATTACKER]));
        let (host, lan) = (
            ns("host", "br0"),
            Neighbour {
                ns: ns("lan", "lan0"),
            },
        );
        let gate = (
            "02:77:00:00:00:01".to_owned(),
            "10.77.0.1".to_owned(),
            "fd77::1".to_owned(),
        );
        let uplink = json!({ "4": "10.78.0.1", "6": "fd78::1" });
        let places = vec![("host", host.clone(), json!(7000))];
        Self::furnish(false, people, &lan, host, &gate, uplink, attacker, places, None)
    }
}

fn runs(w: &World) -> bool {
    w.json(&["ps"])
        .as_array()
        .into_iter()
        .flatten()
        .any(|c| c["name"] == "me")
}

/// The host's own address towards containers.
fn uplink(w: &World, family: u8) -> String {
    if w.mode == Mode::Host {
        return w.net_field("gateways", usize::from(family == 6));
    }
    let up = Ns::host().must("ip -o link | grep -o 'm[^ ]*up@' | tr -d @");
    let line = format!("ip -{family} -o addr show dev {} scope global", up.trim());
    let all = Ns::host().must(&line);
    let address = all
        .split_ascii_whitespace()
        .nth(3)
        .and_then(|a| a.split('/').next());
    address.expect("an address").to_owned()
}
