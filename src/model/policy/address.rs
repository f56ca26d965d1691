//! Addresses for pods that have none yet.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cluster::{Pod, Standing};

/// Where free addresses are looked for; an ordinary range of clusters.
const FIRST4: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 10);
const FIRST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 10);

/// Gives both families to each pod that has no address at all. One that has keeps what it has: the cluster that
/// printed it may have one family only.
pub fn give(pods: &mut [Pod]) {
    let mut used: BTreeSet<IpAddr> = pods.iter().flat_map(|p| [p.ip4, p.ip6]).flatten().collect();
    let (mut next4, mut next6) = (FIRST4.to_bits(), FIRST6.to_bits());
    for pod in pods {
        if pod.ip4.is_some() || pod.ip6.is_some() || pod.standing == Standing::Outside {
            continue;
        }
        while !used.insert(Ipv4Addr::from_bits(next4).into()) {
            next4 += 1;
        }
        while !used.insert(Ipv6Addr::from_bits(next6).into()) {
            next6 += 1;
        }
        pod.ip4 = Some(Ipv4Addr::from_bits(next4).into());
        pod.ip6 = Some(Ipv6Addr::from_bits(next6).into());
    }
}
