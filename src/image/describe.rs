//! What layouts and archives say of the images in them: indexes, manifests and configurations.
//!
//! Every description is taken only if its digest is the one promised by what named it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bundle::{Bundle, parse};
use super::error::{Error, Result};
use super::stream::Digest;
use crate::model::ImageName;

/// As many as docker allows; overlayfs takes more.
pub const MOST_LAYERS: usize = 127;
const DEEPEST_INDEX: usize = 4;
/// Names an image in an index: the tag, or the whole name.
const TAG: &str = "org.opencontainers.image.ref.name";
const WHOLE: &str = "io.containerd.image.name";

/// What an image says of the process to start in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
    pub stop_signal: Option<String>,
}

/// One image of a bundle.
#[derive(Debug)]
pub struct Described {
    pub id: Digest,
    /// What the bundle calls it.
    pub name: Option<ImageName>,
    pub architecture: String,
    pub created: Option<String>,
    pub defaults: Defaults,
    /// Lowest first.
    pub layers: Vec<Layer>,
}

/// Where a layer is in the bundle, and what it must be.
#[derive(Debug)]
pub struct Layer {
    pub file: String,
    /// Of the file, as it is there.
    pub digest: Option<Digest>,
    pub size: Option<u64>,
    /// Of the tar in it.
    pub diff: Digest,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// The form that docker, podman and OCI share.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    architecture: String,
    created: Option<String>,
    #[serde(rename = "config")]
    process: Option<Process>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Process {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The images in a bundle. Of several in an OCI layout the one for this machine, or that `wanted` names.
///
/// # Errors
/// A description is missing, wrong, or not what its digest says.
pub fn images(bundle: &Bundle, wanted: Option<&ImageName>) -> Result<Vec<Described>> {
    if bundle.has("manifest.json") {
        let saved: Vec<Saved> = bundle.json("manifest.json")?;
        return saved.iter().map(|one| of_archive(bundle, one)).collect();
    }
    let index: Index = bundle.json("index.json")?;
    let mut found = Vec::new();
    flatten(bundle, index, None, 0, &mut found)?;
    let (manifest, name) = choose(found, wanted)?;
    of_layout(bundle, &manifest, name).map(|image| vec![image])
}

fn of_archive(bundle: &Bundle, saved: &Saved) -> Result<Described> {
    let text = bundle.text(&saved.config)?;
    let id = Digest::of(&text);
    // Its name is its digest, wherever the archive keeps it.
    let stem = saved.config.rsplit('/').next().unwrap_or_default();
    if let Ok(promised) = stem.strip_suffix(".json").unwrap_or(stem).parse::<Digest>() {
        same("the configuration", &promised, &id)?;
    }
    let name = saved.repo_tags.iter().flatten().next();
    let files = saved
        .layers
        .iter()
        .map(|file| (file.clone(), None, None))
        .collect();
    described(id, name.and_then(|n| n.parse().ok()), &saved.config, &text, files)
}

fn of_layout(bundle: &Bundle, manifest: &Descriptor, name: Option<ImageName>) -> Result<Described> {
    let text = promised(bundle, "the manifest", manifest)?;
    let manifest: Manifest = parse("the manifest", &text)?;
    let text = promised(bundle, "the configuration", &manifest.config)?;
    let id = manifest.config.digest.parse()?;
    let mut files = Vec::new();
    for layer in &manifest.layers {
        if layer.media_type.contains("encrypted") {
            return Err(Error::form("its layers are encrypted"));
        }
        let digest: Digest = layer.digest.parse()?;
        files.push((blob(&digest), Some(digest), Some(layer.size)));
    }
    described(id, name, "the configuration", &text, files)
}

type Place = (String, Option<Digest>, Option<u64>);

fn described(
    id: Digest,
    name: Option<ImageName>,
    from: &str,
    text: &[u8],
    files: Vec<Place>,
) -> Result<Described> {
    let config: Config = parse(from, text)?;
    let diffs: Vec<Digest> = config
        .rootfs
        .diff_ids
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_>>()?;
    if diffs.len() != files.len() {
        let (said, there) = (diffs.len(), files.len());
        return Err(Error::form(format!(
            "its configuration knows {said} layers, and there are {there}"
        )));
    }
    if diffs.is_empty() {
        return Err(Error::form("it has no layers"));
    }
    if diffs.len() > MOST_LAYERS {
        return Err(Error::TooMuch {
            what: "layers",
            limit: MOST_LAYERS as u64,
        });
    }
    let layers = files
        .into_iter()
        .zip(diffs)
        .map(|((file, digest, size), diff)| Layer {
            file,
            digest,
            size,
            diff,
        });
    let process = config.process.unwrap_or_default();
    let filled = |text: Option<String>| text.filter(|t| !t.is_empty());
    Ok(Described {
        id,
        name,
        architecture: config.architecture,
        created: config.created,
        defaults: Defaults {
            entrypoint: process.entrypoint.unwrap_or_default(),
            cmd: process.cmd.unwrap_or_default(),
            env: process.env.unwrap_or_default(),
            workdir: filled(process.working_dir),
            user: filled(process.user),
            stop_signal: filled(process.stop_signal),
        },
        layers: layers.collect(),
    })
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A description, if it is the one that was promised.
fn promised(bundle: &Bundle, what: &'static str, of: &Descriptor) -> Result<Vec<u8>> {
    let digest: Digest = of.digest.parse()?;
    let text = bundle.text(&blob(&digest))?;
    same(what, &digest, &Digest::of(&text))?;
    Ok(text)
}

/// # Errors
/// They differ.
pub fn same(what: &'static str, wanted: &Digest, found: &Digest) -> Result<()> {
    if wanted == found {
        return Ok(());
    }
    Err(Error::Digest {
        what,
        found: found.to_string(),
        wanted: wanted.to_string(),
    })
}

/// All manifests of an index and of those in it, with the name that each, or what holds it, has.
fn flatten(
    bundle: &Bundle,
    index: Index,
    name: Option<&ImageName>,
    depth: usize,
    found: &mut Vec<(Descriptor, Option<ImageName>)>,
) -> Result<()> {
    if depth > DEEPEST_INDEX || found.len() > 1000 {
        return Err(Error::form("its indexes go on and on"));
    }
    for one in index.manifests {
        let own = named(&one).or_else(|| name.cloned());
        let inner = one.media_type.contains("image.index") || one.media_type.contains("manifest.list");
        if inner {
            let text = promised(bundle, "an index", &one)?;
            flatten(bundle, parse("an index", &text)?, own.as_ref(), depth + 1, found)?;
        } else {
            found.push((one, own));
        }
    }
    Ok(())
}

/// The name that an index gives; a tag alone is none.
fn named(one: &Descriptor) -> Option<ImageName> {
    let whole = one.annotations.get(WHOLE);
    let tag = one.annotations.get(TAG).filter(|text| text.contains(['/', ':']));
    whole.or(tag)?.parse().ok()
}

fn choose(
    found: Vec<(Descriptor, Option<ImageName>)>,
    wanted: Option<&ImageName>,
) -> Result<(Descriptor, Option<ImageName>)> {
    let here = |one: &Descriptor| {
        one.platform
            .as_ref()
            .is_none_or(|p| p.os == "linux" && p.architecture == architecture())
    };
    let platforms: Vec<String> = found
        .iter()
        .filter_map(|(one, _)| one.platform.as_ref())
        .map(|p| format!("{}/{}", p.os, p.architecture))
        .collect();
    let mut fit: Vec<_> = found.into_iter().filter(|(one, _)| here(one)).collect();
    if fit.len() > 1
        && let Some(wanted) = wanted
    {
        let tagged = |one: &Descriptor| one.annotations.get(TAG).is_some_and(|tag| tag == wanted.tag());
        fit.retain(|(one, name)| name.as_ref() == Some(wanted) || tagged(one));
    }
    let first = fit.first().map(|(one, _)| one.digest.clone());
    let alike = fit.iter().all(|(one, _)| Some(&one.digest) == first.as_ref());
    match fit.into_iter().next() {
        Some(one) if alike => Ok(one),
        Some(_) => Err(Error::Choice {
            reason: "several are in it".to_owned(),
        }),
        None => Err(Error::Choice {
            reason: format!(
                "none is for linux/{}{}{}",
                architecture(),
                if platforms.is_empty() { "" } else { ", there are " },
                platforms.join(", ")
            ),
        }),
    }
}

/// This machine, in the words of images.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(digest: &str, arch: &str, tag: &str) -> (Descriptor, Option<ImageName>) {
        let text = format!(
            r#"{{"digest":"{digest}","size":1,"platform":{{"architecture":"{arch}","os":"linux"}},
                "annotations":{{"{TAG}":"{tag}"}}}}"#
        );
        (serde_json::from_str(&text).expect("parses"), None)
    }

    #[test]
    fn the_image_for_this_machine_is_chosen_or_the_one_that_is_named() {
        let here = architecture();
        let chosen = |found, wanted: Option<&str>| {
            let wanted = wanted.map(|w| w.parse().expect("a name"));
            choose(found, wanted.as_ref()).map(|(one, _)| one.digest)
        };
        let several = vec![one("a", "s390x", "1"), one("b", here, "1")];
        assert_eq!(chosen(several, None).expect("one fits"), "b");
        let tagged = || vec![one("a", here, "1"), one("b", here, "2")];
        assert!(chosen(tagged(), None).is_err());
        assert_eq!(chosen(tagged(), Some("x:2")).expect("one is named so"), "b");
        assert!(chosen(tagged(), Some("x:3")).is_err());
        let error = chosen(vec![one("a", "s390x", "1")], None).expect_err("none fits");
        assert!(error.to_string().ends_with("there are linux/s390x"), "{error}");
    }
}
