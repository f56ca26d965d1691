//! Plugin type `host-local`: gives addresses from ranges, and keeps them in files.
//!
//! The lease files are the record: what ADD wrote there is what DEL takes away, whoever of us
//! and the reference plugin wrote it, and whatever the configuration says by then.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::model::RangeSet;
use crate::ops::error::{Error, Result};
use crate::ops::fault;
use crate::ops::lock::{self, Lock};
use crate::store::{Holder, Leases, lease_dir};

/// How long to wait for another process; the reference reads all leases meanwhile, in its turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the reference plugin keeps leases.
pub const DATA_DIR: &str = "/var/lib/cni/networks";

/// The leases of one network.
#[derive(Clone, Debug)]
pub struct Pool {
    pub data_dir: PathBuf,
    pub network: String,
}

/// One address for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// With the subnet's length.
    pub address: IpNetwork,
    pub gateway: IpAddr,
}

impl Pool {
    /// One address from each set, the wished one where there is one.
    ///
    /// # Errors
    /// A set is exhausted, a wish cannot be met, or the holder has an address already; then
    /// nothing is kept.
    pub fn add(&self, holder: &Holder, sets: &[RangeSet], wishes: &[IpAddr]) -> Result<Vec<Lease>> {
        let (_lock, mut leases) = self.open()?;
        let own = leases.of(holder)?;
        let mut wishes = wishes.to_vec();
        let mut given: Vec<Lease> = Vec::new();
        let mut give_all = || -> Result<()> {
            for (i, set) in sets.iter().enumerate() {
                if let Some(ip) = own.iter().find(|ip| set.range_of(**ip).is_some()) {
                    return Err(held(holder, *ip));
                }
                let wish = wishes.iter().position(|ip| set.range_of(*ip).is_some());
                let wish = wish.map(|at| wishes.remove(at));
                given.push(give(&mut leases, holder, (i, set), wish)?);
            }
            wishes.first().map_or(Ok(()), |ip| Err(outside(*ip, sets)))
        };
        let done = give_all();
        if let Err(e) = done {
            for lease in &given {
                leases.release(lease.address.ip())?;
            }
            return Err(e);
        }
        Ok(given)
    }

    /// Takes back what the holder has. Without a directory nobody has anything.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn del(&self, holder: &Holder) -> Result<()> {
        let Some((_lock, mut leases)) = self.existing()? else {
            return Ok(());
        };
        for ip in leases.of(holder)? {
            fault::step("releasing an address")?;
            leases.release(ip)?;
        }
        Ok(())
    }

    /// Whether the holder has an address, and all of `expected` that the sets give.
    ///
    /// # Errors
    /// The address it has not.
    pub fn check(&self, holder: &Holder, sets: &[RangeSet], expected: &[IpAddr]) -> Result<()> {
        let own = match self.existing()? {
            Some((_lock, mut leases)) => leases.of(holder)?,
            None => Vec::new(),
        };
        let ours = |ip: &&IpAddr| sets.iter().any(|s| s.range_of(**ip).is_some());
        if let Some(ip) = expected.iter().filter(ours).find(|ip| !own.contains(ip)) {
            return Err(Error::Amiss(format!(
                "{ip} is not leased to container {} on `{}`",
                holder.container, self.network
            )));
        }
        if own.is_empty() {
            return Err(Error::Amiss(format!(
                "no address is leased to container {} on `{}`",
                holder.container, self.network
            )));
        }
        Ok(())
    }

    /// Takes back what nobody of `valid` has.
    ///
    /// # Errors
    /// The first file that cannot be removed, after all were tried.
    pub fn gc(&self, valid: &[Holder]) -> Result<()> {
        let Some((_lock, mut leases)) = self.existing()? else {
            return Ok(());
        };
        let is_valid = |h: &Holder| {
            let same =
                |v: &&Holder| v.container == h.container && (v.ifname == h.ifname || h.ifname.is_empty());
            valid.iter().any(|v| same(&v))
        };
        let mut first = Ok(());
        for (ip, _) in leases.all()?.iter().filter(|(_, h)| !is_valid(h)) {
            first = first.and(leases.release(*ip));
        }
        Ok(first?)
    }

    /// Whether each set has a free address.
    ///
    /// # Errors
    /// The set that has none.
    pub fn status(&self, sets: &[RangeSet]) -> Result<()> {
        let (_lock, leases) = self.open()?;
        for (i, set) in sets.iter().enumerate() {
            if set.next(leases.last(i), |a, b| leases.free(a, b))?.is_none() {
                return Err(exhausted(set));
            }
        }
        Ok(())
    }

    fn open(&self) -> Result<(Lock, Leases)> {
        let dir = lease_dir(&self.data_dir, &self.network)?;
        // The reference plugin's own lock, so that it waits for us and we for it.
        let lock = lock::exclusive(&dir.join("lock"), PATIENCE)?;
        Ok((lock, Leases::open(&self.data_dir, &self.network)?))
    }

    fn existing(&self) -> Result<Option<(Lock, Leases)>> {
        let there = self.data_dir.join(&self.network).is_dir();
        there.then(|| self.open()).transpose()
    }
}

