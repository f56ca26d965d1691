//! `moat image`: images are brought, listed, removed, and looked up for `run`.
//!
//! An image in use is known by a file in the layer of each container that runs from it: it goes with the
//! container, in whichever world that is.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::context::{Moat, Where, now, state};
use super::error::{Error, Result};
use super::fault;
use super::time::rfc3339;
use crate::image::{self, Defaults, Digest, Hold, Image, Library, Room};
use crate::model::ImageName;
use crate::sandbox::Root;
use crate::store;

pub use crate::image::{Progress, Registry, Teller};

/// In the layer of a container, beside what it changed.
const MARK: &str = "image";

/// An image as `moat image ls --json` prints it.
#[derive(Debug, Serialize)]
pub struct View {
    pub name: String,
    pub id: String,
    pub size: u64,
    pub layers: Vec<String>,
    pub architecture: String,
    pub created: Option<String>,
    pub imported: String,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
}

/// What came of an import.
#[derive(Debug, Serialize)]
pub struct Brought {
    #[serde(flatten)]
    pub image: View,
    /// What a person should know beside it.
    pub notes: Vec<String>,
}

/// What a container's layer says of its image.
#[derive(Serialize, Deserialize)]
struct Mark {
    container: String,
    /// `None` where only the layers are known.
    id: Option<Digest>,
    layers: Vec<Digest>,
}

/// Reads an image from a file or directory, under `name` or the name it has.
///
/// # Errors
/// It cannot be read, or is wrong or hostile; nothing of it stays.
pub fn import(place: &Where, path: &Path, name: Option<&ImageName>, tell: &Teller) -> Result<Vec<Brought>> {
    let library = open(place)?;
    let room = library.room()?;
    let wanted = || format!("import `{}`", path.display());
    bring(place, &library, &room, path, name, tell).map_err(|e| e.while_doing(wanted()))
}

/// Fetches an image from its registry.
///
/// # Errors
/// It cannot be fetched or read; nothing of it stays.
pub fn pull(
    place: &Where,
    name: &ImageName,
    how: Registry,
    show: bool,
    tell: &Teller,
) -> Result<Vec<Brought>> {
    let library = open(place)?;
    let attempt = |kept: &[(Digest, Digest)]| {
        let room = library.room()?;
        let layout = image::fetch(&room, name, how, kept, show)?;
        bring(place, &library, &room, &layout, Some(name), tell)
    };
    let kept = library.files()?;
    let done = match attempt(&kept) {
        // Another command removed a layer meanwhile.
        Err(_) if !kept.iter().all(|(_, layer)| library.layer_dir(layer).exists()) => attempt(&[]),
        done => done,
    };
    done.map_err(|e| e.while_doing(format!("pull `{}`", name.short())))
}

fn bring(
    place: &Where,
    library: &Library,
    room: &Room,
    path: &Path,
    name: Option<&ImageName>,
    tell: &Teller,
) -> Result<Vec<Brought>> {
    fault::step("reading the image")?;
    let read = image::read(library, room, path, name, now(), tell)?;
    let _hold = library.exclusive()?;
    fault::step("placing its layers")?;
    for one in &read {
        library.place(room, &one.image.layers)?;
    }
    for one in &read {
        fault::step("recording the image")?;
        library.record(&one.image)?;
    }
    fault::step("tidying up")?;
    library.tidy(room, &used(place)?.1)?;
    Ok(read
        .into_iter()
        .map(|one| Brought {
            notes: notes(&one),
            image: view(&one.image),
        })
        .collect())
}

fn notes(read: &image::Read) -> Vec<String> {
    let mut notes = Vec::new();
    if read.devices > 0 {
        notes.push(format!(
            "{} device nodes were left out: a container has its own /dev",
            read.devices
        ));
    }
    if read.unowned > 0 {
        notes.push(format!(
            "{} files belong to root: their owners are not known in this user namespace",
            read.unowned
        ));
    }
    let (theirs, ours) = (&read.image.architecture, image::architecture());
    if !theirs.is_empty() && theirs != ours {
        notes.push(format!("it is for {theirs}, and this machine is {ours}"));
    }
    notes
}

