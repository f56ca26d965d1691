//! Finding, unpacking and reading the corpus.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use moat::model::policy::{Engine, Manifests, Source, read};
use moat::model::{Family, Proto};
use serde::Deserialize;

/// What a case expects of one flow.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    pub from: String,
    pub to: String,
    pub port: u16,
    pub protocol: String,
    pub allowed: bool,
    pub family: Option<String>,
}

impl Row {
    pub fn proto(&self) -> Proto {
        self.protocol.to_lowercase().parse().unwrap()
    }

    pub fn family(&self) -> Family {
        match self.family.as_deref() {
            Some("IPv6") => Family::Ip6,
            _ => Family::Ip4,
        }
    }
}

/// One case, read.
pub struct Case {
    pub name: String,
    pub engine: Engine,
    pub rows: Vec<Row>,
}

/// Where the corpus is, if it is anywhere.
pub fn folder() -> Option<PathBuf> {
    let own = std::env::var_os("MOAT_NETPOL").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().skip(1);
    let beside = above.map(|dir| dir.join("shared/netpol"));
    own.into_iter()
        .chain(beside)
        .find(|dir| dir.join("corpus.tar.xz").is_file())
}

/// The directories of all cases, unpacked once.
pub fn directories() -> &'static [PathBuf] {
    static ALL: OnceLock<Vec<PathBuf>> = OnceLock::new();
    ALL.get_or_init(|| {
        let archive = folder().expect("the corpus is there").join("corpus.tar.xz");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("netpol");
        let done = target.join("unpacked");
        let stamp = format!("{:?}", archive.metadata().unwrap().modified().unwrap());
        if std::fs::read_to_string(&done).ok().as_deref() != Some(&stamp) {
            let _ = std::fs::remove_dir_all(&target);
            std::fs::create_dir_all(&target).unwrap();
            // Python reads xz by itself; tar would need another program.
            let unpack = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])";
            let python = Command::new("python3")
                .args(["-c", unpack])
                .arg(&archive)
                .arg(&target)
                .status();
            assert!(python.unwrap().success());
            std::fs::write(&done, stamp).unwrap();
        }
        let entries = std::fs::read_dir(target.join("cases")).unwrap();
        let mut all: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
        all.sort();
        all
    })
}

/// The manifests of one case, with what lies outside.
pub fn manifests(dir: &Path) -> Manifests {
    let source = |name: &str| {
        let text = std::fs::read_to_string(dir.join(name)).ok()?;
        let name = name.into();
        Some(Source { name, text })
    };
    let files = ["policies.yaml", "topology.yaml", "external.json"];
    let sources: Vec<_> = files.iter().filter_map(|f| source(f)).collect();
    let read = read(&sources).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    assert_eq!(read.refused, [], "{}", dir.display());
    read
}

pub fn case(dir: &Path) -> Case {
    let read = manifests(dir);
    let rows = std::fs::read(dir.join("expected.json")).unwrap();
    Case {
        name: dir.file_name().unwrap().to_string_lossy().into_owned(),
        engine: Engine::new(read.cluster, read.policies),
        rows: serde_json::from_slice(&rows).unwrap(),
    }
}
