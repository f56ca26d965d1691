//! The options of `moat run` that say how far a container is from the host.

use std::path::PathBuf;

use super::args::Run;
use super::read::input;
use crate::ops::{Device, Error, Isolation, Result, Seccomp, Users};

/// All of them.
///
/// # Errors
/// The first that cannot be read, or a profile that cannot.
pub fn read(args: &Run) -> Result<Isolation> {
    Ok(Isolation {
        users: users(args.userns.as_deref())?,
        seccomp: seccomp(&args.security)?,
        devices: args.devices.iter().map(|d| device(d)).collect::<Result<_>>()?,
    })
}

fn users(text: Option<&str>) -> Result<Users> {
    match text {
        None | Some("auto") => Ok(Users::Auto),
        Some("own") => Ok(Users::Own),
        Some("host") => Ok(Users::Host),
        Some(other) => Err(input(
            other,
            "user ids are `auto`, `own` or `host`",
            "`own` insists on ids of the container's own, `host` takes the host's",
        )),
    }
}

fn seccomp(options: &[String]) -> Result<Seccomp> {
    let mut chosen = Seccomp::Default;
    for option in options {
        chosen = match option.strip_prefix("seccomp=") {
            Some("off") => Seccomp::Off,
            Some("default") => Seccomp::Default,
            Some(path) if !path.is_empty() => {
                let text = std::fs::read_to_string(path).map_err(|source| Error::State {
                    path: path.to_owned(),
                    source,
                })?;
                Seccomp::Profile(text)
            }
            _ => {
                return Err(input(
                    option,
                    "security is `seccomp=FILE` or `seccomp=off`",
                    "FILE is a profile as docker and podman read them",
                ));
            }
        };
    }
    Ok(chosen)
}

fn device(text: &str) -> Result<Device> {
    let bad = || {
        input(
            text,
            "a device is SRC[:DST][:rw], both absolute paths",
            "for example `--device /dev/fuse` or `--device /dev/sda:/dev/disk:r`",
        )
    };
    let mut parts: Vec<&str> = text.split(':').collect();
    let mut access = (true, true);
    if let Some(last) = parts.last().copied().filter(|last| !last.starts_with('/')) {
        // `m`, making nodes, is what no container may: others write it out of habit.
        if last.is_empty() || !last.chars().all(|c| "rwm".contains(c)) || last == "m" {
            return Err(bad());
        }
        access = (last.contains('r'), last.contains('w'));
        parts.pop();
    }
    let (src, dst) = match parts[..] {
        [src] => (src, src),
        [src, dst] => (src, dst),
        _ => return Err(bad()),
    };
    if !src.starts_with('/') || !dst.starts_with('/') {
        return Err(bad());
    }
    Ok(Device {
        src: PathBuf::from(src),
        dst: PathBuf::from(dst),
        read: access.0,
        write: access.1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_others_write_them() {
        for (text, wanted) in [
            ("/dev/fuse", ("/dev/fuse", true, true)),
            ("/dev/a:/dev/b", ("/dev/b", true, true)),
            ("/dev/a:r", ("/dev/a", true, false)),
            ("/dev/a:/dev/b:rwm", ("/dev/b", true, true)),
            ("/dev/a:/dev/b:w", ("/dev/b", false, true)),
        ] {
            let read = device(text).expect(text);
            assert_eq!(
                (read.dst.to_str().expect("text"), read.read, read.write),
                wanted,
                "{text}"
            );
        }
        for text in [
            "",
            "fuse",
            "/dev/a:",
            "/dev/a:x",
            "/dev/a:m",
            "/dev/a:/dev/b:/dev/c",
            "/dev/a:b:r",
        ] {
            assert!(device(text).is_err(), "{text}");
        }
    }
}