fn open(place: &Where) -> Result<Library> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    Ok(Library::open(&place.data)?)
}

fn view(image: &Image) -> View {
    View {
        name: image.name.short(),
        id: image.id.to_string(),
        size: image.size,
        layers: image.layers.iter().map(ToString::to_string).collect(),
        architecture: image.architecture.clone(),
        created: image.created.clone(),
        imported: rfc3339(image.imported),
        entrypoint: image.defaults.entrypoint.clone(),
        command: image.defaults.cmd.clone(),
    }
}

/// The images that are kept.
///
/// # Errors
/// A record cannot be read.
pub fn ls(place: &Where) -> Result<Vec<View>> {
    let library = open(place)?;
    let _hold = library.shared()?;
    Ok(library.images()?.iter().map(view).collect())
}

/// Forgets images by name or id, and removes the layers that no other needs.
///
/// # Errors
/// The first that does not exist or is used by a container, after all were tried.
pub fn rm(place: &Where, keys: &[String]) -> Result<Vec<String>> {
    let library = open(place)?;
    let room = library.room()?;
    let _hold = library.exclusive()?;
    let (marks, layers) = used(place)?;
    let mut removed = Vec::new();
    let mut first = None;
    for key in keys {
        match forget(&library, key, &marks) {
            Ok(names) => removed.extend(names),
            Err(e) => first = first.or(Some(e.while_doing(format!("remove image `{key}`")))),
        }
    }
    fault::step("removing its layers")?;
    library.tidy(&room, &layers)?;
    first.map_or(Ok(removed), Err)
}

/// A name is one of maybe several; an id is all of them.
fn forget(library: &Library, key: &str, marks: &[Mark]) -> Result<Vec<String>> {
    let image = library.find(key)?;
    let all = library.images()?;
    let by_name = key.parse::<ImageName>().is_ok_and(|name| name == image.name);
    let (gone, kept): (Vec<&Image>, Vec<&Image>) = all
        .iter()
        .filter(|other| other.id == image.id)
        .partition(|other| !by_name || other.name == image.name);
    let user = marks.iter().find(|mark| mark.id.as_ref() == Some(&image.id));
    if let (Some(mark), true) = (user, kept.is_empty()) {
        let container = mark.container.clone();
        return Err(image::Error::InUse { container }.into());
    }
    let mut names = Vec::new();
    for one in gone {
        fault::step("forgetting the image")?;
        library.forget(&one.name)?;
        names.push(one.name.short());
    }
    Ok(names)
}

/// Layers that nobody needs and rooms of dead commands, removed: how many.
///
/// # Errors
/// Something would not go.
pub fn gc(place: &Where) -> Result<usize> {
    if !place.data.join("images").is_dir() {
        return Ok(0);
    }
    let library = open(place)?;
    if library.is_empty() {
        return Ok(0);
    }
    let room = library.room()?;
    let _hold = library.exclusive()?;
    Ok(library.tidy(&room, &used(place)?.1)?)
}

/// The images that containers of any world of this boot run from, and their layers.
fn used(place: &Where) -> Result<(Vec<Mark>, BTreeSet<Digest>)> {
    let boot = store::boot_id()?;
    let list = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut marks = Vec::new();
    for world in list(&place.data) {
        // An earlier boot's containers are no more.
        if !world.file_name().to_string_lossy().starts_with(&boot[..8]) {
            continue;
        }
        for container in list(&world.path().join("layers")) {
            let path = container.path().join(MARK);
            match std::fs::read(&path) {
                Ok(text) => marks.extend(serde_json::from_slice::<Mark>(&text).ok()),
                Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound) => {}
                Err(e) => return Err(state(&path, e)),
            }
        }
    }
    let layers = marks
        .iter()
        .flat_map(|mark| mark.layers.iter().cloned())
        .collect();
    Ok((marks, layers))
}

