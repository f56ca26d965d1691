//! Compressed streams, and what a hostile archive may say in its attributes.

use std::io::Read as _;

use super::inside::Inside;
use super::limits::Limits;
use super::stream::{Digest, Tap, decompressed};
use super::unpack::{Rules, Top, unpack};

fn read_whole(bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    decompressed(std::io::Cursor::new(bytes))?.read_to_end(&mut text)?;
    Ok(text)
}

#[test]
fn every_frame_of_a_stream_is_read() {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let frame = |part: &[u8]| compress_to_vec(part, CompressionLevel::Fastest);
    let mut zstd = frame(&text[..500_000]);
    // A frame that is to be skipped, as indexes in images are.
    zstd.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    zstd.extend(frame(&text[500_000..]));
    assert!(read_whole(zstd.clone()).expect("reads") == text);
    zstd.truncate(zstd.len() - 100);
    assert!(read_whole(zstd).is_err(), "a stream that was cut");

    let mut gzip = Vec::new();
    for part in [&text[..500_000], &text[500_000..]] {
        let mut encoder = flate2::read::GzEncoder::new(part, flate2::Compression::fast());
        encoder.read_to_end(&mut gzip).expect("compresses");
    }
    assert!(read_whole(gzip.clone()).expect("reads") == text);
    gzip.truncate(gzip.len() - 100);
    assert!(read_whole(gzip).is_err(), "a stream that was cut");
    assert_eq!(read_whole(b"ab".to_vec()).expect("reads"), b"ab");
    assert!(read_whole(b"BZh9".to_vec()).is_err());
}

#[test]
fn a_tap_counts_and_stops() {
    let tap = Tap::new(std::io::Cursor::new(b"abc".to_vec()));
    tap.allow(2);
    let mut text = Vec::new();
    assert!(tap.clone().read_to_end(&mut text).is_err());
    assert_eq!(text, b"ab");
    assert!(tap.finish(1).is_ok(), "what was too much is gone");
    let tap = Tap::new(std::io::Cursor::new(b"abc".to_vec()));
    tap.allow(2);
    tap.clone().read_exact(&mut [0; 2]).expect("two are allowed");
    assert_eq!(tap.finish(1).expect("one is left"), Digest::of(b"abc"));
}

const RULES: Rules = Rules {
    whiteouts: true,
    replace: true,
    set_ids: true,
    top: Top::Keep,
};

/// Path, kind, where it links to, attributes.
pub(super) type Given<'a> = (&'a str, tar::EntryType, &'a str, &'a [(&'a str, &'a [u8])]);

/// A tar of empty files and links, with attributes.
pub(super) fn tar(entries: &[Given<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, link, attributes) in entries {
        let pax = attributes.iter().map(|(key, value)| (*key, *value));
        builder.append_pax_extensions(pax).expect("writes");
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_size(0);
        header.set_uid(nix::unistd::geteuid().as_raw().into());
        header.set_gid(nix::unistd::getegid().as_raw().into());
        if link.is_empty() {
            builder
                .append_data(&mut header, path, std::io::empty())
                .expect("writes");
        } else {
            builder.append_link(&mut header, path, link).expect("writes");
        }
    }
    builder.into_inner().expect("writes")
}

pub(super) struct Dir(pub std::path::PathBuf);

impl Dir {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("moat-image-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("makes");
        Self(path)
    }

    pub fn unpack(&self, tar: Vec<u8>, limits: &mut Limits) -> super::Result<super::unpack::Outcome> {
        let into = Inside::open(&self.0).expect("opens");
        unpack(&Tap::new(std::io::Cursor::new(tar)), &into, &RULES, limits)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn entries_are_counted_before_they_are_made() {
    let dir = Dir::new("count");
    let three: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| (*name, tar::EntryType::Regular, "", &[] as &[_]))
        .collect();
    let error = dir
        .unpack(tar(&three), &mut Limits::new(2, 100))
        .expect_err("too many");
    assert_eq!(error.to_string(), "it holds more than 2 entries");
    assert!(dir.0.join("b").exists() && !dir.0.join("c").exists());
}

#[test]
fn links_of_an_archive_are_followed_inside_only() {
    let dir = Dir::new("links");
    let entries = [
        ("etc", tar::EntryType::Directory, "", &[] as &[_]),
        ("way", tar::EntryType::Symlink, "/etc", &[]),
        ("way/x", tar::EntryType::Regular, "", &[]),
        ("up", tar::EntryType::Symlink, "../../../../../../../..", &[]),
        ("up/y", tar::EntryType::Regular, "", &[]),
        ("up/z", tar::EntryType::Link, "up/y", &[]),
    ];
    dir.unpack(tar(&entries), &mut Limits::new(100, 100))
        .expect("unpacks");
    for name in ["etc/x", "y", "z"] {
        assert!(dir.0.join(name).exists(), "{name}");
    }
}

#[test]
fn an_archive_cannot_speak_to_the_overlay() {
    let dir = Dir::new("attributes");
    let attributes: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.mine", b"kept"),
    ];
    dir.unpack(
        tar(&[("x", tar::EntryType::Regular, "", attributes)]),
        &mut Limits::new(9, 9),
    )
    .expect("unpacks");
    let mut buffer = [0; 64];
    let file = dir.0.join("x");
    for name in ["user.overlay.opaque", "trusted.overlay.redirect"] {
        assert!(rustix::fs::getxattr(&file, name, &mut buffer).is_err(), "{name}");
    }
    // Where the file system has attributes at all.
    if let Ok(length) = rustix::fs::getxattr(&file, "user.mine", &mut buffer) {
        assert_eq!(&buffer[..length], b"kept");
    }
    let many: Vec<(String, Vec<u8>)> = (0..100)
        .map(|n| (format!("SCHILY.xattr.user.n{n}"), b"x".to_vec()))
        .collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
    let error = dir.unpack(
        tar(&[("y", tar::EntryType::Regular, "", &many)]),
        &mut Limits::new(9, 9),
    );
    assert!(error.is_err(), "a hundred attributes");
}
