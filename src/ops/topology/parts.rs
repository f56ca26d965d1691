//! The networks and volumes of a file.
//!
//! Whose a network is stands in the store's `meta` table, so that `down` takes only what `up` made.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::super::context::{Moat, make_dir, state};
use super::super::error::Result;
use super::super::net;
use super::file::Found;
use super::{Event, Tell};
use crate::model::topology::{NetworkWish, Source, VolumeWish};
use crate::model::yaml::Fault;
use crate::model::{DefaultPolicy, Name, Network, Router};

fn owner_key(network: &Name) -> String {
    format!("project of network {network}")
}

/// Whether the networks are as the file says, or can be made so.
///
/// # Errors
/// One is missing, another's, or made otherwise.
pub fn check_networks(moat: &Moat, found: &Found) -> Result<()> {
    for wish in found.project.networks.values() {
        let there = moat.store.network(&wish.name)?.map(|r| r.network);
        let owner = moat.store.meta(&owner_key(&wish.name))?;
        let ours = owner.as_deref() == Some(found.project.name.as_str());
        let wrong = |what: &str, hint: String| {
            let what = format!("network `{}` {what}", wish.name);
            Err(found.wrong(Fault::new(wish.pos, what).hinting(hint)))
        };
        match there {
            None if wish.external && wish.name.as_str() != net::DEFAULT => {
                return wrong(
                    "does not exist",
                    format!("`moat net create {}` makes it", wish.name),
                );
            }
            Some(_) if !wish.external && !ours => {
                return wrong(
                    "exists, and is not of this project",
                    "with `external: true` the project uses it".into(),
                );
            }
            Some(n) if !wish.external && differs(wish, &n) => {
                return wrong(
                    "was made otherwise than the file says now",
                    "`moat down` removes it, then `moat up` makes it anew".into(),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

fn differs(wish: &NetworkWish, there: &Network) -> bool {
    wish.internal != there.internal || wish.subnets.iter().any(|s| !there.subnets.contains(s))
}

/// Makes the networks that are missing.
///
/// # Errors
/// One cannot be made.
pub fn make_networks(moat: &mut Moat, found: &Found, tell: Tell<'_>) -> Result<()> {
    for wish in found.project.networks.values().filter(|n| !n.external) {
        if moat.store.network(&wish.name)?.is_some() {
            continue;
        }
        let request = net::Request {
            name: wish.name.clone(),
            subnets: wish.subnets.clone(),
            internal: wish.internal,
            default_policy: DefaultPolicy::Isolated,
            mtu: None,
            router: Router::Own,
        };
        // Before it is there: a mark without a network is nobody's harm, a network without one is.
        moat.store
            .set_meta(&owner_key(&wish.name), Some(found.project.name.as_str()))?;
        net::build(moat, &request, false)
            .map_err(|e| e.while_doing(format!("create network `{}`", wish.name)))?;
        moat.share()?;
        tell(&Event::Network {
            name: wish.name.clone(),
        });
    }
    Ok(())
}

/// The networks that `up` made for a project.
///
/// # Errors
/// When the store cannot be read.
pub fn networks_of(moat: &Moat, project: &Name) -> Result<Vec<Name>> {
    let mut all = Vec::new();
    for row in moat.store.networks()? {
        if moat.store.meta(&owner_key(&row.network.name))?.as_deref() == Some(project.as_str()) {
            all.push(row.network.name);
        }
    }
    Ok(all)
}

/// Removes a network that `up` made.
///
/// # Errors
/// It would not go.
pub fn remove_network(moat: &mut Moat, name: &Name) -> Result<()> {
    net::take(moat, name, false).map_err(|e| e.while_doing(format!("remove network `{name}`")))?;
    moat.store.set_meta(&owner_key(name), None)?;
    moat.share()
}

/// Where the volumes of this world are: they outlive containers and boots.
#[must_use]
pub fn volumes_dir(moat: &Moat) -> PathBuf {
    let data = moat.data.parent().unwrap_or(&moat.data);
    data.join("volumes").join(&moat.names.prefix)
}

/// Where a named volume is.
#[must_use]
pub fn volume_dir(moat: &Moat, wish: &VolumeWish) -> PathBuf {
    volumes_dir(moat).join(wish.dir())
}

/// Makes the volumes that are missing. Each gets owner and rights of the directory that it will cover,
/// where that is there: a database finds its own directory.
///
/// # Errors
/// An external one is missing, or one cannot be made.
pub fn make_volumes(moat: &Moat, found: &Found, tell: Tell<'_>) -> Result<()> {
    for (key, wish) in &found.project.volumes {
        let dir = volume_dir(moat, wish);
        if dir.is_dir() {
            continue;
        }
        if wish.external {
            let what = format!("volume `{}` does not exist", wish.name);
            let hint = format!("make the directory {}", dir.display());
            return Err(found.wrong(Fault::new(wish.pos, what).hinting(hint)));
        }
        make_dir(&volumes_dir(moat))?;
        // Complete before it has its name.
        let fresh = dir.with_extension("new");
        make_dir(&fresh)?;
        if let Some(like) = covered(found, key) {
            take_after(&fresh, &like)?;
        }
        std::fs::rename(&fresh, &dir).map_err(|e| state(&dir, e))?;
        tell(&Event::Volume { path: dir });
    }
    Ok(())
}

/// The directory that a volume covers in the root of the first service that mounts it.
fn covered(found: &Found, key: &str) -> Option<PathBuf> {
    for role in &found.project.roles {
        let s = &role.settings;
        let mut mounts = s.mounts.iter();
        let Some(mount) = mounts.find(|m| m.source == Source::Volume(key.to_owned())) else {
            continue;
        };
        let root = s.rootfs.as_deref().unwrap_or(Path::new("/"));
        let path = root.join(mount.target.strip_prefix("/").unwrap_or(&mount.target));
        // Not through a link, which may lead out of a root.
        if s.image.is_none() && path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            return Some(path);
        }
    }
    None
}

fn take_after(dir: &Path, like: &Path) -> Result<()> {
    let meta = like.metadata().map_err(|e| state(like, e))?;
    std::os::unix::fs::chown(dir, Some(meta.uid()), Some(meta.gid())).map_err(|e| state(dir, e))?;
    let mode = std::fs::Permissions::from_mode(meta.mode() & 0o7777);
    std::fs::set_permissions(dir, mode).map_err(|e| state(dir, e))
}

/// Records the networks that are missing, for a plan that is rolled back.
///
/// # Errors
/// No range is free.
pub fn enter_networks(moat: &Moat, found: &Found) -> Result<()> {
    for wish in found.project.networks.values().filter(|n| !n.external) {
        if moat.store.network(&wish.name)?.is_none() {
            let existing = moat.store.networks()?;
            let subnets = net::choose_subnets(moat.families(), &wish.subnets, &existing, &moat.host_routes)?;
            let network = Network {
                name: wish.name.clone(),
                subnets,
                internal: wish.internal,
                router: Router::Own,
                default_policy: DefaultPolicy::Isolated,
                gateways: vec![],
                masquerade: true,
                foreign: false,
                mtu: moat.mtu,
            };
            moat.store.add_network(&network, true)?;
            moat.store.add_bridge(&network.name)?;
        }
    }
    Ok(())
}

/// Removes a named volume with all that is in it.
///
/// # Errors
/// It would not go.
pub fn remove_volume(moat: &Moat, wish: &VolumeWish) -> Result<()> {
    let dir = volume_dir(moat, wish);
    crate::sandbox::remove_tree(&dir).map_err(|e| state(&dir, e))?;
    // Goes with the last one.
    let _ = std::fs::remove_dir(volumes_dir(moat));
    Ok(())
}
