//! Walls around what reference plugins made: mode `policy` of type `moat`, last in their chains.
//!
//! The chain is called as a runtime calls it, plugin by plugin, with the binaries of Debian's
//! `containernetworking-plugins`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{self, Story, own};
use crate::links::any;
use crate::net::{Ns, Out, until};
use crate::world::{FAMILIES, Mode, Neighbour, World};

pub const STORIES: &[Story] = &[
    own("policy::ordinary_packets", ordinary_packets),
    own("policy::raw_frames", raw_frames),
    own("policy::routes_by_hand", routes_by_hand),
    own("policy::flushed", flushed),
    own("policy::published", published),
    own("policy::beside_no_wall", beside_no_wall),
    own("policy::routed", routed),
    own("policy::labels_and_networks", labels_and_networks),
    own("policy::comes_and_goes", comes_and_goes),
    own("policy::lost_interfaces", lost_interfaces),
    own("policy::refused", refused),
    own("policy::all_at_once", all_at_once),
    own("policy::killed_in_add_odd", |_| killed_in_add(1)),
    own("policy::killed_in_add_even", |_| killed_in_add(2)),
    own("policy::killed_in_del_odd", |_| killed_in_del(1)),
    own("policy::killed_in_del_even", |_| killed_in_del(2)),
];

const REFERENCE: &str = "/usr/lib/cni";

/// A network as a conflist has it; the last plugin is ours, unless `free`.
struct Chain<'w> {
    w: &'w World,
    name: &'static str,
    main: Value,
    portmap: bool,
}

/// A container's namespace behind a chain.
#[derive(Clone)]
struct Pod {
    id: String,
    path: PathBuf,
    ns: Ns,
    mac: String,
    ip4: String,
    ip6: String,
    gateways: [String; 2],
    gate_mac: String,
    port: String,
}

/// Until the host's interfaces have said to groups what they say when they come up.
fn settle() {
    let tentative = || Ns::host().must("ip -6 addr show tentative");
    assert!(until(Duration::from_secs(5), || tentative().is_empty()));
    std::thread::sleep(Duration::from_millis(1200));
}

impl Pod {
    fn ip(&self, family: u8) -> &str {
        if family == 4 { &self.ip4 } else { &self.ip6 }
    }

    fn gateway(&self, family: u8) -> &str {
        &self.gateways[usize::from(family == 6)]
    }

    /// What its port says by itself to groups is no other container's.
    fn others(&self) -> String {
        let mac = Ns::host().must(&format!(
            "ip -o link show {} | sed 's/.*ether //; s/ .*//'",
            self.port
        ));
        format!("not (ether src {} and ip6 and ether multicast)", mac.trim())
    }
}

impl<'w> Chain<'w> {
    /// Reference `bridge` with both families.
    fn bridge(w: &'w World, name: &'static str, n: u8) -> Self {
        let main = json!({"type": "bridge", "bridge": format!("cni{n}"), "isGateway": true,
            "isDefaultGateway": true, "ipMasq": true, "ipam": ipam(n)});
        Self {
            w,
            name,
            main,
            portmap: false,
        }
    }

