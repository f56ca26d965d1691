//! Set elements, counters and flows in a real kernel.

use std::time::Instant;

use super::{apart, apply, base, inside, ip, later, linux, scope};
use crate::kernel::Kernel as _;
use crate::kernel::linux::Flows;
use crate::model::Family;
use crate::plan::{Element, Field, Object, Place, Plan, SetName, State, Step, Table};

fn port(client: &str, port: u16) -> Element {
    let key = vec![
        Field::Ip(ip(client)),
        Field::Ip(ip("10.9.0.3")),
        Field::Proto(6),
        Field::Port(port),
    ];
    Element::new(&Place::Router, Table::Wall, SetName::Port(Family::Ip4), key)
}

/// Thousands at once, then taken away with others that were never there.
#[test]
fn many_elements_go_together() {
    apart(|dir| {
        let mut k = linux(dir);
        apply(&mut k, &Plan::add(&base()));
        let scope = scope(dir, &base());
        let many: State = (1..=2000).map(|n| Object::Element(port("10.9.0.2", n))).collect();
        let start = Instant::now();
        apply(&mut k, &Plan::add(&many));
        eprintln!("2000 elements: {:?}", start.elapsed());
        assert_eq!(
            k.observe(&scope).unwrap(),
            base().into_iter().chain(many).collect()
        );
        let more: State = (1..=4000).map(|n| Object::Element(port("10.9.0.2", n))).collect();
        let start = Instant::now();
        apply(&mut k, &Plan::remove(&more));
        eprintln!("gone, half of 4000 missing: {:?}", start.elapsed());
        assert_eq!(k.observe(&scope).unwrap(), base());
    });
}

/// A value or an end is replaced; an overlap is refused, with nothing changed.
#[test]
fn elements_are_renewed_or_refused() {
    apart(|dir| {
        let mut k = linux(dir);
        apply(&mut k, &Plan::add(&base()));
        let host = Place::Host;
        let map = |to: u16| {
            let key = vec![Field::Proto(6), Field::Port(8080)];
            let mut e = Element::new(&host, Table::WayOut, SetName::Any(Family::Ip4), key);
            e.data = Some(vec![Field::Ip(ip("10.9.0.2")), Field::Port(to)]);
            e
        };
        let add = |e: &Element| Step::Add(Object::Element(e.clone()));
        for to in [80, 81] {
            k.apply(&[add(&map(to))], &mut |_| {}).unwrap();
            assert!(k.has(&Object::Element(map(to))).unwrap());
        }
        let mut timed = port("10.9.0.2", 80);
        timed.expires = Some(later(100));
        k.apply(&[add(&timed)], &mut |_| {}).unwrap();
        timed.expires = Some(later(5000));
        k.apply(&[add(&timed)], &mut |_| {}).unwrap();
        let left = inside(&dir.join("router"), "nft list set inet moat port4");
        assert!(left.contains("timeout 1h2"), "{left}");
        // Over before it began: as good as added, and never there.
        let mut past = port("10.9.0.2", 81);
        past.expires = Some(crate::plan::Expires(1));
        k.apply(&[add(&past)], &mut |_| {}).unwrap();
        assert!(!k.has(&Object::Element(past)).unwrap());
        let range = |from: u16, to: u16| {
            let mut e = port("10.9.0.2", from);
            e.set = SetName::Range(Family::Ip4);
            let mut end = e.key.clone();
            end[3] = Field::Port(to);
            e.end = Some(end);
            e
        };
        k.apply(&[add(&range(10, 20)), add(&range(10, 20))], &mut |_| {})
            .unwrap();
        let mut finished = 0;
        let refused = k.apply(&[add(&range(30, 40)), add(&range(15, 25))], &mut |_| {
            finished += 1
        });
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("15 - 10.9.0.2 . 10.9.0.3 . 6 . 25"), "{text}");
        assert_eq!(finished, 0);
        assert!(!k.has(&Object::Element(range(30, 40))).unwrap());
        // Taking away a range that is not there leaves the one that overlaps it.
        let gone = Step::Del(Object::Element(range(15, 25)));
        k.apply(&[gone], &mut |_| {}).unwrap();
        assert!(k.has(&Object::Element(range(10, 20))).unwrap());
    });
}