/// One address of a set, for good.
fn give(
    leases: &mut Leases,
    holder: &Holder,
    (i, set): (usize, &RangeSet),
    wish: Option<IpAddr>,
) -> Result<Lease> {
    fault::step("leasing an address")?;
    if let Some((ip, range)) = wish.and_then(|ip| Some((ip, set.range_of(ip)?))) {
        if ip == range.gateway() {
            return Err(refused(format!("the wished address is the gateway: `{ip}`")));
        }
        if !leases.reserve(ip, holder, i)? {
            return Err(refused(format!("the wished address is in use: `{ip}`")));
        }
        return Ok(lease(range, ip));
    }
    loop {
        let Some((range, ip)) = set.next(leases.last(i), |a, b| leases.free(a, b))? else {
            return Err(exhausted(set));
        };
        // Not free after all: somebody made the file without the lock. The index knows now.
        if leases.reserve(ip, holder, i)? {
            return Ok(lease(range, ip));
        }
    }
}

fn lease(range: &crate::model::Range, ip: IpAddr) -> Lease {
    Lease {
        address: range.of(ip),
        gateway: range.gateway(),
    }
}

fn held(holder: &Holder, ip: IpAddr) -> Error {
    Error::Refused {
        what: format!(
            "container {} has an address of these ranges already: `{ip}`",
            holder.container
        ),
        hint: "call DEL before a second ADD".into(),
    }
}

fn refused(what: String) -> Error {
    Error::Refused {
        what,
        hint: "leave it out to get a free one".into(),
    }
}

fn outside(ip: IpAddr, sets: &[RangeSet]) -> Error {
    let all: Vec<String> = sets.iter().map(ToString::to_string).collect();
    Error::Refused {
        what: format!("no range left has the wished address: `{ip}`"),
        hint: format!("each set of ranges gives one address: {}", all.join("; ")),
    }
}

fn exhausted(set: &RangeSet) -> Error {
    Error::Exhausted { set: set.to_string() }
}

/// What a file in the form of `resolv.conf(5)` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    pub nameservers: Vec<String>,
    pub domain: String,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// Reads a file in the form of `resolv.conf(5)`, as the reference plugin does: what is not
/// known is left out.
///
/// # Errors
/// When it cannot be read.
pub fn resolv_conf(path: &Path) -> Result<ResolvConf> {
    let text = fs::read_to_string(path).map_err(|source| Error::State {
        path: path.display().to_string(),
        source,
    })?;
    Ok(parse_resolv_conf(&text))
}

fn parse_resolv_conf(text: &str) -> ResolvConf {
    let mut conf = ResolvConf::default();
    for line in text.lines().filter(|l| !l.trim_start().starts_with(['#', ';'])) {
        let mut words = line.split_whitespace().map(str::to_owned);
        let key = words.next().unwrap_or_default();
        match key.as_str() {
            "nameserver" => conf.nameservers.extend(words.next()),
            "domain" => conf.domain = words.next().unwrap_or(conf.domain),
            "search" => conf.search.extend(words),
            "options" => conf.options.extend(words),
            _ => {}
        }
    }
    conf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_as_the_reference_reads_it() {
        let text = "# a comment\nnameserver 192.0.2.0\n  nameserver fd00::1 ; x\n;search no\n\
                    domain a.example\nsearch b c\nsearch d\noptions four one\nnameserver\nother x\n";
        let conf = parse_resolv_conf(text);
        assert_eq!(conf.nameservers, ["192.0.2.0", "fd00::1"]);
        assert_eq!(
            (conf.domain.as_str(), conf.search.join(" ")),
            ("a.example", "b c d".to_owned())
        );
        assert_eq!(conf.options, ["four", "one"]);
    }
}
