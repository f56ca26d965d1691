//! Devices of the host that a container is given.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub src: PathBuf,
    /// Below `/dev`.
    pub dst: PathBuf,
    pub read: bool,
    pub write: bool,
}

/// A text that names no device.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("a device is SRC[:DST][:rw], both absolute paths: `{0}`")]
pub struct DeviceError(pub String);

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let bad = || DeviceError(text.to_owned());
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
        Ok(Self {
            src: PathBuf::from(src),
            dst: PathBuf::from(dst),
            read: access.0,
            write: access.1,
        })
    }
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
            let read: Device = text.parse().expect(text);
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
            assert!(text.parse::<Device>().is_err(), "{text}");
        }
    }
}
