//! `moat image`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Read an image from an OCI layout, a `docker save` archive or the tar of a root
    #[command(
        after_help = "Examples:\n  moat image import debian.tar.gz debian:12\n  docker save app | moat image import -"
    )]
    Import {
        /// A file, maybe compressed with gzip or zstd; a layout's directory; or `-`
        path: PathBuf,
        /// What to call it; what it is called in there without
        name: Option<String>,
    },
    /// Fetch an image from a registry, by skopeo
    #[command(
        after_help = "Examples:\n  moat image pull redis:7\n  moat image pull localhost:5000/app --plain-http"
    )]
    Pull {
        #[arg(value_name = "REF")]
        name: String,
        /// Without TLS, or with a certificate nobody vouches for
        #[arg(long)]
        plain_http: bool,
    },
    /// List images
    #[command(after_help = "Examples:\n  moat image ls\n  moat image ls --json")]
    Ls,
    /// Remove images by name or id, and layers that no other needs
    #[command(after_help = "Examples:\n  moat image rm redis:7\n  moat image rm 3f2a9c1b")]
    Rm {
        #[arg(required = true, value_name = "REF")]
        names: Vec<String>,
    },
}
