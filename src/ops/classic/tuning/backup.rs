//! How interfaces were: `<data dir>/<container>_<ifname>.json`, in the reference plugin's form.
//! DEL of either puts it back. We add whose it is, which the reference passes over, so that GC
//! knows.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Tuned, Tuning};
use crate::ops::context::state;
use crate::ops::error::Result;
use crate::store::Holder;

/// How an interface was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Backup {
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    promisc: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allmulti: Option<bool>,
    #[serde(rename = "txQLen", skip_serializing_if = "Option::is_none")]
    tx_queue: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moat: Option<Whose>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Whose {
    network: String,
    container: String,
    ifname: String,
}

impl Tuned {
    pub(super) fn whose(&self) -> Whose {
        Whose {
            network: self.network.clone(),
            container: self.holder.container.clone(),
            ifname: self.holder.ifname.clone(),
        }
    }

    fn path(&self) -> PathBuf {
        let Holder { container, ifname } = &self.holder;
        self.data_dir.join(format!("{container}_{ifname}.json"))
    }

    /// What cannot be understood is worth nothing.
    pub(super) fn read(&self) -> Result<Option<Backup>> {
        read(&self.path())
    }

    pub(super) fn write(&self, backup: &Backup) -> Result<()> {
        let path = self.path();
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.data_dir);
        made.map_err(|e| state(&self.data_dir, e))?;
        let text = serde_json::to_vec_pretty(backup).map_err(|e| state(&path, e.into()))?;
        let new = path.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|e| state(&path, e))
    }

    pub(super) fn forget(&self) -> Result<()> {
        remove(&self.path())
    }
}

impl Backup {
    pub fn of(tuning: &Tuning, whose: Whose) -> Self {
        Self {
            mac: tuning.mac.map(|m| m.to_string()),
            promisc: tuning.promisc,
            mtu: tuning.mtu,
            allmulti: tuning.allmulti,
            tx_queue: tuning.tx_queue,
            moat: Some(whose),
        }
    }

    /// With what another of its kind wrote earlier in the chain, which is nearer to how it was.
    pub fn under(self, earlier: Option<Self>) -> Self {
        let earlier = earlier.unwrap_or_default();
        Self {
            mac: earlier.mac.or(self.mac),
            promisc: earlier.promisc.or(self.promisc),
            mtu: earlier.mtu.or(self.mtu),
            allmulti: earlier.allmulti.or(self.allmulti),
            tx_queue: earlier.tx_queue.or(self.tx_queue),
            moat: self.moat,
        }
    }

    /// One property each: one that is refused is not to keep the others.
    pub fn parts(&self) -> [Tuning; 5] {
        let none = Tuning::default;
        [
            Tuning {
                mtu: self.mtu.filter(|n| *n != 0),
                ..none()
            },
            Tuning {
                mac: self.mac.as_ref().and_then(|m| m.parse().ok()),
                ..none()
            },
            Tuning {
                promisc: self.promisc,
                ..none()
            },
            Tuning {
                allmulti: self.allmulti,
                ..none()
            },
            Tuning {
                tx_queue: self.tx_queue,
                ..none()
            },
        ]
    }
}

/// Forgets the backups of a network's interfaces that are not among `valid`. Those that the
/// reference plugin wrote do not say whose they are, and stay.
///
/// # Errors
/// The first that cannot be removed, after all were tried.
pub fn gc(data_dir: &Path, network: &str, valid: &[Holder]) -> Result<()> {
    let entries = match fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(state(data_dir, e)),
    };
    let mut first = Ok(());
    for path in entries.filter_map(|e| Some(e.ok()?.path())) {
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let Some(whose) = read(&path)?.and_then(|b| b.moat) else {
            continue;
        };
        let is_valid = |h: &Holder| h.container == whose.container && h.ifname == whose.ifname;
        if whose.network == network && !valid.iter().any(is_valid) {
            first = first.and(remove(&path));
        }
    }
    first
}

fn read(path: &Path) -> Result<Option<Backup>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(state(path, e)),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(state(path, e)),
        _ => Ok(()),
    }
}
