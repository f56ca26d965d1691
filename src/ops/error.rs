//! What a person is told when a command cannot do what was asked: what was wanted, what
//! failed, what was undone, what to do next.

pub use crate::model::nearest;
use crate::{image, kernel, model, sandbox, store};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the command wanted, around the reason.
    #[error("cannot {wanted}: {source}")]
    Cannot { wanted: String, source: Box<Error> },
    /// What was done about the steps that had been made, beside the reason.
    #[error("{source}")]
    Noted { source: Box<Error>, note: String },
    /// The code by which a CNI runtime is to know the reason.
    #[error("{source}")]
    Coded { source: Box<Error>, code: u32 },
    #[error("no {kind} is named `{name}`")]
    Unknown {
        kind: &'static str,
        name: String,
        /// A name that is like it.
        near: Option<String>,
    },
    #[error("{reason}: `{value}`")]
    Input {
        value: String,
        reason: String,
        hint: Option<String>,
    },
    #[error("{what}")]
    Refused { what: String, hint: String },
    /// A set of ranges of the plugin type `host-local`.
    #[error("no address is free in the range set: `{set}`")]
    Exhausted { set: String },
    /// What a CHECK found missing or wrong.
    #[error("{0}")]
    Amiss(String),
    #[error("moat needs root, or a user namespace in which the caller is root")]
    NotRoot,
    #[error("the state directory {path}: {source}")]
    State { path: String, source: std::io::Error },
    #[error("another moat command holds {path} for more than {seconds} s")]
    Busy { path: String, seconds: u64 },
    #[error(transparent)]
    Name(#[from] model::NameError),
    #[error(transparent)]
    End(#[from] model::EndError),
    #[error(transparent)]
    Service(#[from] model::ServiceError),
    #[error(transparent)]
    Subnet(#[from] model::SubnetError),
    #[error(transparent)]
    Mac(#[from] model::MacError),
    #[error(transparent)]
    Device(#[from] model::DeviceError),
    /// What is wrong in a file, with line and column.
    #[error(transparent)]
    File(#[from] model::yaml::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    #[error(transparent)]
    ImageName(#[from] model::ImageNameError),
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error("stopped by a fault injected at step {step} ({what})")]
    Injected { step: u32, what: &'static str },
}

impl Error {
    /// Says what was wanted.
    #[must_use]
    pub fn while_doing(self, wanted: impl Into<String>) -> Self {
        Self::Cannot {
            wanted: wanted.into(),
            source: Box::new(self),
        }
    }

    /// Adds what was undone.
    #[must_use]
    pub fn noting(self, text: &str) -> Self {
        Self::Noted {
            source: Box::new(self),
            note: text.to_owned(),
        }
    }

    /// Says by which code a CNI runtime is to know it.
    #[must_use]
    pub fn coded(self, code: u32) -> Self {
        Self::Coded {
            source: Box::new(self),
            code,
        }
    }

    /// What was undone.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        match self {
            Self::Noted { note, .. } => Some(note),
            Self::Cannot { source, .. } | Self::Coded { source, .. } => source.note(),
            _ => None,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Cannot { source, .. } | Self::Noted { source, .. } | Self::Coded { source, .. } => {
                source.hint()
            }
            Self::Unknown { kind, near, .. } => Some(unknown_hint(kind, near.as_deref())),
            Self::Input { hint, .. } => hint.clone(),
            Self::Refused { hint, .. } => Some(hint.clone()),
            Self::Exhausted { .. } => Some("remove containers, or configure a larger range".into()),
            Self::NotRoot => {
                Some("`moat lab` starts a shell in which all of moat works without root; or use sudo".into())
            }
            Self::State { .. } => Some("`--root DIR` (or MOAT_ROOT) names another state directory".into()),
            Self::Busy { .. } => Some("`ps` shows it; a stopped process holds its lock until it ends".into()),
            Self::File(e) => e.fault.hint.clone(),
            Self::Store(e) => Some(store_hint(e)),
            Self::Kernel(e) => Some(kernel_hint(e).to_owned()),
            Self::Sandbox(e) => e.hint(),
            Self::Image(e) => e.hint(),
            Self::ImageName(_) => Some("for example `busybox`, `me/app:1.2` or `localhost:5000/app`".into()),
            Self::Device(_) => {
                Some("for example `--device /dev/fuse` or `--device /dev/sda:/dev/disk:r`".into())
            }
            Self::Name(_) | Self::End(_) | Self::Service(_) | Self::Subnet(_) | Self::Mac(_) => {
                Some("`moat help` and `moat COMMAND --help` show the forms and examples".into())
            }
            Self::Amiss(_) | Self::Injected { .. } => None,
        }
    }

    /// The code of a CNI error.
    #[must_use]
    pub fn cni_code(&self) -> u32 {
        use store::Error as S;
        match self {
            Self::Cannot { source, .. } | Self::Noted { source, .. } => source.cni_code(),
            Self::Coded { code, .. } => *code,
            Self::Store(e) if e.is_busy() => 11,
            Self::Busy { .. } => 11,
            Self::Store(S::Exhausted { .. }) | Self::Exhausted { .. } => 100,
            Self::Store(S::PortTaken { .. }) => 101,
            Self::Store(S::AddressTaken { .. } | S::AddressUnfit { .. } | S::MacTaken { .. })
            | Self::Input { .. }
            | Self::Refused { .. }
            | Self::Subnet(_)
            | Self::Mac(_)
            | Self::Name(_) => 7,
            Self::Unknown { .. } | Self::End(_) | Self::Service(_) => 103,
            Self::State { .. } => 5,
            Self::Kernel(kernel::Error::Namespace { .. }) => 4,
            // A bridge has no port left.
            Self::Kernel(kernel::Error::Step { source, .. })
                if source.raw_os_error() == Some(libc::EXFULL) =>
            {
                102
            }
            _ => 999,
        }
    }

    /// 2, or what a container's launch failed with: 125, 126, 127.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Cannot { source, .. } | Self::Noted { source, .. } | Self::Coded { source, .. } => {
                source.exit_code()
            }
            Self::Sandbox(e) => e.exit_code(),
            _ => 2,
        }
    }
}

fn unknown_hint(kind: &str, near: Option<&str>) -> String {
    let list = if kind == "network" {
        "`moat net ls` lists the networks"
    } else {
        "`moat ps -a` lists the containers"
    };
    match near {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => list.to_owned(),
    }
}

fn store_hint(e: &store::Error) -> String {
    use store::Error as E;
    match e {
        E::NameTaken { name } => format!("`moat rm -f {name}` removes it, or choose another --name"),
        E::NetworkExists { name } => format!("`moat net rm {name}` removes it once nothing is attached"),
        E::AddressTaken { .. } | E::AddressUnfit { .. } | E::MacTaken { .. } => {
            "leave it out to get a free one".into()
        }
        E::Exhausted { .. } => {
            "remove containers, or make a larger network: `moat net create NAME --subnet CIDR`".into()
        }
        E::PortTaken { holder, .. } => format!("choose another host port, or `moat rm -f {holder}`"),
        E::Newer { .. } => "use the newer moat, or `--root DIR` for a world of its own".into(),
        E::Older { .. } => {
            "`moat rm --all` of the older moat ends all in good order; `moat fsck --fix` sets the \
                            database aside, ends what it knew of, and begins anew"
                .into()
        }
        e if e.is_broken() => "`moat fsck --fix` sets it aside, ends what it knew of, and begins anew".into(),
        E::Database { .. } | E::Record { .. } | E::Directory { .. } => {
            "is the disk full or read-only? `df` and `mount` tell".into()
        }
    }
}

fn kernel_hint(e: &kernel::Error) -> &'static str {
    match e {
        kernel::Error::Nft { .. } => {
            "is `nft` installed (package nftables)? `moat doctor` says what is missing"
        }
        kernel::Error::Namespace { .. } => "did the container just end? `moat ps -a` shows it",
        kernel::Error::Step { .. } | kernel::Error::Observe { .. } => {
            "`moat doctor` says what this kernel lacks"
        }
    }
}
