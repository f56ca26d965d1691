//! Fetching an image from a registry, by `skopeo`.
//!
//! No TLS stack and no client of registries is part of this binary: see `docs/adr/0015`. What skopeo brings is
//! an OCI layout in the room, verified again when it is read.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{Error, Result};
use super::library::Room;
use super::stream::Digest;
use crate::model::ImageName;

/// How to talk to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    Tls,
    /// Without TLS, or with a certificate that nobody vouches for.
    Plain,
}

/// Brings the image into a layout in the room, but for the files of layers that are `kept`: these are empty
/// there, because skopeo fetches no file that the layout has.
///
/// # Errors
/// There is no skopeo, or what it says.
#[allow(clippy::disallowed_methods)] // the one place that starts skopeo
pub fn fetch(
    room: &Room,
    name: &ImageName,
    how: Registry,
    kept: &[(Digest, Digest)],
    show: bool,
) -> Result<PathBuf> {
    let layout = room.path().join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|source| Error::path("creating", &blobs, source))?;
    for (file, _) in kept {
        let path = blobs.join(file.hex());
        File::create(&path).map_err(|source| Error::path("creating", &path, source))?;
    }
    let mut command = Command::new("skopeo");
    if !has_policy() {
        // Without any, skopeo refuses everything; one that is there is kept to.
        command.arg("--insecure-policy");
    }
    command.args(["--override-os", "linux", "copy"]);
    if how == Registry::Plain {
        command.arg("--src-tls-verify=false");
    }
    if !show {
        command.arg("--quiet");
    }
    command
        .arg(format!("docker://{name}"))
        .arg(format!("oci:{}:{}", layout.display(), name.tag()))
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    // Its progress is talk, and stdout is for data.
    command.stdout(if show {
        Stdio::from(std::io::stderr())
    } else {
        Stdio::null()
    });
    let output = command.output().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NoSkopeo,
        _ => Error::path("starting", "skopeo", source),
    })?;
    if output.status.success() {
        return Ok(layout);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Error::Skopeo {
        reason: said(&text).unwrap_or_else(|| output.status.to_string()),
    })
}

fn has_policy() -> bool {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".config/containers/policy.json"));
    home.into_iter()
        .chain([PathBuf::from("/etc/containers/policy.json")])
        .any(|path| path.exists())
}

/// The message in the last line of its log: `time="…" level=fatal msg="…"`.
fn said(text: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    let message = line
        .split_once("msg=\"")
        .map_or(line, |(_, rest)| rest.trim_end_matches('"'));
    Some(message.replace("\\\"", "`"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_skopeo_says_is_taken_out_of_its_log() {
        let log = "Getting image\ntime=\"2026\" level=fatal msg=\"reading \\\"x\\\": no such host\"\n";
        assert_eq!(super::said(log).expect("a line"), "reading `x`: no such host");
        assert_eq!(super::said("plain\n").expect("a line"), "plain");
        assert_eq!(super::said("\n"), None);
    }
}
