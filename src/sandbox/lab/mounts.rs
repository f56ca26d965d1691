//! The mounts of a lab: `/proc` of its processes and an empty `/run`; all else is the host's.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::sandbox::error::{Error, Result};

/// Where systemd-resolved keeps its two forms of resolv.conf. The first names servers; the second, to which
/// `/etc/resolv.conf` often leads, names the host's loopback.
const RESOLV: [&str; 2] = [
    "/run/systemd/resolve/resolv.conf",
    "/run/systemd/resolve/stub-resolv.conf",
];

/// Mounts; `link` below `/run` then leads to `program`.
pub fn make(link: &Path, program: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let servers = fs::read(RESOLV[0]).ok();
    let over = |kind: &str, at: &str, flags, data: &str| {
        mount(Some(kind), at, Some(kind), flags, Some(data))
            .map_err(|errno| Error::path("mounting", at, errno))
    };
    over("proc", "/proc", flags | MsFlags::MS_NOEXEC, "")?;
    over("tmpfs", "/run", flags, "mode=755")?;
    let made = || -> io::Result<()> {
        if let Some(servers) = servers {
            fs::create_dir_all("/run/systemd/resolve")?;
            for file in RESOLV {
                fs::write(file, &servers)?;
            }
        }
        if let Some(dir) = link.parent() {
            fs::create_dir_all(dir)?;
        }
        symlink(program, link)?;
        // Where programs of the session look for their own directory.
        if let Some(own) = std::env::var_os("XDG_RUNTIME_DIR")
            && Path::new(&own).starts_with("/run")
        {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(own)?;
        }
        Ok(())
    };
    made().map_err(|source| Error::path("filling", "/run", source))
}
