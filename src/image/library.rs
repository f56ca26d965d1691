//! The images that are kept, and their layers, which images share.
//!
//! ```text
//! images/lock          flock: shared to read, exclusive to change
//! images/names/<hex>   one record a name, as JSON; written aside and renamed
//! images/layers/<hex>  one directory a layer, by the digest of its tar
//! images/room/<n>      what a command unpacks, locked while that command lives
//! ```
//!
//! A layer is there whole or not at all: it is unpacked in a room and renamed. Rooms of commands that died and
//! layers that neither a record nor a container uses are removed by the next command that changes something.
//! Nobody but root enters the directory, because set-user-id programs of images lie in it.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::describe::Defaults;
use super::error::{Error, Result};
use super::stream::Digest;
use crate::model::ImageName;

const PATIENCE: Duration = Duration::from_mins(1);

/// An image, under one of its names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    pub name: ImageName,
    /// The digest of its configuration.
    pub id: Digest,
    /// Lowest first.
    pub layers: Vec<Digest>,
    /// Bytes of the files in it.
    pub size: u64,
    pub architecture: String,
    pub created: Option<String>,
    /// Of layers that came as files with a digest: that of the file, and that of the tar in it. Both were seen
    /// to be right.
    #[serde(default)]
    pub files: Vec<(Digest, Digest)>,
    /// Seconds since 1970.
    pub imported: u64,
    pub defaults: Defaults,
}

/// A held lock; dropping it releases it.
pub struct Hold {
    _file: Flock<File>,
}

pub struct Library {
    dir: PathBuf,
}

/// A directory of one command, removed with this value or after its process's end.
pub struct Room {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Room {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What stays is removed by the next command.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Library {
    /// Opens the directory of images below the data root, making it when it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(data: &Path) -> Result<Self> {
        let dir = data.join("images");
        for (path, mode) in [
            (data.to_owned(), 0o711),
            (dir.clone(), 0o700),
            (dir.join("names"), 0o700),
            (dir.join("layers"), 0o700),
            (dir.join("room"), 0o700),
        ] {
            DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(&path)
                .map_err(|source| Error::path("creating", &path, source))?;
        }
        Ok(Self { dir })
    }

    /// While this is held no layer goes away.
    ///
    /// # Errors
    /// Another command changes images for a minute.
    pub fn shared(&self) -> Result<Hold> {
        self.lock(FlockArg::LockSharedNonblock)
    }

    /// # Errors
    /// Other commands hold the images for a minute.
    pub fn exclusive(&self) -> Result<Hold> {
        self.lock(FlockArg::LockExclusiveNonblock)
    }

