//! What an image is imported from, recognised by what is in it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::bundle::{Bundle, open_regular};
use super::error::{Error, Result};
use super::inside::clean;
use super::limits::Limits;
use super::stream::{Kind, Tap, decompressed, kind};

const HEADER: u64 = 4 << 20;

pub enum Source {
    /// An OCI layout or an archive of `docker save`.
    Bundle(Bundle),
    /// The tar of a root file system, maybe compressed.
    Root(PathBuf),
}

/// Looks what is at `path`; `-` is standard input. What has to be decompressed to be sought in goes into `room`.
///
/// # Errors
/// It cannot be read, or is nothing that can be imported.
pub fn open(path: &Path, room: &Path) -> Result<Source> {
    let spooled = room.join("spool");
    if path == Path::new("-") {
        spool(io::stdin(), &spooled, room)?;
        return open(&spooled, room);
    }
    let meta = std::fs::metadata(path).map_err(|source| Error::path("opening", path, source))?;
    if meta.is_dir() {
        return directory(path);
    }
    let mut first = Vec::new();
    let mut part = open_regular(path)?;
    (&mut part.reader)
        .take(6)
        .read_to_end(&mut first)
        .map_err(|source| Error::path("reading", path, source))?;
    let compressed = kind(&first) != Kind::Plain;
    let Some(name) = first_name(path)? else {
        return Err(Error::form("the archive is empty"));
    };
    if !is_of_bundle(&name) {
        return Ok(Source::Root(path.to_owned()));
    }
    let seekable = if compressed {
        let plain = decompressed(open_regular(path)?.reader).map_err(Error::archive)?;
        let inner = room.join("plain");
        spool(plain, &inner, room)?;
        inner
    } else {
        path.to_owned()
    };
    let file = File::open(&seekable).map_err(|source| Error::path("opening", &seekable, source))?;
    let bundle = Bundle::tar(path, file)?;
    if bundle.has("manifest.json") || bundle.has("index.json") {
        Ok(Source::Bundle(bundle))
    } else {
        Ok(Source::Root(seekable))
    }
}

fn directory(path: &Path) -> Result<Source> {
    let bundle = Bundle::dir(path);
    if bundle.has("index.json") || bundle.has("manifest.json") {
        return Ok(Source::Bundle(bundle));
    }
    let path = path.display();
    Err(Error::form(format!(
        "the directory has no `index.json`; a root file system is run from where it is: `moat run --rootfs {path}`"
    )))
}

/// The first name in the archive that is not the root's own.
fn first_name(path: &Path) -> Result<Option<PathBuf>> {
    let stream = Tap::new(decompressed(open_regular(path)?.reader).map_err(Error::archive)?);
    stream.allow(HEADER);
    let mut archive = tar::Archive::new(stream.clone());
    for entry in archive.entries().map_err(Error::archive)?.take(4) {
        let entry = entry.map_err(no_tar)?;
        let name = clean(&entry.path_bytes());
        match name {
            Some(name) if name.as_os_str().is_empty() => stream.allow(HEADER),
            Some(name) => return Ok(Some(name)),
            // Whatever it is, unpacking it will say so.
            None => return Ok(Some(PathBuf::from("/"))),
        }
    }
    Ok(None)
}

/// What fails at the first header is no archive at all.
fn no_tar(source: io::Error) -> Error {
    match Error::archive(source) {
        Error::Stream { source } if source.kind() == io::ErrorKind::Other => {
            Error::form(format!("it is no tar ({source})"))
        }
        other => other,
    }
}

/// Whether an archive that begins with this name may be one of an image: no root begins so.
fn is_of_bundle(name: &Path) -> bool {
    let first = name.iter().next().unwrap_or_default().to_string_lossy();
    let plain = [
        "blobs",
        "oci-layout",
        "index.json",
        "manifest.json",
        "repositories",
        "version",
    ];
    let stem = first.split('.').next().unwrap_or_default();
    let hex = stem.len() == 64 && stem.bytes().all(|b| b.is_ascii_hexdigit());
    plain.contains(&first.as_ref()) || hex || first == "layer.tar"
}

/// Writes a stream into a file, as far as there is room.
fn spool(mut from: impl Read, to: &Path, room: &Path) -> Result<()> {
    let limits = Limits::of(room).map_err(|source| Error::path("looking at", room, source))?;
    let mut file = File::create_new(to).map_err(|source| Error::path("creating", to, source))?;
    let most = limits.bytes();
    let copied = io::copy(&mut (&mut from).take(most), &mut file).map_err(Error::archive)?;
    if copied == most {
        return Err(Error::TooMuch {
            what: "bytes",
            limit: most,
        });
    }
    file.flush().and_then(|()| file.rewind()).map_err(Error::archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_of_an_image_is_told_from_a_root_by_its_first_name() {
        let hex = "0123456789abcdef".repeat(4);
        for (name, bundle) in [
            ("blobs/sha256/x".to_owned(), true),
            ("oci-layout".to_owned(), true),
            (format!("{hex}.json"), true),
            (format!("{hex}/layer.tar"), true),
            ("bin/sh".to_owned(), false),
            ("usr".to_owned(), false),
            (".dockerenv".to_owned(), false),
        ] {
            assert_eq!(is_of_bundle(Path::new(&name)), bundle, "{name}");
        }
    }
}
