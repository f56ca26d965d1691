//! What a bundle tells beside the state. Podman gives its name for a container to nobody, but its
//! storage keeps it beside the bundle: `containers.json` of github.com/containers/storage.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::model::Name;

/// Larger files are not read.
const LARGEST: u64 = 16 << 20;

/// By which name podman knows the container of a bundle; `None` for other runtimes' bundles.
pub fn name(bundle: &Path, id: &str) -> Option<String> {
    // STORAGE/DRIVER-containers/ID/userdata
    let list = bundle.parent()?.parent()?.join("containers.json");
    let all = json(&list)?;
    let own = all.as_array()?.iter().find(|c| c["id"] == id)?;
    let word = own["names"].get(0)?.as_str()?;
    let name: Name = word.parse().ok()?;
    (!name.is_anothers()).then(|| word.to_owned())
}

/// The file that an engine binds over `/etc/hosts` of one container: below a directory that bears the
/// container's id, so that it goes with it. Other files there are somebody's own.
pub fn hosts(bundle: &Path, id: &str) -> Option<PathBuf> {
    let config = json(&bundle.join("config.json"))?;
    let mounts = config["mounts"].as_array()?;
    let bound = |m: &&Value| m["destination"] == "/etc/hosts" && m["type"] == "bind";
    let source = PathBuf::from(mounts.iter().rev().find(bound)?["source"].as_str()?);
    let is_its = source.is_absolute() && source.iter().any(|part| part == id);
    is_its.then_some(source)
}

/// A file of the runtime's; one that is not there or cannot be read says nothing.
fn json(path: &Path) -> Option<Value> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(LARGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podmans_name_is_found_beside_the_bundle() {
        let dir = std::env::temp_dir().join(format!("moat-bundle-{}", std::process::id()));
        let bundle = dir.join("1f/userdata");
        std::fs::create_dir_all(&bundle).unwrap();
        assert_eq!(name(&bundle, "1f"), None);
        let text = r#"[{"id": "2e", "names": ["db"]}, {"id": "1f", "names": ["web", "x"]}, {"id": "0"}]"#;
        std::fs::write(dir.join("containers.json"), text).unwrap();
        assert_eq!(name(&bundle, "1f").as_deref(), Some("web"));
        assert_eq!((name(&bundle, "0"), name(&bundle, "9")), (None, None));
        assert_eq!(hosts(&bundle, "1f"), None);
        for (source, found) in [
            ("/run/1f/hosts", true),
            ("/etc/hosts", false),
            ("1f/hosts", false),
        ] {
            let mount = serde_json::json!({"destination": "/etc/hosts", "type": "bind", "source": source});
            let config = serde_json::json!({ "mounts": [mount] }).to_string();
            std::fs::write(bundle.join("config.json"), config).unwrap();
            assert_eq!(hosts(&bundle, "1f").is_some(), found, "{source}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
