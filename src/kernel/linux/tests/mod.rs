//! The real kernel, in namespaces of its own: each test runs on a thread that has left the
//! machine's network and mounts before it touches anything.

mod broken;
mod sets;
mod world;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use ipnetwork::IpNetwork;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::kernel::linux::{Linux, namespace};
use crate::kernel::{Kernel, Scope};
use crate::model::{Family, Mac};
use crate::plan::names::MARK_IN;
use crate::plan::{
    Element, Expires, Field, Hop, MAIN, Mark, Names, Object, Place, Plan, Ruleset, SetName, State, Table,
    Verdict,
};

/// Runs a test on a thread with empty namespaces and a directory of its own.
fn apart(test: fn(&Path)) {
    apart_with(&(), move |dir, ()| test(dir));
}

fn apart_with<T: Sync + ?Sized>(input: &'static T, test: impl FnOnce(&Path, &T) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).is_err() {
            eprintln!("skipped: no leave to make namespaces");
            return;
        }
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        test(Path::new("/mnt"), input);
    });
    thread.join().unwrap();
}

fn names() -> Names {
    Names::of_world(0)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 10, 9, 0, n])
}

const BRIDGE_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn linux(dir: &Path) -> Linux {
    Linux::new(names(), dir.join("router")).unwrap()
}

fn sandbox(dir: &Path, n: u8) -> Place {
    Place::Sandbox(dir.join(format!("c{n}")))
}

fn make_sandbox(dir: &Path, n: u8) -> Place {
    let place = sandbox(dir, n);
    if let Place::Sandbox(path) = &place {
        namespace::make(path).unwrap();
    }
    place
}

