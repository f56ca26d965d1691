//! What of the host must not be seen or changed: secrets in the host view, knobs in `/proc` and `/sys`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use super::super::cgroup::unescape;
use super::super::error::{Error, Result};
use super::super::spec::Spec;
use super::super::syscall::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use super::emptied::EMPTIED;
use super::mapped::Mapped;
use super::overlay::{overlay_part, shared_parts};
use super::tree::{Fresh, Tree, bind, is_dir, restrict};

/// Homes, keys, and the state of whatever else runs containers or machines here.
#[rustfmt::skip]
const SECRETS: [&str; 76] = [
    "/root", "/home", "/boot", "/mnt", "/media", "/lost+found", "/var/backups", "/var/crash", "/swapfile",
    "/swap.img", "/var/lib/buildkit", "/var/lib/containerd", "/var/lib/containers", "/var/lib/crio",
    "/var/lib/docker", "/var/lib/etcd", "/var/lib/incus", "/var/lib/k0s", "/var/lib/kubelet",
    "/var/lib/libvirt", "/var/lib/lxc", "/var/lib/lxd", "/var/lib/machines", "/var/lib/moat",
    "/var/lib/nerdctl", "/var/lib/portables", "/var/lib/rancher", "/var/cache/debconf/passwords.dat",
    "/var/cache/private", "/var/lib/NetworkManager", "/var/lib/bluetooth", "/var/lib/cloud",
    "/var/lib/consul", "/var/lib/fprint", "/var/lib/iwd", "/var/lib/krb5kdc", "/var/lib/nomad",
    "/var/lib/polkit-1", "/var/lib/private", "/var/lib/samba/private", "/var/lib/sss",
    "/var/lib/systemd/coredump", "/var/lib/systemd/credential.secret", "/var/lib/systemd/random-seed",
    "/var/lib/tailscale", "/var/lib/vault", "/etc/NetworkManager/system-connections", "/etc/apt/auth.conf",
    "/etc/apt/auth.conf.d", "/etc/ceph", "/etc/credstore", "/etc/credstore.encrypted", "/etc/docker",
    "/etc/gitlab", "/etc/gshadow", "/etc/gshadow-", "/etc/ipsec.d/private", "/etc/ipsec.secrets",
    "/etc/krb5.keytab", "/etc/krb5kdc", "/etc/kubernetes", "/etc/letsencrypt", "/etc/mysql/debian.cnf",
    "/etc/netplan", "/etc/openvpn", "/etc/pki/tls/private", "/etc/ppp", "/etc/rancher",
    "/etc/security/opasswd", "/etc/shadow", "/etc/shadow-", "/etc/ssl/private", "/etc/sssd", "/etc/vault.d",
    "/etc/wireguard", "/etc/wpa_supplicant",
];

/// Of the host's kernel, not of the container.
#[rustfmt::skip]
const KERNEL_HIDDEN: [&str; 15] = [
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
    "/sys/dev/block", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
    "/sys/kernel/debug",
];

const KERNEL_READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Whether a path of the host is hidden whatever is mounted there.
pub fn is_hidden(own: &[PathBuf], path: &Path) -> bool {
    let secrets = SECRETS.iter().chain(&EMPTIED).map(Path::new);
    secrets
        .chain(own.iter().map(PathBuf::as_path))
        .any(|secret| path.starts_with(secret))
}

