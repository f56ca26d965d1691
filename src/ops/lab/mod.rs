//! `moat lab`: the whole of moat as an ordinary user, in a world that goes with its command.

mod wayout;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::context::{DEFAULT_DATA, DEFAULT_ROOT, Where};
use super::error::{Error, Result};
use crate::kernel::linux::loopback_up;
use crate::sandbox::Lab;

/// What is ours on the lab's `/run`: this program by its name, and layers.
const BIN: &str = "/run/moat-bin";
const DATA: &str = "/run/moat-data";

/// Directories of administrators' programs, which not every user has in PATH.
const SBIN: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Whether the caller has to be in a lab to do anything with containers.
#[must_use]
pub fn is_needed() -> bool {
    !nix::unistd::geteuid().is_root()
}

/// Runs a command, or the caller's shell, in a lab. Its exit status; `say` gets what there is to tell
/// before it starts.
///
/// # Errors
/// No lab can be made here, or the command not be started.
pub fn lab(place: &Where, command: &[String], say: impl Fn(&str)) -> Result<i32> {
    let program = std::env::current_exe().map_err(|source| Error::State {
        path: "/proc/self/exe".into(),
        source,
    })?;
    let shell = || std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let command = match command {
        [] => vec![shell()],
        words => words.to_vec(),
    };
    let name = Path::new(BIN).join("moat");
    let tidy = [name.display().to_string().as_str(), "-q", "rm", "-f", "--all"].map(str::to_owned);
    let lab = Lab {
        command,
        env: environment(place),
        tidy: tidy.to_vec(),
        link: (name, program),
        loopback: loopback_up,
    };
    let wanted = |e| Error::from(e).while_doing("make a lab");
    let built = lab.build().map_err(wanted)?;
    let way_out =
        wayout::open(&built).inspect_err(|why| say(&format!("note: the lab has no way out: {why}")));
    let ended = built
        .run()
        .map_err(|e| Error::from(e).while_doing("run a command in a lab"));
    if let Ok(carrier) = way_out {
        carrier.wait();
    }
    ended
}

/// The caller's variables, except those that say where moat's world is.
fn environment(place: &Where) -> Vec<(OsString, OsString)> {
    let mut all: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| !["PATH", "MOAT_ROOT", "MOAT_DATA"].iter().any(|own| name == own))
        .collect();
    let mut put = |name: &str, value: &OsStr| all.push((name.into(), value.to_owned()));
    put(
        "PATH",
        &search(std::env::var_os("PATH").unwrap_or_default().as_bytes()),
    );
    if place.root != Path::new(DEFAULT_ROOT) {
        put("MOAT_ROOT", place.root.as_os_str());
    }
    let own_data = place.data != Path::new(DEFAULT_DATA);
    put(
        "MOAT_DATA",
        if own_data {
            place.data.as_os_str()
        } else {
            OsStr::new(DATA)
        },
    );
    all
}

/// A search path that finds this program first, and those of administrators at last.
fn search(path: &[u8]) -> OsString {
    let mut dirs: Vec<PathBuf> = vec![BIN.into()];
    dirs.extend(
        path.split(|b| *b == b':')
            .filter(|d| !d.is_empty())
            .map(|d| OsStr::from_bytes(d).into()),
    );
    for sbin in SBIN.map(PathBuf::from) {
        if !dirs.contains(&sbin) {
            dirs.push(sbin);
        }
    }
    std::env::join_paths(dirs).unwrap_or_else(|_| BIN.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_path_begins_with_us() {
        assert_eq!(
            search(b"/usr/bin::/sbin"),
            "/run/moat-bin:/usr/bin:/sbin:/usr/sbin"
        );
        assert_eq!(search(b""), "/run/moat-bin:/usr/sbin:/sbin");
    }
}
