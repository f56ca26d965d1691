//! The options of `moat run` that say how far a container is from the host.

use super::args::Run;
use super::read::input;
use crate::ops::{Error, Isolation, Result, Seccomp, Users};

/// All of them.
///
/// # Errors
/// The first that cannot be read, or a profile that cannot.
pub fn read(args: &Run) -> Result<Isolation> {
    Ok(Isolation {
        users: users(args.userns.as_deref())?,
        seccomp: seccomp(&args.security)?,
        devices: args
            .devices
            .iter()
            .map(|d| Ok(d.parse()?))
            .collect::<Result<_>>()?,
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
