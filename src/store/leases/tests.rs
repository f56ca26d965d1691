//! The index against the files, whoever changes them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("moat-leases-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn holder(n: u8) -> Holder {
    Holder {
        container: format!("c{n}"),
        ifname: "eth0".into(),
    }
}

fn ip(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

/// Who does what next.
#[derive(Clone, Debug)]
enum Act {
    Reserve(u8, u8),
    Release(u8),
    /// As the reference plugin does it.
    TheyReserve(u8, u8),
    TheyRelease(u8),
    /// Somebody writes into a file that is there.
    TheyRewrite(u8, u8),
    /// A process dies before it can seal.
    Die(u8, u8),
}

fn act() -> impl Strategy<Value = Act> {
    let (a, h) = (1..12_u8, 1..5_u8);
    prop_oneof![
        4 => (a.clone(), h.clone()).prop_map(|(a, h)| Act::Reserve(a, h)),
        3 => a.clone().prop_map(Act::Release),
        1 => (a.clone(), h.clone()).prop_map(|(a, h)| Act::TheyReserve(a, h)),
        1 => a.clone().prop_map(Act::TheyRelease),
        1 => (a.clone(), h.clone()).prop_map(|(a, h)| Act::TheyRewrite(a, h)),
        1 => (a, h).prop_map(|(a, h)| Act::Die(a, h)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_index_says_what_the_files_say(acts in prop::collection::vec(act(), 1..40)) {
        let root = scratch("walk");
        let dir = root.join("net");
        let mut truth: BTreeMap<u8, u8> = BTreeMap::new();
        for act in acts {
            let mut leases = Leases::open(&root, "net").unwrap();
            match act {
                Act::Reserve(a, h) => {
                    let free = !truth.contains_key(&a);
                    prop_assert_eq!(leases.reserve(ip(a), &holder(h), 0).unwrap(), free);
                    truth.entry(a).or_insert(h);
                }
                Act::Release(a) => {
                    leases.release(ip(a)).unwrap();
                    truth.remove(&a);
                }
                Act::TheyReserve(a, h) => {
                    drop(leases);
                    if let std::collections::btree_map::Entry::Vacant(entry) = truth.entry(a) {
                        fs::write(dir.join(ip(a).to_string()), format!("c{h}\r\neth0")).unwrap();
                        entry.insert(h);
                    }
                    leases = Leases::open(&root, "net").unwrap();
                }
                Act::TheyRelease(a) => {
                    drop(leases);
                    if truth.remove(&a).is_some() {
                        fs::remove_file(dir.join(ip(a).to_string())).unwrap();
                    }
                    leases = Leases::open(&root, "net").unwrap();
                }
                Act::TheyRewrite(a, h) => {
                    if let Some(entry) = truth.get_mut(&a) {
                        fs::write(dir.join(ip(a).to_string()), format!("c{h}\r\neth0")).unwrap();
                        // It is noticed when the one who had it is looked up.
                        leases.of(&holder(*entry)).unwrap();
                        *entry = h;
                    }
                }
                Act::Die(a, h) => {
                    if leases.reserve(ip(a), &holder(h), 0).unwrap() {
                        truth.insert(a, h);
                    }
                    leases.changed = false;
                    drop(leases);
                    leases = Leases::open(&root, "net").unwrap();
                }
            }
            for h in 1..5 {
                let wanted: Vec<IpAddr> = truth.iter().filter(|e| *e.1 == h).map(|e| ip(*e.0)).collect();
                prop_assert_eq!(leases.of(&holder(h)).unwrap(), wanted);
            }
            for first in 0..14 {
                let wanted = (first..=13).find(|a| !truth.contains_key(a)).map(ip);
                prop_assert_eq!(leases.free(ip(first), ip(13)).unwrap(), wanted);
            }
            let runs = leases.index.runs();
            prop_assert!(runs.windows(2).all(|w| w[0].1 < w[1].0));
            drop(leases);
            // Nobody else came: the index is believed.
            prop_assert!(!Leases::open(&root, "net").unwrap().changed);
        }
        fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn leases_of_both_families_and_both_forms() {
    let root = scratch("forms");
    let dir = lease_dir(&root, "net").unwrap();
    fs::write(dir.join("10.0.0.7"), "old").unwrap();
    fs::write(dir.join("fd00::7"), "new\r\neth0").unwrap();
    fs::write(dir.join("last_reserved_ip.0"), "10.0.0.7").unwrap();
    fs::write(dir.join("lock"), "").unwrap();
    let mut leases = Leases::open(&root, "net").unwrap();
    let of = |leases: &mut Leases, c: &str| {
        let holder = Holder {
            container: c.into(),
            ifname: "eth0".into(),
        };
        leases.of(&holder).unwrap()
    };
    assert_eq!(of(&mut leases, "old"), [ip(7)]);
    assert_eq!(of(&mut leases, "new"), ["fd00::7".parse::<IpAddr>().unwrap()]);
    assert_eq!((leases.last(0), leases.last(1)), (Some(ip(7)), None));
    assert_eq!(leases.all().unwrap().len(), 2);
    let v6 = |s: &str| s.parse::<IpAddr>().unwrap();
    assert_eq!(
        leases.free(v6("fd00::7"), v6("fd00::8")).unwrap(),
        Some(v6("fd00::8"))
    );
    assert_eq!(leases.free(v6("fd00::7"), v6("fd00::7")).unwrap(), None);
    assert!(leases.reserve(v6("fd00::8"), &holder(1), 1).unwrap());
    let text = fs::read_to_string(dir.join("fd00::8")).unwrap();
    assert_eq!(text, "c1\r\neth0");
    drop(leases);
    // A torn or foreign index file is replaced.
    fs::write(root.join(".moat/net.db"), "no database").unwrap();
    assert_eq!(
        of(&mut Leases::open(&root, "net").unwrap(), "new"),
        [v6("fd00::7")]
    );
    fs::remove_dir_all(&root).unwrap();
}
