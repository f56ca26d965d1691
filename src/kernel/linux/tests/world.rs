//! Whole worlds: made, observed, taken away, broken and repaired.

use std::time::Instant;

use super::{
    apart, apart_with, apply, assert_observed, base, container, inside, linux, make_sandbox, scope, shell,
    without_values, world,
};
use crate::kernel::faulty::Faulty;
use crate::kernel::linux::namespace;
use crate::kernel::{Kernel as _, Scope};
use crate::plan::{Plan, State};

#[test]
fn a_whole_world_comes_and_goes() {
    apart(|dir| {
        make_sandbox(dir, 2);
        make_sandbox(dir, 3);
        let mut k = linux(dir);
        let wanted = world(dir);
        let scope = scope(dir, &wanted);
        let nothing = State::new();
        let values = Scope {
            sandboxes: scope.sandboxes.clone(),
            ..Scope::default()
        };
        for round in 0..2 {
            assert_observed(&mut k, &values, &nothing);
            apply(&mut k, &Plan::add(&wanted));
            assert_observed(&mut k, &scope, &wanted);
            for o in &wanted {
                assert!(k.has(o).unwrap(), "{o:?}");
            }
            apply(&mut k, &Plan::add(&wanted));
            assert_observed(&mut linux(dir), &scope, &wanted);
            let start = Instant::now();
            apply(&mut k, &Plan::remove(&wanted));
            eprintln!("round {round}: all gone after {:?}", start.elapsed());
            for o in &without_values(&wanted) {
                assert!(!k.has(o).unwrap(), "{o:?}");
            }
            apply(&mut k, &Plan::remove(&wanted));
        }
        assert_observed(&mut k, &values, &nothing);
    });
}

#[test]
fn one_container_comes_and_goes() {
    apart(|dir| {
        make_sandbox(dir, 2);
        make_sandbox(dir, 3);
        let mut k = linux(dir);
        let kept: State = base().into_iter().chain(container(dir, 2)).collect();
        apply(&mut k, &Plan::add(&kept));
        let one = container(dir, 3);
        let scope = scope(dir, &kept);
        for _ in 0..4 {
            let start = Instant::now();
            apply(&mut k, &Plan::add(&one));
            eprintln!("attach of {} objects: {:?}", one.len(), start.elapsed());
            let start = Instant::now();
            apply(&mut k, &Plan::remove(&one));
            eprintln!("detach: {:?}", start.elapsed());
            assert_observed(&mut k, &scope, &kept);
        }
        // The container's namespace is gone before its objects are.
        apply(&mut k, &Plan::add(&one));
        drop(k);
        namespace::remove(&dir.join("c3")).unwrap();
        let start = Instant::now();
        let mut k = linux(dir);
        apply(&mut k, &Plan::remove(&one));
        eprintln!("detach of a dead container: {:?}", start.elapsed());
        assert_observed(&mut k, &scope, &kept);
    });
}

/// Whatever step of an attachment fails, undoing the finished ones leaves nothing.
#[test]
fn a_half_done_attachment_is_undone() {
    apart(|dir| {
        make_sandbox(dir, 2);
        make_sandbox(dir, 3);
        let kept: State = base().into_iter().chain(container(dir, 2)).collect();
        apply(&mut linux(dir), &Plan::add(&kept));
        let scope = scope(dir, &kept);
        let plan = Plan::add(&container(dir, 3));
        for at in 0..plan.0.len() {
            let mut k = Faulty::failing(linux(dir), at, libc::EIO);
            let mut finished = Vec::new();
            let outcome = k.apply(&plan.0, &mut |i| finished.push(plan.0[i].clone()));
            assert!(outcome.is_err());
            assert_eq!(finished, plan.0[..at]);
            k.apply(&Plan(finished).reversed().0, &mut |_| {}).unwrap();
            assert_observed(&mut k.into_inner(), &scope, &kept);
        }
    });
}

/// What is broken by hand is seen, and made whole by the plan between.
#[test]
fn what_is_broken_is_seen_and_repaired() {
    let breakages: &[(&str, &str)] = &[
        ("router", "nft delete table bridge moat"),
        ("router", "nft delete table inet moat"),
        ("router", "nft flush ruleset"),
        ("router", "nft flush chain inet moat judge"),
        ("router", "nft add table inet moat \"{ flags dormant; }\""),
        ("router", "ip link del mtb1"),
        ("router", "ip link set mtb1 address 02:00:00:00:00:77"),
        ("router", "ip link set mtb1 mtu 1400"),
        ("router", "ip link set mtb1 down"),
        ("router", "ip link set mtb1 type bridge mcast_snooping 1"),
        ("router", "ip link del mtp2"),
        ("router", "ip link set mtp2 nomaster"),
        ("router", "ip link set mtp2 type bridge_slave isolated off"),
        ("router", "ip link set mtp2 type bridge_slave learning on"),
        ("router", "bridge fdb del 02:00:0a:09:00:02 dev mtp2 master"),
        ("router", "ip link del mtway"),
        ("router", "ip rule del pref 5202"),
        ("router", "ip -6 rule del pref 5200"),
        ("router", "ip route del 10.9.0.2"),
        ("router", "ip route flush table main"),
        ("router", "ip neigh flush nud permanent dev mtb1"),
        (
            "router",
            "ip neigh replace 10.9.0.2 lladdr 02:00:00:00:00:66 dev mtb1 nud permanent",
        ),
        ("router", "sysctl -qw net.ipv4.ip_forward=0"),
        ("c2", "ip link del eth0"),
        ("c2", "ip link set eth0 down"),
        ("c2", "ip link set eth0 address 02:00:00:00:00:88"),
        ("c2", "ip addr flush dev eth0"),
        ("", "nft delete table inet moat_out"),
        ("", "ip rule del pref 5200"),
        ("", "ip route flush table 1836318720"),
        ("", "ip link set mtup mtu 1400"),
        ("", "nft add element inet moat_out nets4 { 10.99.0.0/16 }"),
        // The kernel takes the uplink along a moment later: what is seen until then is neither state.
        (
            "",
            "umount router; for i in $(seq 500); do ip link show mtup >/dev/null 2>&1 || break; sleep 0.01; done",
        ),
    ];
    apart_with(breakages, |dir, breakages| {
        make_sandbox(dir, 2);
        make_sandbox(dir, 3);
        let wanted = world(dir);
        let scope = scope(dir, &wanted);
        apply(&mut linux(dir), &Plan::add(&wanted));
        for (place, script) in breakages {
            if place.is_empty() {
                shell(&script.replace("router", &dir.join("router").display().to_string()));
            } else {
                inside(&dir.join(place), script);
            }
            let mut k = linux(dir);
            let before = k.observe(&scope).unwrap();
            assert_ne!(before, wanted, "not seen: {script}");
            // What hangs on a thing that comes back is seen to be missing the second time.
            for _ in 0..2 {
                let plan = Plan::between(&k.observe(&scope).unwrap(), &wanted);
                apply(&mut k, &plan);
            }
            eprintln!("repaired: {script}");
            assert_observed(&mut k, &scope, &wanted);
        }
    });
}
