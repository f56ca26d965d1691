//! Reading an image: each layer verified and unpacked in a room of the library.

use std::path::Path;
use std::rc::Rc;

use super::bundle::{Bundle, Part, open_regular};
use super::describe::{self, Defaults, Described, architecture};
use super::error::{Error, Result};
use super::inside::Inside;
use super::library::{Image, Library, Room, size_of};
use super::limits::Limits;
use super::source::{self, Source};
use super::stream::{Digest, Tap, decompressed};
use super::unpack::{Outcome, Rules, Top, unpack};
use crate::model::ImageName;

/// How far an import has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// From 1.
    pub layer: usize,
    pub layers: usize,
    /// Bytes of the layer as it is stored.
    pub done: u64,
    pub size: u64,
    /// It was there already.
    pub kept: bool,
}

/// Who is told.
pub type Teller = Rc<dyn Fn(Progress)>;

/// What was read, and is in a room until [`Library::place`] and [`Library::record`].
pub struct Read {
    pub image: Image,
    pub devices: u64,
    pub unowned: u64,
}

const LAYER: Rules = Rules {
    whiteouts: true,
    replace: true,
    set_ids: true,
    top: Top::Keep,
};

/// Reads what is at `path` into the room. `name` is what it is to be called, `now` the time.
///
/// # Errors
/// It is no image, or a wrong or hostile one; what was unpacked is in the room and goes with it.
pub fn read(
    library: &Library,
    room: &Room,
    path: &Path,
    name: Option<&ImageName>,
    now: u64,
    tell: &Teller,
) -> Result<Vec<Read>> {
    let limits = Limits::of(room.path()).map_err(|source| Error::path("looking at", room.path(), source))?;
    let mut reader = Reader {
        library,
        room,
        limits,
        tell,
        now,
    };
    match source::open(path, room.path())? {
        Source::Root(tar) => reader.root(&tar, &name_of(path, name)?).map(|read| vec![read]),
        Source::Bundle(bundle) => {
            let found = describe::images(&bundle, name)?;
            if found.len() > 1 && name.is_some() {
                let reason = format!(
                    "{} images are in it, each with its own name: leave NAME out",
                    found.len()
                );
                return Err(Error::form(reason));
            }
            let each = found.into_iter().map(|one| {
                let name = match (name, &one.name) {
                    (Some(name), _) | (None, Some(name)) => name.clone(),
                    (None, None) => name_of(path, None)?,
                };
                reader.image(&bundle, one, name)
            });
            each.collect()
        }
    }
}

/// The name that was given, or else one from the file's.
fn name_of(path: &Path, name: Option<&ImageName>) -> Result<ImageName> {
    if let Some(name) = name {
        return Ok(name.clone());
    }
    let file = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let ends = [".tar.gz", ".tar.zst", ".tgz", ".tar", ".gz", ".zst"];
    let stem = ends
        .iter()
        .find_map(|end| file.strip_suffix(end))
        .unwrap_or(&file);
    stem.parse().map_err(|_| {
        Error::form(format!(
            "`{stem}` cannot be its name: give it one, `moat image import PATH NAME`"
        ))
    })
}

struct Reader<'a> {
    library: &'a Library,
    room: &'a Room,
    limits: Limits,
    tell: &'a Teller,
    now: u64,
}