    fn lock(&self, how: FlockArg) -> Result<Hold> {
        let path = self.dir.join("lock");
        let failed = |source| Error::path("locking", &path, source);
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        let start = Instant::now();
        loop {
            match Flock::lock(file, how) {
                Ok(file) => return Ok(Hold { _file: file }),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if start.elapsed() < PATIENCE => file = back,
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(Error::Busy {
                        seconds: PATIENCE.as_secs(),
                    });
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A directory to unpack in, on the file system of the layers.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn room(&self) -> Result<Room> {
        // Nobody tidies between making and locking it.
        let _hold = self.shared()?;
        let rooms = self.dir.join("room");
        for number in 0..10_000 {
            let path = rooms.join(format!("{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(source) => return Err(Error::path("creating", &path, source)),
            }
            let open = File::open(&path).map_err(|source| Error::path("opening", &path, source))?;
            let lock = Flock::lock(open, FlockArg::LockExclusiveNonblock)
                .map_err(|(_, errno)| Error::path("locking", &path, errno))?;
            return Ok(Room { path, _lock: lock });
        }
        Err(Error::path("creating", &rooms, std::io::ErrorKind::AlreadyExists))
    }

    #[must_use]
    pub fn layer_dir(&self, layer: &Digest) -> PathBuf {
        self.dir.join("layers").join(layer.hex())
    }

    /// Every record, by name.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        let dir = self.dir.join("names");
        let entries = fs::read_dir(&dir).map_err(|source| Error::path("reading", &dir, source))?;
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some() {
                continue;
            }
            let text = match fs::read(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(|source| Error::path("reading", &path, source))?,
            };
            found.push(serde_json::from_slice(&text).map_err(|source| Error::Record { path, source })?);
        }
        found.sort_by(|a: &Image, b: &Image| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The files whose layers are here, with these.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn files(&self) -> Result<Vec<(Digest, Digest)>> {
        let mut all: Vec<(Digest, Digest)> = self.images()?.into_iter().flat_map(|i| i.files).collect();
        all.sort();
        all.dedup();
        all.retain(|(_, layer)| self.layer_dir(layer).exists());
        Ok(all)
    }

    /// The image of a name, or whose id begins so.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn find(&self, key: &str) -> Result<Image> {
        let all = self.images()?;
        let name: Option<ImageName> = key.parse().ok();
        if let Some(image) = all.iter().find(|image| Some(&image.name) == name.as_ref()) {
            return Ok(image.clone());
        }
        let hex = key.strip_prefix("sha256:").unwrap_or(key);
        let by_id: Vec<&Image> = if hex.len() >= 4 {
            all.iter()
                .filter(|image| image.id.hex().starts_with(hex))
                .collect()
        } else {
            Vec::new()
        };
        match by_id.first() {
            Some(one) if by_id.iter().all(|other| other.id == one.id) => Ok((*one).clone()),
            Some(_) => Err(Error::Ambiguous { id: key.to_owned() }),
            None => {
                let like =
                    |image: &&Image| image.name.stem().contains(key) || key.contains(image.name.stem());
                Err(Error::Unknown {
                    name: super::error::readable(key.as_bytes()),
                    near: all.iter().find(like).map(|image| image.name.short()),
                })
            }
        }
    }

    /// Moves unpacked layers to their place. Needs the exclusive lock.
    ///
    /// # Errors
    /// One is neither in the room nor there already.
    pub fn place(&self, room: &Room, layers: &[Digest]) -> Result<()> {
        // A record must not outlive a power cut that its layers do not.
        let synced = File::open(room.path()).and_then(|dir| Ok(nix::unistd::syncfs(dir.as_fd())?));
        synced.map_err(|source| Error::path("writing out", room.path(), source))?;
        for layer in layers {
            let (from, to) = (room.path().join(layer.hex()), self.layer_dir(layer));
            match (from.exists(), to.exists()) {
                (_, true) => {}
                (true, false) => {
                    fs::rename(&from, &to).map_err(|source| Error::path("placing", &to, source))?;
                }
                (false, false) => return Err(Error::Gone),
            }
        }
        Ok(())
    }

    /// Records an image under its name; what had this name loses it. Needs the exclusive lock.
    ///
    /// # Errors
    /// It cannot be written; the old record stays.
    pub fn record(&self, image: &Image) -> Result<()> {
        let path = self.record_path(&image.name);
        let aside = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&aside)?;
            file.write_all(&serde_json::to_vec_pretty(image)?)?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            File::open(self.dir.join("names"))?.sync_all()
        };
        write().map_err(|source| Error::path("writing", &path, source))
    }

    fn record_path(&self, name: &ImageName) -> PathBuf {
        let digest = Digest::of(name.to_string().as_bytes());
        self.dir.join("names").join(digest.hex())
    }

    /// Forgets a name. Needs the exclusive lock; [`Library::tidy`] removes what is not needed any more.
    ///
    /// # Errors
    /// The record cannot be removed.
    pub fn forget(&self, name: &ImageName) -> Result<()> {
        let path = self.record_path(name);
        fs::remove_file(&path).map_err(|source| Error::path("removing", &path, source))
    }

    /// Moves what nobody needs into the room, to be removed with it, and removes the rooms of the dead: how
    /// many layers and rooms. Needs the exclusive lock.
    ///
    /// # Errors
    /// Something cannot be read or moved.
    pub fn tidy(&self, room: &Room, used: &BTreeSet<Digest>) -> Result<usize> {
        let mut needed: BTreeSet<String> = used.iter().map(|d| d.hex().to_owned()).collect();
        for image in self.images()? {
            needed.extend(image.layers.iter().map(|d| d.hex().to_owned()));
        }
        let mut removed = 0;
        for path in entries(&self.dir.join("layers"))? {
            let name = path.file_name().unwrap_or_default();
            if !name.to_str().is_some_and(|name| needed.contains(name)) {
                let to = room.path().join("unneeded");
                fs::create_dir_all(&to).map_err(|source| Error::path("creating", &to, source))?;
                fs::rename(&path, to.join(name)).map_err(|source| Error::path("removing", &path, source))?;
                removed += 1;
            }
        }
        for path in entries(&self.dir.join("room"))? {
            if path == room.path() {
                continue;
            }
            let Ok(file) = File::open(&path) else { continue };
            // A room that is not locked belongs to nobody.
            let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
                continue;
            };
            fs::remove_dir_all(&path).map_err(|source| Error::path("removing", &path, source))?;
            removed += 1;
        }
        for path in entries(&self.dir.join("names"))? {
            if path.extension().is_some() {
                let _ = fs::remove_file(&path);
            }
        }
        Ok(removed)
    }

    /// Whether there is anything that [`Library::tidy`] would have to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        ["names", "layers", "room"]
            .iter()
            .all(|name| fs::read_dir(self.dir.join(name)).is_ok_and(|mut dir| dir.next().is_none()))
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::path("reading", dir, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        found.push(entry.map_err(failed)?.path());
    }
    Ok(found)
}

/// Bytes that the files below a directory take, each counted once.
///
/// # Errors
/// Something cannot be looked at.
pub fn size_of(dir: &Path) -> Result<u64> {
    let mut total = 0;
    let mut seen = BTreeSet::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for path in entries(&dir)? {
            let meta = fs::symlink_metadata(&path).map_err(|source| Error::path("reading", &path, source))?;
            if meta.is_dir() {
                open.push(path);
            } else if meta.nlink() < 2 || seen.insert((meta.dev(), meta.ino())) {
                total += meta.len();
            }
        }
    }
    Ok(total)
}