/// An interface of the wrong name is told with the object in words.
#[test]
fn errors_name_the_object() {
    apart(|dir| {
        let mut k = linux(dir);
        apply(&mut k, &Plan::add(&base()));
        let step = Step::Add(Object::Up {
            at: Place::Router,
            iface: "mtp9".into(),
        });
        let error = k.apply(&[step], &mut |_| {}).unwrap_err().to_string();
        assert_eq!(
            error,
            "adding the up state of `mtp9` in the router: No such device (os error 19)"
        );
    });
}

#[test]
fn packets_are_counted_and_flows_forgotten() {
    apart(|dir| {
        let mut k = linux(dir);
        apply(&mut k, &Plan::add(&base()));
        let router = dir.join("router");
        let before = k.generation(&Place::Router).unwrap();
        // The router's own flow to the host; the uplink's address is a client like any other.
        inside(
            &router,
            "nft add rule inet moat to_us counter; python3 -c \"import socket; \
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b\\\"x\\\", (\\\"169.254.1.1\\\", 99))\"",
        );
        assert_ne!(k.generation(&Place::Router).unwrap(), before);
        let (client, server) = (ip("169.254.1.2"), ip("169.254.1.1"));
        let between = |kept: &[&str]| Flows::Between {
            client,
            server,
            kept: kept.iter().map(|s| s.parse().unwrap()).collect(),
        };
        for flows in [
            between(&["80/tcp", "udp"]),
            between(&["90-99/udp"]),
            Flows::Of(ip("10.9.0.2")),
            Flows::Of(ip("fd09::2")),
        ] {
            assert_eq!(
                k.forget_flows(&Place::Router, std::slice::from_ref(&flows))
                    .unwrap(),
                0,
                "{flows:?}"
            );
        }
        // Of both families and among others, in one listing.
        let mixed = [Flows::Of(ip("fd09::2")), between(&["98/udp", "99/tcp"])];
        assert_eq!(k.forget_flows(&Place::Router, &mixed).unwrap(), 1);
        assert_eq!(k.forget_flows(&Place::Router, &[Flows::Of(server)]).unwrap(), 0);
        assert_eq!(k.forget_flows(&Place::Router, &[]).unwrap(), 0);
        let counted = port("10.9.0.2", 80);
        apply(&mut k, &Plan(vec![Step::Add(Object::Element(counted.clone()))]));
        let all: Vec<Element> = (80..200).map(|p| port("10.9.0.2", p)).collect();
        for asked in [&[counted][..], &all] {
            let counters = k.counters(asked).unwrap();
            assert_eq!(counters[0], Some((0, 0)));
            assert!(counters[1..].iter().all(Option::is_none));
        }
    });
}

/// What the host has is told; what is ours is not.
#[test]
fn the_host_is_surveyed_without_what_is_ours() {
    apart(|dir| {
        super::shell(
            "ip link set lo up; ip link add eth7 type dummy 2>/dev/null || ip link add eth7 type veth peer name eth8; \
             ip link set eth7 mtu 1400 up; ip addr add 192.0.2.5/24 dev eth7; \
             ip addr add fd50::5/64 dev eth7 nodad; ip route add default via 192.0.2.1; \
             ip route add 198.51.100.0/24 via 192.0.2.1 table 77",
        );
        let mut k = linux(dir);
        apply(&mut k, &Plan::add(&base()));
        assert_eq!(k.default_mtu().unwrap(), 1400);
        assert_eq!(k.host_addresses().unwrap(), [ip("192.0.2.5"), ip("fd50::5")]);
        let routes = k.host_routes().unwrap();
        for there in ["192.0.2.0/24", "198.51.100.0/24", "fd50::/64"] {
            assert!(routes.contains(&super::net(there)), "{there}: {routes:?}");
        }
        for ours in ["10.9.0.0/16", "169.254.1.2/32", "fd09::/64", "0.0.0.0/0"] {
            assert!(!routes.contains(&super::net(ours)), "{ours}: {routes:?}");
        }
        assert_eq!(k.advertised().unwrap(), Vec::<String>::new());
        assert_eq!(k.families(), Family::BOTH);
    });
}
