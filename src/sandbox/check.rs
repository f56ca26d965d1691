//! Everything that can be refused before anything is created.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path};

use nix::sys::termios::tcgetattr;

use super::account::Files;
use super::error::{Error, Result};
use super::payload::{DEFAULT_PATH, Payload};
use super::program;
use super::spec::{Restart, Root, Spec};

/// Says whether `spec` can be launched, as far as the host can tell.
///
/// # Errors
/// The first thing that is wrong with it, with the exit code class of a command that is missing.
pub fn prepare(spec: &Spec) -> Result<()> {
    Payload::of(spec)?;
    id(&spec.id)?;
    hostname(&spec.hostname)?;
    limits(spec)?;
    supervision(spec)?;
    paths(spec)?;
    if spec.tty && spec.interactive && !spec.detach {
        terminal_on_stdin()?;
    }
    match &spec.root {
        Root::Host { share } => {
            for path in share {
                std::fs::metadata(path).map_err(|source| Error::path("sharing", path, source))?;
            }
            if !is_covered(spec) {
                Files::of_this_root()?.resolve(spec.user.as_deref())?;
            }
            command_on_host(spec)?;
        }
        Root::Dir(dir) => directory("opening the root", dir)?,
        Root::Layers { image, layers } => {
            // So many fit into the page of options that mount(2) takes.
            if layers.is_empty() || layers.len() > MAX_LAYERS {
                return Err(Error::invalid(
                    "number of layers",
                    format!("{image}: {}", layers.len()),
                ));
            }
            for layer in layers {
                directory("opening the layer", layer)?;
            }
        }
    }
    Ok(())
}

/// A page holds 4096 bytes, and the name of an open descriptor takes up to 19.
pub const MAX_LAYERS: usize = 200;

fn directory(what: &str, path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(not_a_dir(what, path)),
        Err(source) => Err(Error::path(what, path, source)),
    }
}

/// Whether something may be mounted over what the host has.
fn is_covered(spec: &Spec) -> bool {
    !spec.volumes.is_empty() || !spec.tmpfs.is_empty()
}

/// A command of the host view is the host's, unless something is mounted over it. Whether it may be executed
/// only the child can tell, as the user it becomes.
fn command_on_host(spec: &Spec) -> Result<()> {
    let Some(name) = spec.command.first() else {
        return Err(Error::NoCommand);
    };
    if is_covered(spec) || name.contains('/') {
        return Ok(());
    }
    let path = spec
        .env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(DEFAULT_PATH, |(_, value)| value);
    match program::locate(name, OsStr::new(path)) {
        Err(error @ Error::CommandNotFound { .. }) => Err(error),
        _ => Ok(()),
    }
}

fn not_a_dir(what: &str, path: &Path) -> Error {
    Error::path(what, path, io::Error::from_raw_os_error(libc::ENOTDIR))
}

/// It becomes the name of a directory.
fn id(id: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let bad = id.is_empty() || id.len() > 64 || id.starts_with(['.', '-']) || !id.chars().all(fine);
    if bad {
        Err(Error::invalid("id", id))
    } else {
        Ok(())
    }
}

fn hostname(name: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let bad = name.is_empty() || name.len() > 64 || name.starts_with('-') || !name.chars().all(fine);
    if bad {
        Err(Error::invalid("host name", name.escape_debug().to_string()))
    } else {
        Ok(())
    }
}

fn limits(spec: &Spec) -> Result<()> {
    const LEAST_MEMORY: u64 = 1 << 20;
    if let Some(bytes) = spec.limits.memory.filter(|bytes| *bytes < LEAST_MEMORY) {
        return Err(Error::invalid("memory limit (below 1 MiB)", bytes.to_string()));
    }
    if let Some(cpus) = spec.limits.cpus.filter(|cpus| !(0.01..=10_000.0).contains(cpus)) {
        return Err(Error::invalid("number of cpus", cpus.to_string()));
    }
    if spec.limits.pids == Some(0) {
        return Err(Error::invalid("process limit", "0"));
    }
    Ok(())
}

/// Only a pid 1 of ours can start a command again or check it: with the end of any other, its namespace ends.
fn supervision(spec: &Spec) -> Result<()> {
    let restarts = spec.restart != Restart::No;
    for (asked, what) in [(restarts, "--restart"), (spec.health.is_some(), "--health-cmd")] {
        if asked && !spec.init {
            return Err(Error::NeedsInit {
                what: what.to_owned(),
            });
        }
    }
    if restarts && spec.tty && !spec.detach {
        return Err(Error::NeedsDetach);
    }
    if let Some(health) = &spec.health {
        Payload::check(spec, health)?;
        for (ms, what) in [
            (health.interval_ms, "health interval"),
            (health.timeout_ms, "health timeout"),
        ] {
            if ms == 0 {
                return Err(Error::invalid(what, "0"));
            }
        }
    }
    if spec.log_size.is_some_and(|size| size < LEAST_LOG) {
        return Err(Error::invalid(
            "log size (below 4 KiB)",
            spec.log_size.unwrap_or(0).to_string(),
        ));
    }
    Ok(())
}

const LEAST_LOG: u64 = 4 << 10;

fn paths(spec: &Spec) -> Result<()> {
    for volume in &spec.volumes {
        absolute("volume source", &volume.src)?;
        std::fs::metadata(&volume.src)
            .map_err(|source| Error::path("opening volume", &volume.src, source))?;
    }
    let targets = spec
        .volumes
        .iter()
        .map(|volume| &volume.dst)
        .chain(spec.tmpfs.iter().map(|tmpfs| &tmpfs.dst));
    for target in targets {
        absolute("mount point", target)?;
        let names = target
            .components()
            .filter(|part| matches!(part, Component::Normal(_)));
        let upwards = target.components().any(|part| part == Component::ParentDir);
        if upwards || names.count() == 0 {
            return Err(Error::invalid("mount point", target.display().to_string()));
        }
    }
    for device in &spec.isolation.devices {
        let names = device.dst.strip_prefix("/dev").map(Path::components);
        let fine = names.is_ok_and(|mut names| {
            names.clone().count() > 0 && names.all(|part| matches!(part, Component::Normal(_)))
        });
        if !fine {
            return Err(Error::invalid(
                "place for a device",
                device.dst.display().to_string(),
            ));
        }
        std::fs::metadata(&device.src)
            .map_err(|source| Error::path("opening device", &device.src, source))?;
    }
    if let Some(dir) = &spec.workdir {
        absolute("working directory", dir)?;
    }
    absolute("run-time directory", &spec.dir)?;
    absolute("layer", &spec.layer)
}

fn absolute(what: &str, path: &Path) -> Result<()> {
    let nul = AsRef::<OsStr>::as_ref(path).as_encoded_bytes().contains(&0);
    if path.is_absolute() && !nul {
        return Ok(());
    }
    Err(Error::invalid(
        what,
        path.display().to_string().escape_debug().to_string(),
    ))
}

/// `-i -t` makes sense only with a terminal to relay.
pub(super) fn terminal_on_stdin() -> Result<()> {
    tcgetattr(io::stdin().as_fd())
        .map(drop)
        .map_err(|_| Error::NoTerminal)
}
