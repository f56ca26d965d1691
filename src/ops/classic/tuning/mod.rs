//! Plugin type `tuning`: changes properties and sysctls of an interface that others made.
//!
//! What the properties were is written to a backup before the first of them is changed: DEL
//! puts them back. Sysctls go with the namespace; they are only put back when ADD fails.

mod backup;
mod sysctl;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::backup::Backup;
pub use self::backup::gc;
use super::{kernel, sandbox};
use crate::kernel::linux::Linux;
pub use crate::kernel::linux::tune::Tuning;
use crate::ops::error::{Error, Result};
use crate::ops::fault;
use crate::plan::Place;
use crate::store::Holder;

/// Where the reference plugin keeps what it changed.
pub const DATA_DIR: &str = "/run/cni/tuning";

/// What is to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub tuning: Tuning,
    /// Keys as configured: with dots or slashes, `IFNAME` for the interface.
    pub sysctls: BTreeMap<String, String>,
}

/// One interface, and where its backup is.
#[derive(Clone, Debug)]
pub struct Tuned {
    pub data_dir: PathBuf,
    pub network: String,
    pub holder: Holder,
}

impl Tuned {
    /// Changes what is wanted.
    ///
    /// # Errors
    /// A sysctl that is not allowed, no such interface, or the kernel refuses; then all is as
    /// it was.
    pub fn add(&self, netns: &Path, wanted: &Wanted) -> Result<()> {
        let sysctls = sysctl::paths(&wanted.sysctls, &self.holder.ifname)?;
        sysctl::allow(wanted.sysctls.keys())?;
        let (mut kernel, at) = (kernel()?, Place::Sandbox(netns.to_owned()));
        let before: Vec<Option<String>> = sysctls
            .iter()
            // Some can only be written.
            .map(|(key, _)| kernel.sysctls(&at, &[key]).ok()?.pop()?)
            .collect();
        fault::step("changing sysctls")?;
        let done = self.change(&mut kernel, &at, &sysctls, wanted);
        if done.is_err() {
            for ((key, _), value) in sysctls.iter().zip(&before) {
                let value = value.as_deref().map(|v| (key.as_str(), v));
                kernel.set_sysctls(&at, value.as_slice())?;
            }
        }
        done
    }

    fn change(
        &self,
        kernel: &mut Linux,
        at: &Place,
        sysctls: &[(String, String)],
        wanted: &Wanted,
    ) -> Result<()> {
        let values: Vec<(&str, &str)> = sysctls.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        kernel.set_sysctls(at, &values)?;
        if wanted.tuning == Tuning::default() {
            return Ok(());
        }
        let ifname = &self.holder.ifname;
        let before = kernel
            .iface(at, ifname)?
            .ok_or_else(|| no_interface(ifname))?
            .tuning;
        let before = only(&before, &wanted.tuning);
        let earlier = self.read()?;
        self.write(&Backup::of(&before, self.whose()).under(earlier.clone()))?;
        let done = fault::step("changing an interface")
            .and_then(|()| Ok(kernel.tune(at, ifname, &wanted.tuning)?))
            .and_then(|()| fault::step("after changing an interface"));
        if done.is_err() {
            kernel.tune(at, ifname, &before)?;
            match earlier {
                Some(earlier) => self.write(&earlier)?,
                None => self.forget()?,
            }
        }
        done
    }

    /// Puts the properties back, as far as the interface is there and takes them.
    ///
    /// # Errors
    /// When the backup cannot be read or removed.
    pub fn del(&self, netns: Option<&Path>) -> Result<()> {
        let Some(backup) = self.read()? else {
            return Ok(());
        };
        if let Some(at) = sandbox(netns) {
            let mut kernel = kernel()?;
            for part in backup.parts() {
                // Best effort, as in the reference: the interface is about to go.
                let _ = kernel.tune(&at, &self.holder.ifname, &part);
            }
        }
        self.forget()
    }

    /// Whether all is as wanted. Without `promisc` wanted, nobody may listen to everything.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self, netns: &Path, wanted: &Wanted) -> Result<()> {
        let (mut kernel, at) = (kernel()?, Place::Sandbox(netns.to_owned()));
        for (key, value) in sysctl::paths(&wanted.sysctls, &self.holder.ifname)? {
            let found = kernel.sysctls(&at, &[&key])?.pop().flatten().unwrap_or_default();
            // The kernel separates numbers by tabs, people by spaces.
            if !found.split_whitespace().eq(value.split_whitespace()) {
                return Err(Error::Amiss(format!("{key} is `{found}`, not `{value}`")));
            }
        }
        let ifname = &self.holder.ifname;
        let found = kernel
            .iface(&at, ifname)?
            .ok_or_else(|| no_interface(ifname))?
            .tuning;
        let mut wanted = wanted.tuning;
        wanted.promisc = Some(wanted.promisc.unwrap_or(false));
        let found = only(&found, &wanted);
        if found != wanted {
            return Err(Error::Amiss(format!(
                "interface {ifname} has {found}, not {wanted}"
            )));
        }
        Ok(())
    }
}

/// Of all properties those that are wanted.
fn only(all: &Tuning, wanted: &Tuning) -> Tuning {
    Tuning {
        mac: wanted.mac.and(all.mac),
        mtu: wanted.mtu.and(all.mtu),
        promisc: wanted.promisc.and(all.promisc),
        allmulti: wanted.allmulti.and(all.allmulti),
        tx_queue: wanted.tx_queue.and(all.tx_queue),
    }
}

fn no_interface(ifname: &str) -> Error {
    Error::Amiss(format!("the container has no interface {ifname}"))
}
