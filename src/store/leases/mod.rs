//! The leases of the plugin type `host-local`, in the layout of the reference plugin: one file
//! an address, named after it, in `<data dir>/<network>`, that holds `container\r\nifname`;
//! beside them `last_reserved_ip.<set>` and `lock`
//! (`plugins/ipam/host-local/backend/disk/backend.go` of containernetworking/plugins).
//!
//! The files are the truth, and others read and write them: the reference plugin under the
//! same lock, and people. To find a container's files the reference reads all of them. An
//! index spares us that. It is believed only if the directory is as we left it: after a
//! change of our own its modification time is set to one in the past, which the kernel moves
//! to the present with the next file that anybody makes, renames or removes. Otherwise the
//! index is made anew from the files. What it says of a holder is compared with the file.
//!
//! The index lies in `<data dir>/.moat`, where no network's directory can be: the reference
//! would take every file below those for a lease.

mod index;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use self::index::Index;
use super::{Error, boot_id};

/// How far in the past the directory's time is set. Whole seconds, for file systems that keep
/// no smaller ones.
const PAST: u64 = 10;

/// Whose lease it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_IFNAME`; empty in files of reference plugins before 0.7.
    pub ifname: String,
}

/// The leases of one network. Whoever opens them holds the lock until they are dropped.
pub struct Leases {
    dir: PathBuf,
    index_path: PathBuf,
    boot: String,
    index: Index,
    /// The directory's time is to be set.
    changed: bool,
    /// The index misses something: it must not be believed later.
    torn: bool,
}

/// The directory of a network's leases, made if it is missing.
///
/// # Errors
/// When it cannot be made.
pub fn lease_dir(data_dir: &Path, network: &str) -> Result<PathBuf, Error> {
    let dir = data_dir.join(network);
    make_dir(&dir, 0o755)?;
    Ok(dir)
}

impl Leases {
    /// Opens the leases of a network, whose lock is held.
    ///
    /// # Errors
    /// When the files cannot be read or the index not be written.
    pub fn open(data_dir: &Path, network: &str) -> Result<Self, Error> {
        let dir = lease_dir(data_dir, network)?;
        let beside = data_dir.join(".moat");
        make_dir(&beside, 0o700)?;
        let index_path = beside.join(format!("{network}.db"));
        let boot = boot_id()?;
        let (index, changed) = match Index::open(&index_path, &token(&dir, &boot)?) {
            Some(index) => (index, false),
            None => (Index::make(&index_path, read_all(&dir)?)?, true),
        };
        Ok(Self {
            dir,
            index_path,
            boot,
            index,
            changed,
            torn: false,
        })
    }

    /// The addresses of a holder; those of its container in the old form if it has none.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn of(&mut self, holder: &Holder) -> Result<Vec<IpAddr>, Error> {
        let old = Holder {
            ifname: String::new(),
            ..holder.clone()
        };
        for holder in [holder, &old] {
            let mut found = self.index.of(holder)?;
            if found.iter().any(|ip| self.holder(*ip).as_ref() != Some(holder)) {
                // Somebody wrote into a file without making a new one.
                self.rebuild()?;
                found = self.index.of(holder)?;
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Every lease.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn all(&self) -> Result<Vec<(IpAddr, Holder)>, Error> {
        read_all(&self.dir)
    }

    /// The first address from `first` to `last`, both included, that nobody has.
    ///
    /// # Errors
    /// A database error.
    pub fn free(&self, first: IpAddr, last: IpAddr) -> Result<Option<IpAddr>, Error> {
        self.index.free(first, last)
    }

    /// Gives an address to a holder and remembers it as the last one of the range set. Whether
    /// it was free.
    ///
    /// # Errors
    /// When the file cannot be written; then it is gone again.
    pub fn reserve(&mut self, ip: IpAddr, holder: &Holder, set: usize) -> Result<bool, Error> {
        let path = self.dir.join(ip.to_string());
        let mut file = match File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
        {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.rebuild()?;
                return Ok(false);
            }
            Err(e) => return Err(failed(&path, e)),
        };
        self.changed = true;
        let text = format!("{}\r\n{}", holder.container, holder.ifname);
        let written = file
            .write_all(text.as_bytes())
            .map_err(|e| failed(&path, e))
            .and_then(|()| self.set_last(set, ip))
            .and_then(|()| self.index.insert(ip, holder));
        if let Err(e) = written {
            self.torn = true;
            fs::remove_file(&path).map_err(|e| failed(&path, e))?;
            return Err(e);
        }
        Ok(true)
    }

    /// Takes an address back, whoever has it.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn release(&mut self, ip: IpAddr) -> Result<(), Error> {
        let path = self.dir.join(ip.to_string());
        self.changed = true;
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&path, e)),
            _ => {}
        }
        self.index.remove(ip).inspect_err(|_| self.torn = true)
    }

    /// The address given last from a range set.
    #[must_use]
    pub fn last(&self, set: usize) -> Option<IpAddr> {
        let text = fs::read_to_string(self.last_path(set)).ok()?;
        text.trim().parse().ok().map(|ip: IpAddr| ip.to_canonical())
    }

    fn set_last(&self, set: usize, ip: IpAddr) -> Result<(), Error> {
        let path = self.last_path(set);
        File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut f| f.write_all(ip.to_string().as_bytes()))
            .map_err(|e| failed(&path, e))
    }

    fn last_path(&self, set: usize) -> PathBuf {
        self.dir.join(format!("last_reserved_ip.{set}"))
    }

    fn holder(&self, ip: IpAddr) -> Option<Holder> {
        Some(holder_in(&fs::read(self.dir.join(ip.to_string())).ok()?))
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        self.changed = true;
        self.index = Index::make(&self.index_path, read_all(&self.dir)?)?;
        Ok(())
    }

    /// Lets later calls believe the index, as far as it goes: without this they make it anew.
    fn seal(&self) -> Option<()> {
        let past = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?
            .as_secs()
            - PAST;
        self.index.seal(&words(past as i64, 0, &self.boot)).ok()?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(past);
        File::open(&self.dir).ok()?.set_modified(time).ok()
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        if self.changed && !self.torn {
            self.seal();
        }
    }
}

/// What tells the state of the directory that an index describes. A power cut may tear the
/// index, so one of another boot is not believed.
fn token(dir: &Path, boot: &str) -> Result<String, Error> {
    let meta = fs::metadata(dir).map_err(|e| failed(dir, e))?;
    Ok(words(meta.mtime(), meta.mtime_nsec(), boot))
}

fn words(seconds: i64, nanoseconds: i64, boot: &str) -> String {
    format!("{seconds}.{nanoseconds:09} {boot}")
}

fn read_all(dir: &Path) -> Result<Vec<(IpAddr, Holder)>, Error> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| failed(dir, e))? {
        let entry = entry.map_err(|e| failed(dir, e))?;
        let Some(ip) = entry.file_name().to_str().and_then(|s| s.parse::<IpAddr>().ok()) else {
            continue;
        };
        match fs::read(entry.path()) {
            Ok(bytes) => all.push((ip, holder_in(&bytes))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(&entry.path(), e)),
        }
    }
    Ok(all)
}

fn holder_in(bytes: &[u8]) -> Holder {
    let text = String::from_utf8_lossy(bytes);
    let (container, ifname) = text.trim().split_once("\r\n").unwrap_or((text.trim(), ""));
    Holder {
        container: container.to_owned(),
        ifname: ifname.to_owned(),
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|e| failed(path, e))
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Directory {
        path: path.display().to_string(),
        source,
    }
}
