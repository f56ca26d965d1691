//! Finding the command inside the container, and refusing the one program it must never be: ours.
//!
//! `/proc/self/exe` of a process on its way into a container is the launcher's binary on the host. Were it
//! executed inside, the container could open and overwrite it (CVE-2019-5736). So every link of the chain,
//! including `#!` interpreters, is opened and compared; where others already run in the container, what was
//! compared is what is executed, by descriptor.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::error::{Error, Result};
use super::payload::c_path;
use super::syscall::{self, Program};

/// As deep as the kernel follows `#!` lines.
const MAX_INTERPRETERS: usize = 5;

/// Which file something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    dev: u64,
    ino: u64,
}

impl Identity {
    pub fn of_this_program() -> Option<Self> {
        std::fs::metadata("/proc/self/exe").ok().map(|meta| Self {
            dev: meta.dev(),
            ino: meta.ino(),
        })
    }
}

/// A command that was found and may be executed.
pub(super) struct Found {
    path: CString,
    argv: Vec<CString>,
    /// The file at the end of the interpreter chain and its arguments; `None` if we may not read it.
    last: Option<(File, Vec<CString>)>,
}

impl Found {
    /// Returns only on failure.
    pub fn exec(&self, env: &[CString], by_descriptor: bool) -> io::Error {
        match &self.last {
            Some((file, argv)) if by_descriptor => syscall::exec(&Program::Open(file.as_fd()), argv, env),
            _ => syscall::exec(&Program::Path(&self.path), &self.argv, env),
        }
    }
}

/// Looks `command` up as a shell would.
pub(super) fn find(command: &[String], search: &OsStr, own: Option<Identity>) -> Result<Found> {
    let name = command.first().ok_or(Error::NoCommand)?;
    let path = locate(name, search)?;
    let refused = |source| Error::NotExecutable {
        command: name.clone(),
        source,
    };
    let argv: Vec<CString> = command
        .iter()
        .map(|word| c_path(Path::new(word)))
        .collect::<io::Result<_>>()
        .map_err(refused)?;
    let last = follow(&path, argv.clone(), own).map_err(|problem| match problem {
        Problem::Own => Error::OwnBinary {
            command: name.clone(),
        },
        Problem::Io(source) => refused(source),
    })?;
    Ok(Found {
        path: c_path(&path).map_err(refused)?,
        argv,
        last,
    })
}

/// Where `name` is, searched for as a shell does.
pub(super) fn locate(name: &str, search: &OsStr) -> Result<PathBuf> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::CommandNotFound {
                command: name.to_owned(),
            }),
            Err(source) => Err(Error::NotExecutable {
                command: name.to_owned(),
                source,
            }),
        };
    }
    let mut refused = None;
    for dir in search.as_bytes().split(|byte| *byte == b':') {
        let dir = if dir.is_empty() {
            Path::new(".")
        } else {
            Path::new(OsStr::from_bytes(dir))
        };
        let path = dir.join(name);
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.raw_os_error() == Some(libc::EACCES) && path.is_file() => {
                refused = Some(error);
            }
            Err(_) => {}
        }
    }
    Err(match refused {
        Some(source) => Error::NotExecutable {
            command: name.to_owned(),
            source,
        },
        None => Error::CommandNotFound {
            command: name.to_owned(),
        },
    })
}

fn executable(path: &Path) -> io::Result<()> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(access(path, AccessFlags::X_OK)?)
}

enum Problem {
    Own,
    Io(io::Error),
}

/// Opens the program and its interpreters, and compares each with our own.
fn follow(
    path: &Path,
    mut argv: Vec<CString>,
    own: Option<Identity>,
) -> std::result::Result<Option<(File, Vec<CString>)>, Problem> {
    let mut path = path.to_owned();
    for _ in 0..=MAX_INTERPRETERS {
        let meta = std::fs::metadata(&path).map_err(Problem::Io)?;
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&path);
        // The opened file is what counts, if we may open it; a program may be executable, but not readable.
        let meta = file
            .as_ref()
            .ok()
            .and_then(|file| file.metadata().ok())
            .unwrap_or(meta);
        if own
            == Some(Identity {
                dev: meta.dev(),
                ino: meta.ino(),
            })
        {
            return Err(Problem::Own);
        }
        let Ok(file) = file else { return Ok(None) };
        let Some((interpreter, argument)) = shebang(&file) else {
            return Ok(Some((file, argv)));
        };
        let script = c_path(&path).map_err(Problem::Io)?;
        let mut words = vec![c_path(&interpreter).map_err(Problem::Io)?];
        words.extend(
            argument
                .map(|word| c_path(Path::new(&word)))
                .transpose()
                .map_err(Problem::Io)?,
        );
        words.push(script);
        words.extend(argv.into_iter().skip(1));
        (path, argv) = (interpreter, words);
    }
    Err(Problem::Io(io::Error::from_raw_os_error(libc::ELOOP)))
}

/// The interpreter and its one argument, as the kernel reads them (`fs/binfmt_script.c`).
fn shebang(file: &File) -> Option<(PathBuf, Option<OsString>)> {
    let mut head = Vec::with_capacity(256);
    file.take(256).read_to_end(&mut head).ok()?;
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?
        .trim_ascii();
    let end = line
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t'))
        .unwrap_or(line.len());
    let (interpreter, rest) = line.split_at(end);
    let rest = rest.trim_ascii();
    let argument = (!rest.is_empty()).then(|| OsString::from_vec(rest.to_vec()));
    (!interpreter.is_empty()).then(|| (PathBuf::from(OsStr::from_bytes(interpreter)), argument))
}
