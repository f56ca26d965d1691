//! Two containers that nobody linked.

use crate::harness::{Story, everywhere};
use crate::world::{FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[everywhere("walls::ordinary_packets", ordinary_packets)];

/// TCP, UDP and ping do not arrive; after a link the same packets do.
fn ordinary_packets(mode: Mode) {
    let w = World::new(mode);
    let (a, b) = (w.idle("a", &[]), w.idle("b", &[]));
    for family in FAMILIES {
        let ip = b.ip(family);
        let any = if family == 4 { "0.0.0.0" } else { "::" };
        let _tcp = b.ns.serve("tcp", any, 80);
        let _udp = b.ns.serve("udp", any, 53);
        let seen = b.ns.capture("");
        assert!(!a.ns.reaches("tcp", ip, 80), "tcp to {ip}");
        assert!(!a.ns.reaches("udp", ip, 53), "udp to {ip}");
        assert!(!a.ns.pings(ip), "ping to {ip}");
        seen.nothing("unlinked");

        w.ok(&["link", "a", "b"]);
        let seen = b.ns.capture("");
        assert!(a.ns.reaches("tcp", ip, 80), "tcp to {ip} over a link");
        assert!(a.ns.reaches("udp", ip, 53), "udp to {ip} over a link");
        assert!(a.ns.pings(ip), "ping to {ip} over a link");
        seen.something("linked");
        w.ok(&["unlink", "a", "b"]);
    }
    w.is_clean();
}