/// Hides the host's secrets, except what is shared.
pub fn secrets(spec: &Spec, tree: &Tree, share: &[PathBuf], mapped: Option<&Mapped>) -> Result<()> {
    let mut list: Vec<PathBuf> = SECRETS.iter().map(PathBuf::from).collect();
    list.extend(
        tree.names(Path::new("/etc/ssh"))
            .into_iter()
            .filter(|path| is_host_key(path)),
    );
    list.extend(swap_files());
    list.extend(spec.hide.iter().cloned());
    list.push(spec.dir.clone());
    list.push(spec.layer.clone());
    // Outer ones first, so that an inner one is gone with them.
    list.sort();
    for path in shared_parts(spec, share) {
        overlay_part(spec, tree, &path, mapped)?;
    }
    for secret in &list {
        let Ok(target) = tree.find(secret) else { continue };
        if share.iter().any(|open| secret.starts_with(open)) && !own(spec, secret) {
            continue;
        }
        let inner: Vec<&PathBuf> = share.iter().filter(|open| open.starts_with(secret)).collect();
        let kept = keep(tree, &inner)?;
        hide(tree, &target, secret)?;
        for (path, fd) in kept {
            put_back(tree, path, &fd).map_err(|source| Error::path("sharing", path, source))?;
        }
    }
    Ok(())
}

fn is_host_key(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("ssh_host_") && name.ends_with("_key")
}

/// What the host pages out lies in these, memory of every process.
fn swap_files() -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let fields = text.lines().map(|line| line.split_whitespace());
    let files = fields.filter_map(|mut f| Some((f.next()?, f.next()?)));
    files
        .filter(|(_, kind)| *kind == "file")
        .map(|(path, _)| unescape(path))
        .collect()
}

/// Our own state is never shared.
fn own(spec: &Spec, secret: &Path) -> bool {
    spec.hide.iter().any(|path| path == secret) || secret == spec.dir || secret == spec.layer
}

/// Opens the shared paths below a secret while they can still be seen.
pub fn keep<'a>(tree: &Tree, inner: &[&'a PathBuf]) -> Result<Vec<(&'a PathBuf, OwnedFd)>> {
    let open = |path: &&'a PathBuf| match tree.find(path) {
        Ok(fd) => Ok((*path, fd)),
        Err(source) => Err(Error::path("sharing", *path, source)),
    };
    inner.iter().map(open).collect()
}

pub fn put_back(tree: &Tree, path: &Path, from: &OwnedFd) -> io::Result<()> {
    let target = if is_dir(from) {
        tree.dir(path)?
    } else {
        tree.file(path)?
    };
    Ok(bind(from, &target, true)?)
}

fn hide(tree: &Tree, target: &OwnedFd, name: &Path) -> Result<()> {
    if is_dir(target) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        return Fresh {
            kind: "tmpfs",
            flags,
            data: "mode=700",
        }
        .on(target, name);
    }
    nothing_on(tree, target, name)
}

/// Covers a file by the container's own `/dev/null`, read-only so that not even its mode can be changed.
fn nothing_on(tree: &Tree, target: &OwnedFd, name: &Path) -> Result<()> {
    let cover = || -> io::Result<()> {
        let null = tree.find(Path::new("/dev/null"))?;
        bind(&null, target, false)?;
        restrict(tree, name, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID)
    };
    cover().map_err(|source| Error::path("hiding", name, source))
}

/// Hides and protects what of the kernel shows through `/proc` and `/sys`.
pub fn kernel(tree: &Tree) -> Result<()> {
    for path in KERNEL_HIDDEN.map(Path::new) {
        let Ok(target) = tree.find(path) else { continue };
        if is_dir(&target) {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
            Fresh {
                kind: "tmpfs",
                flags,
                data: "size=0k,nr_inodes=2,mode=755",
            }
            .on(&target, path)?;
        } else {
            nothing_on(tree, &target, path)?;
        }
    }
    for path in KERNEL_READ_ONLY.map(Path::new) {
        let Ok(target) = tree.find(path) else { continue };
        let protect = || -> io::Result<()> {
            bind(&target, &target, false)?;
            restrict(
                tree,
                path,
                MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
            )
        };
        protect().map_err(|source| Error::path("protecting", path, source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_documented() {
        let page = include_str!("../../../docs/HOST-VIEW.md");
        for path in SECRETS.iter().chain(&EMPTIED) {
            assert!(page.contains(&format!("`{path}`")), "{path}");
        }
        let named = page.matches("`/").count();
        assert!(named >= SECRETS.len() + EMPTIED.len(), "{named}");
    }
}
