//! The tree the container sees: built in the child's own mount namespace, then made its `/`.
//!
//! Must not mount anything the host could see (everything is private before the first mount). Relies on
//! `mount_namespaces(7)`, overlayfs.rst and `pivot_root(2)`.

mod device;
mod emptied;
mod mapped;
mod mask;
mod overlay;
mod submounts;
mod tmpfiles;
mod tree;
mod volume;

use std::os::fd::AsFd;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, fchdir, pivot_root};

pub use overlay::{lowers, uppers};
pub(super) use submounts::unseen;

pub(super) use self::mapped::Mapped;

use self::device::fresh;
use self::tree::Fresh;
pub(super) use self::tree::Tree;
use super::account::Files;
use super::error::{Error, Result};
use super::spec::{Root, Spec};

/// Makes this process's mount namespace private: nothing mounted here reaches the host.
pub(super) fn isolate() -> Result<()> {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(|errno| Error::system("making the mounts private", errno))
}

/// Builds the tree; [`enter`] makes it `/`. `base` is the host's id of the container's root.
pub(super) fn build(spec: &Spec, mapped: Option<&Mapped>, base: u32) -> Result<Built> {
    let tree = overlay::mount_root(spec, mapped)?;
    kernel_file_systems(&tree)?;
    device::fill(&tree, base)?;
    // An image says itself what is below /run and /tmp.
    if spec.read_only || !matches!(spec.root, Root::Layers { .. }) {
        scratch(&tree, base)?;
    }
    if let Root::Host { share } = &spec.root {
        mask::secrets(spec, &tree, share, mapped)?;
    }
    volume::name_service(spec, &tree, mapped)?;
    for wanted in &spec.tmpfs {
        volume::tmpfs(&tree, wanted)?;
    }
    for (number, wanted) in spec.volumes.iter().enumerate() {
        volume::volume(&tree, wanted, mapped.and_then(|mapped| mapped.volume(number)))?;
    }
    if let (Root::Layers { .. }, Some(dir)) = (&spec.root, &spec.workdir) {
        // Images name working directories that nothing in them makes.
        tree.dir(dir)
            .map_err(|source| Error::path("creating", dir, source))?;
    }
    for wanted in &spec.isolation.devices {
        device::extra(&tree, wanted, base)?;
    }
    mask::kernel(&tree)?;
    // Only now: the files with the names may be volumes.
    let accounts = Files::of(&tree);
    Ok(Built { tree, accounts })
}

/// Mounts the layers of a container that ended once more, in this process's own mount namespace.
pub(super) fn again(spec: &Spec) -> Result<std::os::fd::OwnedFd> {
    overlay::mount_root(spec, None).map(Tree::into_fd)
}

/// A tree that is complete, but not yet `/`.
pub(super) struct Built {
    tree: Tree,
    pub accounts: Files,
}

impl Built {
    /// Makes the tree `/` of this process and lets go of the host's.
    pub fn enter(self, spec: &Spec) -> Result<()> {
        if spec.read_only {
            // Only the layers: /tmp, /run, /dev and volumes are mounts of their own.
            for (part, _) in uppers(spec) {
                self.protect(&part)
                    .map_err(|source| Error::path("making read-only", part, source))?;
            }
        }
        let pivot = || -> nix::Result<()> {
            fchdir(self.tree.fd().as_fd())?;
            // The old root lands on top of the new one, at the same place, and is taken off again.
            pivot_root(".", ".")?;
            umount2(".", MntFlags::MNT_DETACH)?;
            chdir("/")
        };
        pivot().map_err(|errno| Error::system("changing the root", errno))
    }
}

impl Built {
    fn protect(&self, part: &Path) -> std::io::Result<()> {
        let flags = MsFlags::MS_BIND
            | MsFlags::MS_REMOUNT
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NODEV
            | MsFlags::MS_NOSUID;
        let target = self.tree.find(part)?;
        Ok(mount(
            None::<&str>,
            &tree::by_fd(&target),
            None::<&str>,
            flags,
            None::<&str>,
        )?)
    }
}

fn kernel_file_systems(tree: &Tree) -> Result<()> {
    let no = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fresh(
        tree,
        Path::new("/proc"),
        &Fresh {
            kind: "proc",
            flags: no,
            data: "",
        },
    )?;
    fresh(
        tree,
        Path::new("/sys"),
        &Fresh {
            kind: "sysfs",
            flags: no | MsFlags::MS_RDONLY,
            data: "",
        },
    )
}

fn scratch(tree: &Tree, base: u32) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    fresh(
        tree,
        Path::new("/run"),
        &Fresh {
            kind: "tmpfs",
            flags,
            data: "mode=755",
        },
    )?;
    fresh(
        tree,
        Path::new("/tmp"),
        &Fresh {
            kind: "tmpfs",
            flags,
            data: "mode=1777",
        },
    )?;
    let lock = Fresh {
        kind: "tmpfs",
        flags: flags | MsFlags::MS_NOEXEC,
        data: "mode=1777,size=5m",
    };
    fresh(tree, Path::new("/run/lock"), &lock)?;
    tmpfiles::create(tree, &Files::of(tree), base);
    Ok(())
}