/// A signal by name or number; what it is not is not worth an error.
fn signal(text: &str) -> Option<i32> {
    let named = text.parse::<nix::sys::signal::Signal>().ok();
    named
        .map(|s| s as i32)
        .or_else(|| text.parse().ok().filter(|n| (1..=64).contains(n)))
}

/// An image that a container is about to use; it cannot go while this is held.
pub(super) struct Chosen {
    name: String,
    stem: String,
    id: Option<Digest>,
    layers: Vec<Digest>,
    defaults: Defaults,
    root: Root,
    _hold: Hold,
}

/// Looks an image up by name or id.
pub(super) fn choose(data: &Path, key: &str) -> Result<Chosen> {
    let library = Library::open(data)?;
    let hold = library.shared()?;
    let image = library.find(key)?;
    let layers = image
        .layers
        .iter()
        .map(|layer| library.layer_dir(layer))
        .collect();
    let root = Root::Layers {
        image: image.name.short(),
        layers,
    };
    Ok(Chosen {
        name: image.name.short(),
        stem: image.name.stem().to_owned(),
        id: Some(image.id),
        layers: image.layers,
        defaults: image.defaults,
        root,
        _hold: hold,
    })
}

/// The image of a container that is started once more, as it was; `None` if its root is no image.
pub(super) fn again(data: &Path, root: &Root) -> Result<Option<Chosen>> {
    let Root::Layers { image, layers } = root else {
        return Ok(None);
    };
    let library = Library::open(data)?;
    let hold = library.shared()?;
    let digest = |path: &std::path::PathBuf| path.file_name()?.to_str()?.parse().ok();
    let layers: Vec<Digest> = layers.iter().filter_map(digest).collect();
    let known = library.find(image).ok().filter(|known| known.layers == layers);
    Ok(Some(Chosen {
        name: image.clone(),
        stem: known
            .as_ref()
            .map_or("container", |known| known.name.stem())
            .to_owned(),
        id: known.map(|known| known.id),
        layers,
        defaults: Defaults::default(),
        root: root.clone(),
        _hold: hold,
    }))
}

impl Chosen {
    /// Fills in what the caller left to the image.
    ///
    /// # Errors
    /// Neither names a command.
    pub fn complete(&self, request: &mut super::run::Request) -> Result<()> {
        let (spec, defaults) = (&mut request.spec, &self.defaults);
        spec.root = self.root.clone();
        let (mut command, rest) = match request.entrypoint.take() {
            // What belongs to the other entry point does not belong to this one.
            Some(words) => (words, Vec::new()),
            None => (defaults.entrypoint.clone(), defaults.cmd.clone()),
        };
        command.retain(|word| !word.is_empty());
        let given = std::mem::take(&mut spec.command);
        command.extend(if given.is_empty() { rest } else { given });
        if command.is_empty() {
            return Err(Error::Refused {
                what: format!("image `{}` names no command", self.name),
                hint: "name one after `--`".into(),
            });
        }
        spec.command = command;
        let theirs = defaults.env.iter().filter_map(|text| text.split_once('='));
        let own = std::mem::take(&mut spec.env);
        spec.env = theirs
            .filter(|(name, _)| !own.iter().any(|(known, _)| known == name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        spec.env.extend(own);
        let workdir = defaults.workdir.as_ref().map(|dir| Path::new("/").join(dir));
        spec.workdir = spec.workdir.take().or(workdir);
        spec.stop_signal = spec
            .stop_signal
            .or_else(|| defaults.stop_signal.as_deref().and_then(signal));
        spec.user = spec.user.take().or_else(|| defaults.user.clone());
        Ok(())
    }

    /// What a container without a name is called after.
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// Notes in a container's layer that it uses the image.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn mark(&self, moat: &Moat, id: &str, container: &str) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let layer = moat.layer_dir(id);
        let path = layer.join(MARK);
        let mark = Mark {
            container: container.to_owned(),
            id: self.id.clone(),
            layers: self.layers.clone(),
        };
        let write = || -> std::io::Result<()> {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(&layer)?;
            std::fs::write(&path, serde_json::to_vec(&mark)?)
        };
        write().map_err(|e| state(&path, e))
    }
}