impl Reader<'_> {
    fn image(&mut self, bundle: &Bundle, one: Described, name: ImageName) -> Result<Read> {
        let (mut devices, mut unowned, mut layers) = (0, 0, Vec::new());
        let known = self.library.files()?;
        let mut files = Vec::new();
        let count = one.layers.len();
        for (at, layer) in one.layers.iter().enumerate() {
            let step = Progress {
                layer: at + 1,
                layers: count,
                done: 0,
                size: layer.size.unwrap_or(0),
                kept: false,
            };
            let there = self.library.layer_dir(&layer.diff).exists()
                || self.room.path().join(layer.diff.hex()).exists();
            let pair = layer.digest.clone().map(|file| (file, layer.diff.clone()));
            // What is there already is not read, and its file not believed to hold it.
            files.extend(pair.filter(|pair| !there || known.contains(pair)));
            if there {
                (self.tell)(Progress { kept: true, ..step });
            } else {
                let within = |source| Error::Layer {
                    number: at + 1,
                    source: Box::new(source),
                };
                let outcome = self.layer(bundle, layer, step).map_err(within)?;
                devices += outcome.devices;
                unowned += outcome.unowned;
            }
            // Overlayfs refuses a directory twice; what an equal layer further up says counts anyway.
            layers.retain(|known| *known != layer.diff);
            layers.push(layer.diff.clone());
        }
        let image = Image {
            name,
            id: one.id,
            size: self.size(&layers)?,
            layers,
            architecture: one.architecture,
            created: one.created,
            files,
            imported: self.now,
            defaults: one.defaults,
        };
        Ok(Read {
            image,
            devices,
            unowned,
        })
    }

    fn layer(&mut self, bundle: &Bundle, layer: &describe::Layer, step: Progress) -> Result<Outcome> {
        if let Some(promised) = &layer.digest {
            // Before a byte of it is believed.
            let part = bundle.open(&layer.file)?;
            let size = layer.size.unwrap_or(part.size);
            let found = Tap::new(part.reader).finish(size).map_err(Error::archive)?;
            describe::same("its file", promised, &found)?;
        }
        let part = bundle.open(&layer.file)?;
        let (outcome, diff) = self.unpack(part, layer.diff.hex(), step)?;
        describe::same("its tar", &layer.diff, &diff)?;
        Ok(outcome)
    }

    fn root(&mut self, tar: &Path, name: &ImageName) -> Result<Read> {
        let part = open_regular(tar)?;
        let step = Progress {
            layer: 1,
            layers: 1,
            done: 0,
            size: part.size,
            kept: false,
        };
        let within = |source| Error::Layer {
            number: 1,
            source: Box::new(source),
        };
        let (outcome, diff) = self.unpack(part, "root", step).map_err(within)?;
        let (from, to) = (self.room.path().join("root"), self.room.path().join(diff.hex()));
        std::fs::rename(&from, &to).map_err(|source| Error::path("placing", &to, source))?;
        let layers = vec![diff];
        // What docker would call it is not known; this is as unique.
        let id = Digest::of(format!("root {}", layers[0]).as_bytes());
        let image = Image {
            name: name.clone(),
            id,
            size: self.size(&layers)?,
            layers,
            architecture: architecture().to_owned(),
            created: None,
            files: vec![],
            imported: self.now,
            defaults: Defaults::default(),
        };
        Ok(Read {
            image,
            devices: outcome.devices,
            unowned: outcome.unowned,
        })
    }

    /// Unpacks a layer as `dir` in the room; the digest of its tar.
    fn unpack(&mut self, part: Part, dir: &str, step: Progress) -> Result<(Outcome, Digest)> {
        use std::os::unix::fs::DirBuilderExt;
        let path = self.room.path().join(dir);
        std::fs::DirBuilder::new()
            .mode(0o755)
            .create(&path)
            .map_err(|source| Error::path("creating", &path, source))?;
        let into = Inside::open(&path).map_err(|source| Error::path("opening", &path, source))?;
        let watched = Watched {
            inner: part.reader,
            step: Progress {
                size: part.size,
                ..step
            },
            tell: Rc::clone(self.tell),
        };
        let stream = Tap::new(decompressed(watched).map_err(Error::archive)?);
        let outcome = unpack(&stream, &into, &LAYER, &mut self.limits)?;
        if outcome.entries == 0 && step.layers == 1 {
            return Err(Error::form("the archive is empty"));
        }
        // What follows the last entry is padding.
        let diff = stream.finish(self.limits.bytes()).map_err(Error::archive)?;
        Ok((outcome, diff))
    }

    fn size(&self, layers: &[Digest]) -> Result<u64> {
        let dirs = layers.iter().map(|layer| {
            let fresh = self.room.path().join(layer.hex());
            if fresh.exists() {
                fresh
            } else {
                self.library.layer_dir(layer)
            }
        });
        dirs.map(|dir| size_of(&dir)).sum()
    }
}

/// Tells how far reading has come.
struct Watched {
    inner: Box<dyn std::io::Read>,
    step: Progress,
    tell: Teller,
}

impl std::io::Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.step.done += count as u64;
        (self.tell)(self.step);
        Ok(count)
    }
}