    fn ptp(w: &'w World, name: &'static str, n: u8) -> Self {
        let mut ipam = ipam(n);
        ipam["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
        Self {
            w,
            name,
            main: json!({"type": "ptp", "ipMasq": true, "ipam": ipam}),
            portmap: false,
        }
    }

    fn call(&self, verb: &str, plugin: &Value, pod: (&str, &str), previous: Option<&Value>) -> Out {
        self.call_with(verb, plugin, pod, previous, &[])
    }

    fn call_with(
        &self,
        verb: &str,
        plugin: &Value,
        (id, netns): (&str, &str),
        previous: Option<&Value>,
        env: &[(&str, &str)],
    ) -> Out {
        let mut config = plugin.clone();
        config["cniVersion"] = json!("1.0.0");
        config["name"] = json!(self.name);
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        let kind = plugin["type"].as_str().unwrap();
        let mut c = match kind {
            "moat" => self.w.command(&[]),
            _ => Command::new(format!("{REFERENCE}/{kind}")),
        };
        c.envs([
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", id),
            ("CNI_NETNS", netns),
        ])
        .envs([("CNI_IFNAME", "eth0"), ("CNI_PATH", REFERENCE)])
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
        let mut child = c.spawn().expect("the plugin starts");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(config.to_string().as_bytes()).unwrap();
        drop(stdin);
        let out = child.wait_with_output().unwrap();
        Out {
            code: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    fn moat(more: &Value) -> Value {
        let mut config = json!({"type": "moat", "mode": "policy"});
        for (k, v) in more.as_object().into_iter().flatten() {
            config[k] = v.clone();
        }
        config
    }

    fn portmap(ports: &Value) -> Value {
        json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true,
            "runtimeConfig": {"portMappings": ports}})
    }

    /// The namespace and what the plugins before ours make of it; their result.
    #[track_caller]
    fn before(&self, id: &str, ports: &Value) -> (PathBuf, Value) {
        let path = harness::dir().join(format!("ns-{id}"));
        Ns::host().must(&format!(
            "touch {0} && unshare --net={0} ip link set lo up",
            path.display()
        ));
        let at = (id, path.to_str().unwrap());
        let out = self.call("ADD", &self.main, at, None);
        assert!(out.ok(), "{out:?}");
        let mut result: Value = serde_json::from_str(&out.stdout).unwrap();
        if self.portmap {
            let out = self.call("ADD", &Self::portmap(ports), at, Some(&result));
            assert!(out.ok(), "{out:?}");
            result = serde_json::from_str(&out.stdout).unwrap();
        }
        (path, result)
    }

    /// A container without a wall.
    #[track_caller]
    fn free(&self, id: &str) -> Pod {
        let (path, result) = self.before(id, &json!([]));
        pod(id, path, &result)
    }

    #[track_caller]
    fn add(&self, id: &str) -> Pod {
        self.add_with(id, &json!({}), &json!([]))
    }

    #[track_caller]
    fn add_with(&self, id: &str, more: &Value, ports: &Value) -> Pod {
        let (path, mut result) = self.before(id, ports);
        let out = self.call(
            "ADD",
            &Self::moat(more),
            (id, path.to_str().unwrap()),
            Some(&result),
        );
        assert!(out.ok(), "{out:?}");
        let passed: Value = serde_json::from_str(&out.stdout).unwrap();
        if result["dns"] == json!({}) {
            result.as_object_mut().unwrap().remove("dns");
        }
        assert_eq!(passed, result, "the result passes unchanged");
        pod(id, path, &result)
    }

    /// Our part of DEL, which comes first.
    fn del(&self, id: &str, netns: &str) -> Out {
        self.call("DEL", &Self::moat(&json!({})), (id, netns), None)
    }
}

fn ipam(n: u8) -> Value {
    json!({"type": "host-local", "dataDir": harness::dir().join("leases"),
        "ranges": [[{"subnet": format!("10.88.{n}.0/24")}], [{"subnet": format!("fd00:88:{n}::/64")}]]})
}

fn pod(id: &str, path: PathBuf, result: &Value) -> Pod {
    let ns = Ns::at(&path, "eth0");
    let ip = |n: usize| {
        let text = result["ips"][n]["address"].as_str().unwrap();
        text.split('/').next().unwrap().to_owned()
    };
    let gateway = |n: usize| result["ips"][n]["gateway"].as_str().unwrap().to_owned();
    let interfaces = result["interfaces"].as_array().unwrap();
    let named = |start: &str| {
        let all = interfaces
            .iter()
            .find(|i| i["name"].as_str().unwrap().starts_with(start));
        all.cloned().unwrap_or_default()
    };
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    // The result's MAC of a bridge is of a moment ago.
    let bridge = text(&named("cni")["name"]);
    let gate_mac = Ns::host().sh(&format!("ip -o link show {bridge} | sed 's/.*ether //; s/ .*//'"));
    Pod {
        id: id.to_owned(),
        mac: text(&named("eth0")["mac"]),
        port: text(&named("veth")["name"]),
        gate_mac: gate_mac.stdout.trim().to_owned(),
        gateways: [gateway(0), gateway(1)],
        ip4: ip(0),
        ip6: ip(1),
        path,
        ns,
    }
}

impl Pod {
    /// As `moat link` takes it.
    fn name(&self, net: &str) -> String {
        format!("cni:{net}/{}", self.id)
    }
}

/// TCP, UDP and ping arrive over a link, on its port, and not without.
fn ordinary_packets(_: Mode) {
    let w = World::new(Mode::Own);
    let chain = Chain::bridge(&w, "net1", 1);
    let (a, b) = (chain.add("a"), chain.add("b"));
    w.is_clean();
    not_until_linked(&w, &a, &b, "net1", "net1");
    let listed = w.json(&["ps", "-a"]);
    assert_eq!(listed[0]["name"], "cni:net1/a", "{listed}");
    assert_eq!(listed[0]["status"], "running");
    let seen = w.json(&["inspect", "cni:net1/a"]);
    assert_eq!((&seen["port"], &seen["bridge"]), (&json!(a.port), &json!("cni1")));
    let refused = w.moat(&["run", "--net", "net1", "true"]);
    assert!(!refused.ok(), "{refused:?}");
}

#[track_caller]
fn not_until_linked(w: &World, a: &Pod, b: &Pod, from: &str, to: &str) {
    let (from, to) = (a.name(from), b.name(to));
    settle();
    for family in FAMILIES {
        let ip = b.ip(family);
        let _servers = [
            b.ns.serve("tcp", any(family), 80),
            b.ns.serve("tcp", any(family), 81),
            b.ns.serve("udp", any(family), 53),
        ];
        let seen = b.ns.capture(&b.others());
        assert!(!a.ns.reaches("tcp", ip, 80), "tcp to {ip}");
        assert!(!a.ns.reaches("udp", ip, 53), "udp to {ip}");
        assert!(!a.ns.pings(ip), "ping to {ip}");
        seen.nothing("unlinked");
        assert_eq!(w.moat(&["why", &from, &format!("{to}:80/tcp")]).code, 1);

        w.ok(&["link", &from, &format!("{to}:80/tcp")]);
        assert!(a.ns.reaches("tcp", ip, 80), "tcp to {ip} over a link");
        assert!(!a.ns.reaches("tcp", ip, 81), "another port of {ip}");
        assert!(!a.ns.reaches("udp", ip, 53), "udp to {ip}");
        assert_eq!(w.moat(&["why", &from, &format!("{to}:80/tcp")]).code, 0);
        w.ok(&["link", &from, &to]);
        assert!(a.ns.reaches("udp", ip, 53) && a.ns.pings(ip), "all of {ip}");
        let back =
            a.ns.capture("icmp[icmptype] == icmp-echo or icmp6[icmp6type] == 128");
        assert!(!b.ns.pings(a.ip(family)), "against the link");
        back.nothing("against the link");
        w.ok(&["unlink", &from, &to]);
        assert!(!a.ns.reaches("tcp", ip, 80), "tcp to {ip} after the link");
    }
    w.is_clean();
}

/// Hundreds of frames that no program would send: none arrives, and nobody believes them.
fn raw_frames(_: Mode) {
    let w = World::new(Mode::Own);
    let chain = Chain::bridge(&w, "net1", 1);
    let free = chain.free("free");
    let (mut a, b, c) = (chain.add("a"), chain.add("b"), chain.add("c"));
    // The bridge's MAC is that of its lowest port.
    a.gate_mac.clone_from(&c.gate_mac);
    settle();
    // One without a wall hears whom its bridge asks for.
    let asks = format!(" and not (ether src {} and ip6 and ether multicast)", a.gate_mac);
    let seen =
        [(&b, ""), (&c, ""), (&free, asks.as_str())].map(|(p, more)| p.ns.capture(&(p.others() + more)));
    let sent = a.ns.wire(&[
        "battery",
        &a.mac,
        &a.ip4,
        &a.ip6,
        &b.mac,
        &b.ip4,
        &b.ip6,
        &a.gate_mac,
        &a.gateways[0],
        &c.ip4,
        &c.ip6,
    ]);
    let count: u32 = sent.stdout.trim().parse().unwrap_or(0);
    assert!(count > 500, "{sent:?}");
    for (seen, whom) in seen
        .iter()
        .zip(["the peer", "a third container", "one without a wall"])
    {
        seen.nothing(whom);
    }
    for p in [&b, &c, &free] {
        let known = Ns::host().must(&format!("ip neigh show {}; ip neigh show {}", p.ip4, p.ip6));
        assert!(!known.contains(&a.mac), "{known}");
    }
    // Over a link what is true arrives, and what is forged does not.
    let (from, to) = (a.name("net1"), b.name("net1"));
    w.ok(&["link", &from, &format!("{to}:4000/udp")]);
    for family in FAMILIES {
        let seen = b.ns.capture(&format!("udp and src {}", a.ip(family)));
        let emit = |from: &Pod, mac: &str, source: &str| {
            let out = from.ns.wire(&[
                "emit",
                "eth0",
                &a.gate_mac,
                mac,
                "udp",
                source,
                b.ip(family),
                "4000",
            ]);
            assert!(out.ok(), "{out:?}");
        };
        emit(&c, &c.mac, a.ip(family));
        emit(&c, &a.mac, a.ip(family));
        emit(&a, &c.mac, a.ip(family));
        emit(&free, &free.mac, a.ip(family));
        emit(&free, &a.mac, a.ip(family));
        seen.nothing("with the linked container's address, or from a foreign MAC");
        emit(&a, &a.mac, a.ip(family));
        seen.something("from the linked container");
    }
    w.is_clean();
}

/// Routes that root in a container may add lead nowhere.
fn routes_by_hand(_: Mode) {
    let w = World::new(Mode::Own);
    let chain = Chain::bridge(&w, "net1", 1);
    let (a, b) = (chain.add("a"), chain.add("b"));
    settle();
    for family in FAMILIES {
        let (ip, ns) = (b.ip(family), &a.ns);
        let _server = b.ns.serve("tcp", any(family), 80);
        let seen = b.ns.capture(&b.others());
        let gateway = a.gateway(family);
        let neighbour = |mac: &str| format!("ip neigh replace {ip} lladdr {mac} dev eth0");
        for route in [
            format!("ip -{family} route replace {ip} via {gateway} dev eth0 onlink"),
            format!("ip -{family} route replace {ip} dev eth0"),
            format!("ip -{family} route replace {ip} dev eth0; {}", neighbour(&b.mac)),
            format!(
                "ip -{family} route replace {ip} dev eth0; {}",
                neighbour(&b.gate_mac)
            ),
        ] {
            ns.must(&route);
            assert!(!ns.reaches("tcp", ip, 80), "after `{route}`");
            assert!(!ns.pings(ip), "after `{route}`");
        }
        seen.nothing("with routes added by hand");
    }
    let link_local = "ip -6 -o addr show dev eth0 scope link | sed 's/.*inet6 //; s/[/].*//'";
    let peer = b.ns.must(link_local);
    let seen = b.ns.capture(&b.others());
    assert!(!a.ns.pings(&format!("{}%eth0", peer.trim())), "link-local");
    a.ns.sh("ping -c 1 -W 1 ff02::1%eth0; ping -b -c 1 -W 1 255.255.255.255; ping -c 1 -W 1 224.0.0.1");
    seen.nothing("link-local and groups");
}

/// Without any nftables rule everything between walled containers is closed, and the next
/// command opens what links say again.
fn flushed(_: Mode) {
    let mut w = World::new(Mode::Own);
    let _lan = w.lan();
    let chain = Chain::bridge(&w, "net1", 1);
    let (a, b) = (chain.add("a"), chain.add("b"));
    w.ok(&["link", &a.name("net1"), &b.name("net1")]);
    settle();
    for family in FAMILIES {
        let ip = b.ip(family);
        assert!(a.ns.pings(ip), "linked: {ip}");
        Ns::host().must("nft flush ruleset");
        let seen = b.ns.capture(&b.others());
        assert!(!a.ns.pings(ip), "flushed: {ip}");
        let far = Neighbour::ip(family);
        assert!(!a.ns.pings(far), "flushed: {far}");
        a.ns.must(&format!(
            "ip -{family} route replace {ip} via {} dev eth0 onlink",
            a.gateway(family)
        ));
        assert!(!a.ns.pings(ip), "flushed, by way of the gateway: {ip}");
        a.ns.must(&format!("ip -{family} route del {ip}"));
        seen.nothing("without a ruleset");
        w.ok(&["ps"]);
        assert!(a.ns.pings(ip), "healed: {ip}");
        w.is_clean();
    }
}

/// What reference `portmap` publishes is reached from outside and from the host, by no container.
fn published(_: Mode) {
    let mut w = World::new(Mode::Own);
    let lan = w.lan();
    let mut chain = Chain::bridge(&w, "net1", 1);
    chain.portmap = true;
    let free = chain.free("free");
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let b = chain.add_with("b", &json!({}), &ports);
    let a = chain.add("a");
    let own = w.idle("own", &[]);
    w.ok(&["link", "own", "host"]);
    settle();
    for family in FAMILIES {
        let _server = b.ns.serve("tcp", any(family), 80);
        let host = Neighbour::host(family);
        assert!(lan.ns.reaches("tcp", host, 8080), "from the LAN to {host}");
        assert!(Ns::host().reaches("tcp", host, 8080), "from the host to {host}");
        assert!(Ns::host().reaches("tcp", b.ip(family), 80), "the host, straight");
        let seen = b.ns.capture("tcp");
        lan.ns
            .must(&format!("ip route replace {} via {host}", b.ip(family)));
        assert!(!lan.ns.reaches("tcp", b.ip(family), 80), "routed straight at it");
        for (ns, who) in [
            (&a.ns, "another container"),
            (&free.ns, "one without a wall"),
            (&own.ns, "one with its own router"),
        ] {
            for to in [host, a.gateway(family)] {
                assert!(!ns.reaches("tcp", to, 8080), "{who} through {to}");
            }
        }
        seen.nothing("what is published is not linked");
    }
    assert_eq!(
        w.moat(&["why", "world", &format!("{}:80", b.name("net1"))]).code,
        1
    );
}

/// A container that was there before has no wall: it keeps what it had, but no way to others'.
fn beside_no_wall(_: Mode) {
    let mut w = World::new(Mode::Own);
    let lan = w.lan();
    let chain = Chain::bridge(&w, "net1", 1);
    let (old, older) = (chain.free("old"), chain.free("older"));
    let a = chain.add("a");
    settle();
    for family in FAMILIES {
        let far = Neighbour::ip(family);
        let _servers = [
            a.ns.serve("tcp", any(family), 80),
            old.ns.serve("tcp", any(family), 80),
            lan.ns.serve("tcp", any(family), 90),
        ];
        assert!(a.ns.reaches("tcp", far, 90), "walled, to {far}");
        assert!(old.ns.reaches("tcp", far, 90), "without a wall, to {far}");
        assert!(old.ns.pings(old.gateway(family)) && a.ns.pings(a.gateway(family)));
        assert!(older.ns.reaches("tcp", old.ip(family), 80), "without walls");
        let seen = a.ns.capture(&a.others());
        assert!(!old.ns.reaches("tcp", a.ip(family), 80), "over the bridge");
        old.ns.must(&format!(
            "ip -{family} route replace {} via {} dev eth0 onlink",
            a.ip(family),
            old.gateway(family)
        ));
        assert!(!old.ns.reaches("tcp", a.ip(family), 80), "through the gateway");
        seen.nothing("from a container without a wall");
        // Another without a wall may say to groups what it likes.
        let seen = old
            .ns
            .capture(&format!("{} and not ether src {}", old.others(), older.mac));
        assert!(!a.ns.reaches("tcp", old.ip(family), 80));
        seen.nothing("to a container without a wall");
        // The host's own services are closed to the one, and as they were to the other.
        let gateway = a.gateway(family);
        let _server = Ns::host().serve("tcp", gateway, 70);
        assert!(!a.ns.reaches("tcp", gateway, 70) && old.ns.reaches("tcp", gateway, 70));
        w.ok(&["link", &a.name("net1"), "host:70"]);
        assert!(a.ns.reaches("tcp", gateway, 70), "linked to the host");
        w.ok(&["unlink", &a.name("net1"), "host:70"]);
    }
    // It may lie about who has the address: that hides the other for a moment (tagged frames are
    // somebody else's, and pass), and brings nothing of the other's here.
    let stolen = old
        .ns
        .capture("icmp[icmptype] == icmp-echo or icmp6[icmp6type] == 128");
    let seen = a.ns.capture(&format!("ether src {}", old.mac));
    let lies = old.ns.wire(&[
        "battery",
        &old.mac,
        &a.ip4,
        &a.ip6,
        &a.mac,
        &a.ip4,
        &a.ip6,
        &a.gate_mac,
        &a.gateways[0],
        &old.ip4,
        &old.ip6,
    ]);
    assert!(lies.ok(), "{lies:?}");
    for family in FAMILIES {
        let answers = || Ns::host().pings(a.ip(family));
        assert!(until(Duration::from_secs(15), answers), "{}", a.ip(family));
    }
    stolen.nothing("what is for another");
    seen.nothing("the lies themselves");
    w.is_clean();
}

/// Reference `ptp`: no bridge, the same walls.
fn routed(_: Mode) {
    let mut w = World::new(Mode::Own);
    let lan = w.lan();
    let chain = Chain::ptp(&w, "p2p", 1);
    let (a, b) = (chain.add("a"), chain.add("b"));
    not_until_linked(&w, &a, &b, "p2p", "p2p");
    w.ok(&["link", &a.name("p2p"), &format!("{}:4000/udp", b.name("p2p"))]);
    let c = chain.add("c");
    settle();
    // Before the ruleset goes, and the masquerade of the others with it.
    for far in FAMILIES.map(Neighbour::ip) {
        assert!(a.ns.pings(far), "{far}");
    }
    for family in FAMILIES {
        let far = Neighbour::ip(family);
        let seen = b.ns.capture(&format!("udp and src {}", a.ip(family)));
        let gate = |p: &Pod| {
            let mac = format!("ip -o link show {} | sed 's/.*ether //; s/ .*//'", p.port);
            Ns::host().must(&mac).trim().to_owned()
        };
        let emit = |from: &Pod| {
            let (gate, to) = (gate(from), b.ip(family));
            let out = from
                .ns
                .wire(&["emit", "eth0", &gate, &from.mac, "udp", a.ip(family), to, "4000"]);
            assert!(out.ok(), "{out:?}");
        };
        emit(&c);
        seen.nothing("with the linked container's address");
        emit(&a);
        seen.something("from the linked container");
        Ns::host().must("nft flush ruleset");
        assert!(!a.ns.pings(b.ip(family)) && !a.ns.pings(far), "flushed");
        w.ok(&["ps"]);
    }
    drop(lan);
    for p in [&a, &b, &c] {
        let out = chain.del(&p.id, p.path.to_str().unwrap());
        assert!(out.ok(), "{out:?}");
    }
    let rules = Ns::host().must("ip rule; ip -6 rule; nft list tables");
    assert!(!rules.contains("moat") && !rules.contains("5202"), "{rules}");
}

/// Labels and links of pod annotations; two foreign networks and one of ours on the host.
fn labels_and_networks(_: Mode) {
    let w = World::new(Mode::Own);
    let (one, two) = (Chain::bridge(&w, "net1", 1), Chain::ptp(&w, "net2", 2));
    let annotated = |pairs: &Value| json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": pairs}});
    let none = json!([]);
    let db = one.add_with(
        "db",
        &annotated(&json!({"moat.dev/labels": "app=db,tier=back"})),
        &none,
    );
    let links = json!({"moat.dev/labels": "app=web", "moat.dev/links": "label:app=db:80"});
    let web = one.add_with("web", &annotated(&links), &none);
    let far = two.add_with("far", &annotated(&links), &none);
    w.ok(&["net", "create", "flat", "--router", "host"]);
    let own = w.idle("own", &["--net", "flat", "--link", &db.name("net1")]);
    w.is_clean();
    settle();
    for family in FAMILIES {
        let ip = db.ip(family);
        let _server = db.ns.serve("tcp", any(family), 80);
        assert!(web.ns.reaches("tcp", ip, 80), "by label to {ip}");
        assert!(far.ns.reaches("tcp", ip, 80), "from another network to {ip}");
        assert!(own.ns.reaches("tcp", ip, 80), "from a container of ours to {ip}");
        assert!(!web.ns.pings(ip) && !far.ns.pings(ip));
        let seen = db.ns.capture("tcp");
        let server = own.ns.serve("tcp", any(family), 81);
        assert!(!db.ns.reaches("tcp", own.ip(family), 81), "{}", own.ip(family));
        drop(server);
        seen.nothing("nobody answered");
    }
    let out = one.del("web", "");
    assert!(out.ok(), "{out:?}");
    let left = w.ok(&["links"]);
    assert!(!left.contains("net1/web"), "{left}");
    w.is_clean();
}

/// ADD again, CHECK, GC, DEL with and without the namespace: afterwards the host is as before.
fn comes_and_goes(_: Mode) {
    let w = World::new(Mode::Own);
    let chain = Chain::bridge(&w, "net1", 1);
    let _keeps_the_bridge = chain.free("free");
    let look = || {
        Ns::host().must(
            "ip rule; ip -6 rule; ip route show table all | grep static; ip -6 route show table all | grep static; nft list tables; \
             ip -o link | grep -v veth; ip neigh show nud permanent; cat /proc/sys/net/ipv4/ip_forward",
        )
    };
    let before = look();
    let policy = Chain::moat(&json!({}));
    for id in ["a", "b", "c", "d"] {
        let (path, result) = chain.before(id, &json!([]));
        let at = (id, path.to_str().unwrap());
        let add = || chain.call("ADD", &policy, at, Some(&result));
        assert!(add().ok());
        let again = add();
        assert_eq!(again.code, 1, "{again:?}");
        let check = || chain.call("CHECK", &policy, at, Some(&result));
        assert!(check().ok(), "{:?}", check());
        for lost in [
            "nft delete element bridge moat fport { PORT }",
            "bridge link set dev PORT isolated off",
            "ip rule del priority 5202",
        ] {
            let names = w.json(&["inspect", &format!("cni:net1/{id}")]);
            let table = Ns::host().must("nft list tables | sed -n 's/table bridge //p'");
            let lost = lost
                .replace("PORT", names["port"].as_str().unwrap())
                .replace("bridge moat ", &format!("bridge {} ", table.trim()));
            Ns::host().must(&lost);
            let found = check();
            // What every call looks at is mended before anything is checked.
            assert_eq!(
                found.code,
                i32::from(!lost.contains("rule")),
                "`{lost}`: {found:?}"
            );
            w.ok(&["fsck", "--fix"]);
            assert!(check().ok(), "after `{lost}`");
        }
    }
    let netns = harness::dir().join("ns-a");
    assert!(chain.del("a", netns.to_str().unwrap()).ok());
    let main = chain.call("DEL", &chain.main, ("a", netns.to_str().unwrap()), None);
    assert!(main.ok(), "{main:?}");
    // Without a namespace, with one that is gone, twice, and without ADD.
    assert!(chain.del("b", "").ok());
    Ns::host().must(&format!("umount {}", harness::dir().join("ns-c").display()));
    assert!(chain.del("c", harness::dir().join("ns-c").to_str().unwrap()).ok());
    assert!(chain.del("c", "").ok() && chain.del("never", "").ok());
    w.is_clean();
    let gc = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": []});
    let out = gc_call(&w, &gc);
    assert!(out.ok(), "{out:?}");
    assert_eq!(w.json(&["ps", "-a"]), json!([]));
    assert_eq!(before, look());
}

fn gc_call(w: &World, more: &Value) -> Out {
    let mut config = Chain::moat(more);
    config["name"] = json!("net1");
    let mut c = w.command(&[]);
    c.envs([("CNI_COMMAND", "GC"), ("CNI_PATH", REFERENCE)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = c.spawn().unwrap();
    let text = config.to_string();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    Out {
        code: out.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::new(),
    }
}

/// Their plugin, or somebody, took interfaces away before DEL: nothing is stuck.
fn lost_interfaces(_: Mode) {
    let w = World::new(Mode::Own);
    let chain = Chain::bridge(&w, "net1", 1);
    let (a, b, c) = (chain.add("a"), chain.add("b"), chain.add("c"));
    for loss in [
        format!("ip link del {}", a.port),
        format!("ip link set {} nomaster", b.port),
        format!("umount {}", c.path.display()),
        "ip link del cni1; nft flush ruleset".to_owned(),
    ] {
        Ns::host().must(&loss);
        w.ok(&["ps"]);
        let out = w.moat(&["fsck", "--fix"]);
        assert!(out.code < 2, "`{loss}`: {out:?}");
        if loss.contains("umount") {
            // Of a namespace that is gone it speaks until DEL.
            assert!(chain.del("c", "").ok());
        }
        w.is_clean();
    }
    assert!(chain.del("a", a.path.to_str().unwrap()).ok());
    let other = Chain::bridge(&w, "net2", 2);
    let d = other.add("d");
    assert!(d.ns.pings(d.gateway(4)), "life goes on");
    assert!(chain.del("b", b.path.to_str().unwrap()).ok() && chain.del("c", "").ok());
    assert!(other.del("d", "").ok());
    let rules = Ns::host().must("ip rule; nft list tables");
    assert!(!rules.contains("moat") && !rules.contains("520"), "{rules}");
}

/// What cannot be walled is refused with code 7, and nothing is left of it.
fn refused(_: Mode) {
    let w = World::new(Mode::Own);
    let chain = Chain::bridge(&w, "net1", 1);
    let policy = Chain::moat(&json!({}));
    let (path, result) = chain.before("a", &json!([]));
    let at = ("a", path.to_str().unwrap());
    let refuses = |config: &Value, previous: Option<&Value>, word: &str| {
        let out = chain.call("ADD", config, at, previous);
        let error: Value = serde_json::from_str(&out.stdout).unwrap_or_default();
        assert_eq!((out.code, &error["code"]), (1, &json!(7)), "{word}: {out:?}");
        assert!(error["msg"].as_str().unwrap().contains(word), "{word}: {error}");
        assert_eq!(w.json(&["ps", "-a"]), json!([]));
    };
    refuses(&policy, None, "prevResult");
    refuses(&Chain::moat(&json!({"mtu": 1400})), Some(&result), "mtu");
    let mut other = result.clone();
    other["ips"][0]["address"] = json!("10.88.1.77/24");
    refuses(&policy, Some(&other), "10.88.1.77");
    let mut other = result.clone();
    other["ips"][0]["gateway"] = json!("10.88.1.9");
    refuses(&policy, Some(&other), "no address of the bridge");
    // Its other end is elsewhere.
    Ns::at(&path, "eth0").must(&format!(
        "touch {0} && unshare --net={0} true && ip link del eth0 && ip link add eth0 type veth peer name x netns {0} && \
         ip addr add {1} dev eth0 && ip addr add {2} dev eth0 nodad && ip link set eth0 up",
        harness::dir().join("ns-elsewhere").display(),
        result["ips"][0]["address"].as_str().unwrap(),
        result["ips"][1]["address"].as_str().unwrap(),
    ));
    refuses(&policy, Some(&result), "other end");
    let rules = Ns::host().must("ip rule; nft list tables");
    assert!(!rules.contains("moat") && !rules.contains("520"), "{rules}");
    // A network of ours has that name.
    w.ok(&["net", "create", "net1"]);
    let (path, result) = chain.before("b", &json!([]));
    let out = chain.call("ADD", &policy, ("b", path.to_str().unwrap()), Some(&result));
    assert_eq!(out.code, 1, "{out:?}");
    w.ok(&["net", "rm", "net1"]);
}

/// Many ADDs, then many DELs, side by side.
fn all_at_once(_: Mode) {
    const MANY: usize = 16;
    let w = World::new(Mode::Own);
    let chain = Chain::bridge(&w, "net1", 1);
    let policy = Chain::moat(&json!({}));
    let made: Vec<(String, PathBuf, Value)> = (0..MANY)
        .map(|n| {
            let id = format!("c{n}");
            let (path, result) = chain.before(&id, &json!([]));
            (id, path, result)
        })
        .collect();
    let each = |verb: &str| {
        std::thread::scope(|s| {
            for (id, path, result) in &made {
                let (chain, policy) = (&chain, &policy);
                s.spawn(move || {
                    let out = chain.call(verb, policy, (id, path.to_str().unwrap()), Some(result));
                    assert!(out.ok(), "{verb} {id}: {out:?}");
                });
            }
        });
    };
    for _ in 0..2 {
        each("ADD");
        w.is_clean();
        assert_eq!(w.json(&["ps", "-a"]).as_array().unwrap().len(), MANY);
        let first = pod(&made[0].0, made[0].1.clone(), &made[0].2);
        let last = pod(&made[15].0, made[15].1.clone(), &made[15].2);
        assert!(!first.ns.pings(&last.ip4), "unlinked");
        // Each new port may give their bridge another MAC, which the container has to ask for.
        let gateway = &first.gateways[1];
        assert!(
            until(Duration::from_secs(5), || first.ns.pings(gateway)),
            "{gateway}"
        );
        each("DEL");
        assert_eq!(w.json(&["ps", "-a"]), json!([]));
    }
    let rules = Ns::host().must("ip rule; nft list tables");
    assert!(!rules.contains("moat") && !rules.contains("520"), "{rules}");
}

/// It dies at each step of ADD: never open towards a walled one, and the next command tidies.
fn killed_in_add(first: usize) {
    let w = World::new(Mode::Own);
    let chain = Chain::bridge(&w, "net1", 1);
    let policy = Chain::moat(&json!({}));
    let b = chain.add("b");
    let (path, mut result) = chain.before("a", &json!([]));
    let at = ("a", path.to_str().unwrap());
    for n in (first..200).step_by(2) {
        let a = pod("a", path.clone(), &result);
        let fault = format!("abort:{n}");
        let out = chain.call_with("ADD", &policy, at, Some(&result), &[("MOAT_FAULT", &fault)]);
        let family = if n % 4 < 2 { 4 } else { 6 };
        assert!(!a.ns.pings(b.ip(family)), "step {n}");
        if out.ok() {
            assert!(n > 20, "{n} steps");
            assert!(a.ns.pings(&a.gateways[0]));
            println!("{n} steps");
            return;
        }
        w.ok(&["ps"]);
        w.is_clean();
        assert_eq!(w.json(&["ps", "-a"]).as_array().unwrap().len(), 1, "step {n}");
        // Its port stays closed until its own plugin takes it away.
        assert!(chain.call("DEL", &chain.main, at, None).ok());
        let made = chain.call("ADD", &chain.main, at, None);
        assert!(made.ok(), "{made:?}");
        result = serde_json::from_str(&made.stdout).unwrap();
    }
    panic!("no end of steps");
}

/// It dies at each step of DEL: still closed, and the next DEL or command goes on.
fn killed_in_del(first: usize) {
    let w = World::new(Mode::Own);
    let chain = Chain::bridge(&w, "net1", 1);
    let policy = Chain::moat(&json!({}));
    let b = chain.add("b");
    for n in (first..200).step_by(2) {
        let id = format!("a{n}");
        let a = chain.add(&id);
        w.ok(&["link", &b.name("net1"), &a.name("net1")]);
        let at = (id.as_str(), a.path.to_str().unwrap());
        let fault = format!("abort:{n}");
        let out = chain.call_with("DEL", &policy, at, None, &[("MOAT_FAULT", &fault)]);
        assert!(!a.ns.pings(&b.ip4), "step {n}");
        if n % 4 < 2 {
            w.ok(&["ps"]);
        } else {
            assert!(chain.del(&id, "").ok());
        }
        w.is_clean();
        let left = w.json(&["ps", "-a"]);
        let names: Vec<_> = left.as_array().unwrap().iter().map(|c| &c["name"]).collect();
        let gone = names == [&json!("cni:net1/b")];
        // Before its first step it has not begun.
        assert!(gone || n % 4 < 2 && n < 3, "step {n}: {names:?}");
        assert!(chain.del(&id, "").ok());
        assert!(chain.call("DEL", &chain.main, at, None).ok());
        if out.ok() {
            assert!(n > 5, "{n} steps");
            println!("{n} steps");
            return;
        }
    }
    panic!("no end of steps");
}