fn sysctl(at: &Place, key: &str, value: &str) -> Object {
    Object::Sysctl {
        at: at.clone(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn address(at: &Place, iface: &str, address: &str) -> Object {
    Object::Address {
        at: at.clone(),
        iface: iface.to_owned(),
        address: net(address),
    }
}

fn route(at: &Place, table: u32, to: &str, hop: Hop) -> Object {
    Object::Route {
        at: at.clone(),
        table,
        to: net(to),
        hop,
    }
}

fn up(at: &Place, iface: &str) -> Object {
    Object::Up {
        at: at.clone(),
        iface: iface.to_owned(),
    }
}

fn range(at: &Place, table: Table, set: SetName, range: &str) -> Object {
    let mut e = Element::new(at, table, set, vec![Field::Ip(net(range).network())]);
    e.end = Some(vec![Field::Ip(net(range).broadcast())]);
    Object::Element(e)
}

/// Router, uplink, way out, one bridge.
fn base() -> State {
    let (host, router) = (Place::Host, Place::Router);
    let n = names();
    let mut s = State::from([
        Object::Namespace,
        Object::Ruleset {
            at: router.clone(),
            which: Ruleset::Wall,
        },
        Object::Ruleset {
            at: host.clone(),
            which: Ruleset::WayOut,
        },
        Object::Uplink {
            host: "mtup".into(),
            router: "mtway".into(),
            mtu: 1500,
        },
        Object::Bridge {
            at: router.clone(),
            name: "mtb1".into(),
            mac: BRIDGE_MAC,
            mtu: 1500,
        },
        sysctl(&router, "net/ipv4/ip_forward", "1"),
        sysctl(&router, "net/ipv6/conf/all/forwarding", "1"),
        sysctl(&router, "net/ipv4/conf/all/send_redirects", "0"),
        sysctl(&router, "net/ipv4/conf/mtb1/send_redirects", "0"),
        sysctl(&host, "net/ipv4/ip_forward", "1"),
        sysctl(&host, "net/ipv4/conf/mtup/route_localnet", "1"),
        address(&host, "mtup", "169.254.1.1/32"),
        address(&host, "mtup", "fd77::1/128"),
        address(&router, "mtway", "169.254.1.2/32"),
        address(&router, "mtway", "fd77::2/128"),
        address(&router, "mtb1", "10.9.0.1/32"),
        address(&router, "mtb1", "fe80::1/128"),
        up(&host, "mtup"),
        up(&router, "mtway"),
        up(&router, "mtb1"),
        route(&host, n.route_table, "169.254.1.2/32", Hop::Dev("mtup".into())),
        route(&host, n.route_table, "fd77::2/128", Hop::Dev("mtup".into())),
        route(&router, MAIN, "169.254.1.1/32", Hop::Dev("mtway".into())),
        route(&router, MAIN, "fd77::1/128", Hop::Dev("mtway".into())),
        route(&router, MAIN, "10.9.0.0/16", Hop::Prohibit),
        route(&router, MAIN, "fd09::/64", Hop::Prohibit),
        range(&router, Table::Wall, SetName::Near(Family::Ip4), "10.9.0.0/16"),
        range(&router, Table::Wall, SetName::Near(Family::Ip4), "10.10.0.0/16"),
        range(
            &router,
            Table::Wall,
            SetName::Near(Family::Ip4),
            "255.255.255.255/32",
        ),
        range(&router, Table::Wall, SetName::Near(Family::Ip6), "fd09::/64"),
        range(&host, Table::WayOut, SetName::Nets(Family::Ip4), "10.9.0.0/16"),
        range(&host, Table::WayOut, SetName::Nets(Family::Ip6), "fd09::/64"),
    ]);
    let via = |a: &str, dev: &str| Hop::Via(ip(a), dev.into());
    s.insert(route(&router, MAIN, "0.0.0.0/0", via("169.254.1.1", "mtway")));
    s.insert(route(&router, MAIN, "::/0", via("fd77::1", "mtway")));
    s.insert(route(
        &host,
        n.route_table,
        "10.9.0.0/16",
        via("169.254.1.2", "mtup"),
    ));
    s.insert(route(&host, n.route_table, "fd09::/64", via("fd77::2", "mtup")));
    for family in Family::BOTH {
        let mut rule = |at: &Place, k, mark, iif: Option<&str>, then| {
            s.insert(Object::Rule {
                at: at.clone(),
                family,
                priority: n.priority + k,
                mark,
                iif: iif.map(str::to_owned),
                then,
            });
        };
        rule(&router, 0, Some(Mark::With(MARK_IN)), None, Verdict::Lookup(MAIN));
        rule(&router, 1, None, Some("lo"), Verdict::Lookup(MAIN));
        rule(&router, 2, None, None, Verdict::Prohibit);
        rule(
            &host,
            0,
            Some(Mark::With(MARK_IN)),
            None,
            Verdict::Lookup(n.route_table),
        );
        rule(&host, 1, None, Some("lo"), Verdict::Lookup(n.route_table));
    }
    s
}

/// One container and its link to the next.
fn container(dir: &Path, n: u8) -> State {
    let (router, inner) = (Place::Router, sandbox(dir, n));
    let port = format!("mtp{n:x}");
    let mut s = State::from([
        Object::Veth {
            at: router.clone(),
            port: port.clone(),
            sandbox: inner.clone(),
            inside: "eth0".into(),
            mac: mac(n),
            mtu: 1500,
        },
        sysctl(&inner, "net/ipv4/ping_group_range", "0\t2147483647"),
        sysctl(&inner, "net/ipv4/ip_unprivileged_port_start", "0"),
        Object::BridgePort {
            at: router.clone(),
            port: port.clone(),
            bridge: "mtb1".into(),
        },
        Object::Fdb {
            at: router.clone(),
            port: port.clone(),
            mac: mac(n),
        },
        address(&inner, "eth0", &format!("10.9.0.{n}/16")),
        address(&inner, "eth0", &format!("fd09::{n:x}/128")),
        up(&router, &port),
        up(&inner, "lo"),
        up(&inner, "eth0"),
        route(&inner, MAIN, "10.9.0.1/32", Hop::Dev("eth0".into())),
        route(&inner, MAIN, "0.0.0.0/0", Hop::Via(ip("10.9.0.1"), "eth0".into())),
        route(&inner, MAIN, "::/0", Hop::Via(ip("fe80::1"), "eth0".into())),
    ]);
    for gateway in ["10.9.0.1", "fe80::1"] {
        s.insert(Object::Neighbour {
            at: inner.clone(),
            iface: "eth0".into(),
            ip: ip(gateway),
            mac: BRIDGE_MAC,
        });
    }
    for (family, own) in [
        (Family::Ip4, format!("10.9.0.{n}")),
        (Family::Ip6, format!("fd09::{n:x}")),
    ] {
        s.extend(reach(family, ip(&own), n, &port));
    }
    s
}

/// What one address of a container has in the router.
fn reach(family: Family, own: IpAddr, n: u8, port: &str) -> State {
    let router = Place::Router;
    let mut s = State::from([
        Object::Neighbour {
            at: router.clone(),
            iface: "mtb1".into(),
            ip: own,
            mac: mac(n),
        },
        Object::Route {
            at: router.clone(),
            table: MAIN,
            to: own.into(),
            hop: Hop::Dev("mtb1".into()),
        },
    ]);
    let mut put = |table, set, key| {
        s.insert(Object::Element(Element::new(&router, table, set, key)));
    };
    let source = vec![Field::Iface(port.into()), Field::Mac(mac(n)), Field::Ip(own)];
    put(Table::Ports, SetName::Source(family), source);
    put(Table::Wall, SetName::World(family), vec![Field::Ip(own)]);
    let peer = match own {
        IpAddr::V4(_) => ip("10.9.0.3"),
        IpAddr::V6(_) => ip("fd09::3"),
    };
    put(
        Table::Wall,
        SetName::Port(family),
        vec![Field::Ip(own), Field::Ip(peer), Field::Proto(6), Field::Port(80)],
    );
    s
}

/// Elements of every shape.
fn shapes() -> State {
    let router = Place::Router;
    let (a, b) = (Field::Ip(ip("10.9.0.2")), Field::Ip(ip("10.9.0.3")));
    let key = |proto, port| vec![a.clone(), b.clone(), Field::Proto(proto), Field::Port(port)];
    let mut ports = Element::new(&router, Table::Wall, SetName::Range(Family::Ip4), key(6, 8000));
    ports.end = Some(key(6, 8100));
    let mut timed = Element::new(
        &router,
        Table::Wall,
        SetName::Pair(Family::Ip4),
        vec![a.clone(), b.clone()],
    );
    timed.expires = Some(later(3600));
    let mut timed_range = Element::new(&router, Table::Wall, SetName::Range(Family::Ip4), key(17, 1));
    timed_range.end = Some(key(17, 65535));
    timed_range.expires = Some(later(3600));
    let mut cidr = Element::new(
        &router,
        Table::Wall,
        SetName::Cidr(Family::Ip4),
        vec![a.clone(), Field::Ip(ip("192.0.2.0"))],
    );
    cidr.end = Some(vec![a.clone(), Field::Ip(ip("192.0.2.255"))]);
    let mut any = Element::new(
        &Place::Host,
        Table::WayOut,
        SetName::Any(Family::Ip4),
        vec![Field::Proto(6), Field::Port(8080)],
    );
    any.data = Some(vec![b.clone(), Field::Port(80)]);
    let mut at6 = Element::new(
        &Place::Host,
        Table::WayOut,
        SetName::At(Family::Ip6),
        vec![Field::Ip(ip("fd50::1")), Field::Proto(17), Field::Port(53)],
    );
    at6.data = Some(vec![Field::Ip(ip("fd09::3")), Field::Port(5353)]);
    let class = |set, key: &str, end: Option<&str>| {
        let mut e = Element::new(&router, Table::Wall, set, vec![Field::Ip(ip(key))]);
        e.end = end.map(|end| vec![Field::Ip(ip(end))]);
        e.data = Some(vec![Field::Class(0x1234)]);
        e
    };
    let of_pod = class(SetName::EgressClass(Family::Ip4), "10.9.0.2", None);
    let of_range = class(SetName::IngressBlock(Family::Ip6), "fd50::", Some("fd50::ff"));
    let next = class(SetName::IngressBlock(Family::Ip6), "fd50::100", Some("fd50::1ff"));
    let between = |port| {
        let pair = [Field::Class(0x1234), Field::Class(0)];
        [&pair[..], &[Field::Proto(6), Field::Port(port)]].concat()
    };
    let granted = Element::new(&router, Table::Wall, SetName::MayPort, between(80));
    let mut granted_range = Element::new(&router, Table::Wall, SetName::MayRange, between(90));
    granted_range.end = Some(between(99));
    let links = [ports, timed, timed_range, cidr, any, at6];
    let policies = [of_pod, of_range, next, granted, granted_range];
    links.into_iter().chain(policies).map(Object::Element).collect()
}

/// What an attachment of each reference plugin wants.
fn classic() -> State {
    use crate::plan::classic as of;
    let mut s = State::from([Object::Ruleset {
        at: Place::Host,
        which: Ruleset::Classic,
    }]);
    let map = |host_ip: Option<&str>| of::Mapping {
        host_ip: host_ip.map(ip),
        host_port: 8080,
        port: 80,
        proto: crate::model::Proto::Tcp,
    };
    let maps = [map(None), map(Some("192.0.2.1")), map(Some("2001:db8::1"))];
    let addresses = [net("10.88.0.2/16"), net("fd00:88::2/64")];
    s.extend(of::masquerade(&addresses));
    s.extend(of::published(addresses[0], &maps, of::Hidden::Near));
    s.extend(of::published(addresses[1], &maps, of::Hidden::Everybody));
    s.extend(of::guard("cni0"));
    s.extend(of::ingress("cni0", of::Ingress::SameBridge, &[]));
    s.extend(of::ingress("cni1", of::Ingress::Isolated, &["veth0a".into()]));
    s.extend(of::mac_check("veth0a", mac(1)));
    s
}

fn later(seconds: u64) -> Expires {
    Expires(super::clock::since_boot().as_secs() + seconds)
}

fn apply(linux: &mut Linux, plan: &Plan) {
    let mut done = BTreeSet::new();
    linux
        .apply(&plan.0, &mut |i| {
            assert!(done.insert(i), "step {i} was reported twice");
        })
        .unwrap();
    assert_eq!(done.len(), plan.0.len(), "every step is reported");
}

fn shell(script: &str) -> String {
    let out = Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert!(
        out.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn inside(path: &Path, script: &str) -> String {
    shell(&format!("nsenter --net={} sh -c '{script}'", path.display()))
}

/// What an observer of this state looks at.
fn scope(dir: &Path, state: &State) -> Scope {
    let sysctls = state.iter().filter_map(|o| match o {
        Object::Sysctl { at, key, .. } => Some((at.clone(), key.clone())),
        _ => None,
    });
    Scope {
        sandboxes: vec![sandbox(dir, 2), sandbox(dir, 3)],
        sysctls: sysctls.collect(),
        ..Scope::default()
    }
}

/// Observes, and says what differs from what is wanted.
fn assert_observed(linux: &mut Linux, scope: &Scope, wanted: &State) {
    let found = linux.observe(scope).unwrap();
    let missing: Vec<_> = wanted.difference(&found).collect();
    let extra: Vec<_> = found.difference(wanted).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing: {missing:#?}\nextra: {extra:#?}"
    );
}

fn without_values(state: &State) -> State {
    let is_value = |o: &&Object| matches!(o, Object::Sysctl { .. });
    state.iter().filter(|o| !is_value(o)).cloned().collect()
}

fn world(dir: &Path) -> State {
    let parts = [base(), container(dir, 2), container(dir, 3), shapes(), classic()];
    parts.into_iter().flatten().collect()
}
