//! Against what the reference plugin gives.

use super::*;
use std::collections::BTreeSet;
use std::convert::Infallible;

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn range(subnet: &str, first: &str, last: &str) -> Result<Range, RangeError> {
    let some = |s: &str| (!s.is_empty()).then(|| ip(s));
    Range::new(subnet.parse().unwrap(), some(first), some(last), None)
}

/// What the reference plugin gives: `plugins/ipam/host-local/backend/allocator/range_test.go`.
#[test]
fn ranges_are_as_large_as_possible_unless_told() {
    for (subnet, expected) in [
        ("192.0.2.0/24", "192.0.2.1-192.0.2.254"),
        ("192.0.2.0/25", "192.0.2.1-192.0.2.126"),
        ("192.0.2.4/30", "192.0.2.5-192.0.2.6"),
        ("0.0.0.0/0", "0.0.0.1-255.255.255.254"),
        (
            "2001:db8:1::/64",
            "2001:db8:1::1-2001:db8:1:0:ffff:ffff:ffff:ffff",
        ),
        ("::/0", "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ] {
        assert_eq!(range(subnet, "", "").unwrap().to_string(), expected, "{subnet}");
    }
    let r = range("192.0.2.0/24", "192.0.2.40", "192.0.2.50").unwrap();
    assert_eq!(
        (r.to_string().as_str(), r.gateway()),
        ("192.0.2.40-192.0.2.50", ip("192.0.2.1"))
    );
}

#[test]
fn ranges_are_checked() {
    for (subnet, first, last) in [
        ("192.0.2.0/31", "", ""),
        ("2001:db8::/127", "", ""),
        ("192.0.2.1/24", "", ""),
        ("192.0.2.0/24", "192.0.3.0", ""),
        ("192.0.2.0/24", "", "192.0.4.0"),
        ("192.0.2.0/24", "192.0.2.50", "192.0.2.40"),
        ("192.0.2.0/24", "fd00::1", ""),
    ] {
        assert!(range(subnet, first, last).is_err(), "{subnet} {first} {last}");
    }
    let (a, b) = (
        range("10.0.0.0/24", "", "").unwrap(),
        range("fd00::/64", "", "").unwrap(),
    );
    assert!(matches!(
        RangeSet::new(vec![a.clone(), b.clone()]),
        Err(RangeError::Mixed(_))
    ));
    assert!(matches!(
        RangeSet::new(vec![a.clone(), a.clone()]),
        Err(RangeError::Overlap(..))
    ));
    assert_eq!(RangeSet::new(vec![]), Err(RangeError::Empty));
    let (a, b) = (RangeSet::new(vec![a]).unwrap(), RangeSet::new(vec![b]).unwrap());
    assert!(RangeSet::apart(&[a.clone(), b]).is_ok() && RangeSet::apart(&[a.clone(), a]).is_err());
}

/// Against a walk over all addresses, one by one, as the reference plugin goes.
#[test]
fn addresses_are_given_in_turn() {
    let set = RangeSet::new(vec![
        range("10.0.0.0/29", "", "").unwrap(),
        range("10.0.1.0/29", "10.0.1.3", "10.0.1.5").unwrap(),
    ])
    .unwrap();
    let all: Vec<IpAddr> = (2..=6)
        .map(|n| std::net::Ipv4Addr::new(10, 0, 0, n).into())
        .chain((3..=5).map(|n| std::net::Ipv4Addr::new(10, 0, 1, n).into()))
        .collect();
    for taken in 0..1_u32 << all.len() {
        let taken: BTreeSet<IpAddr> = (0..all.len())
            .filter(|i| taken >> i & 1 == 1)
            .map(|i| all[i])
            .collect();
        let free = |a: IpAddr, b: IpAddr| -> Result<_, Infallible> {
            let mut from = Family::number(a)..=Family::number(b);
            Ok(from.find_map(|n| Some(Family::Ip4.address(n)).filter(|ip| !taken.contains(ip))))
        };
        for start in 0..=all.len() {
            let last = all.get(start).copied();
            let turn = last.map_or(0, |_| start + 1);
            let wanted = (0..all.len())
                .map(|i| all[(turn + i) % all.len()])
                .find(|ip| !taken.contains(ip));
            assert_eq!(
                set.next(last, free).unwrap().map(|f| f.1),
                wanted,
                "{last:?} {taken:?}"
            );
        }
    }
}

#[test]
fn the_last_addresses_of_a_family_are_no_trap() {
    let all_ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let r = Range::new(
        "::/0".parse().unwrap(),
        Some(ip(all_ones)),
        None,
        Some(ip(all_ones)),
    )
    .unwrap();
    let set = RangeSet::new(vec![r]).unwrap();
    let free = |a: IpAddr, _: IpAddr| -> Result<_, Infallible> { Ok(Some(a)) };
    assert_eq!(set.next(None, free).unwrap(), None);
    assert_eq!(set.next(Some(ip(all_ones)), free).unwrap(), None);
}
