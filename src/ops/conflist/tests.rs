use std::fs;
use std::path::{Path, PathBuf};

use super::check::{check, read};
use super::install::{Request, install};
use super::*;

/// A directory that goes with this value.
struct Dir(PathBuf);

impl Dir {
    fn new(what: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("moat-{what}-{}", std::process::id()));
        fs::create_dir_all(dir.join("net.d")).unwrap();
        fs::create_dir_all(dir.join("bin")).unwrap();
        Self(dir)
    }

    fn request(&self, caller: Caller) -> Request {
        Request {
            caller,
            bin_dir: self.0.join("bin"),
            conf_dir: self.0.join("net.d"),
            name: None,
            subnets: Vec::new(),
            force: false,
            program: std::env::current_exe().unwrap(),
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    all.sort();
    all
}

fn said(text: &str) -> Vec<String> {
    let line = |n: Option<usize>| n.map_or("-".to_owned(), |n| n.to_string());
    read(text, &|plugin| plugin != "absent")
        .into_iter()
        .map(|f| format!("{} {:?} {}", line(f.line), f.level, f.text))
        .collect()
}

#[test]
fn each_example_is_what_install_writes_and_passes_the_check() {
    for caller in Caller::ALL {
        let dir = Dir::new(caller.word());
        let done = install(&dir.request(caller), false).unwrap();
        let text = fs::read_to_string(&done.conflist).unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("cni-conf")
            .join(format!("{}.conflist", caller.word()));
        if std::env::var_os("MOAT_BLESS").is_some() {
            fs::write(&file, &text).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "MOAT_BLESS=1 writes it");
        assert_eq!(check(&done.conflist, &[dir.0.join("bin")]).unwrap(), []);
        assert_eq!(names(&dir.0.join("bin")).len(), caller.plugins().len() + 1);
        let link = fs::read_link(dir.0.join("bin/moat")).unwrap();
        assert_eq!(link, std::env::current_exe().unwrap());
    }
}

#[test]
fn the_second_time_only_the_configuration_is_written_anew() {
    let dir = Dir::new("again");
    let mut request = dir.request(Caller::Containerd);
    let first = install(&request, false).unwrap();
    request.name = Some("lab".parse().unwrap());
    request.subnets = vec!["10.7.0.0/24".parse().unwrap()];
    let second = install(&request, false).unwrap();
    assert_eq!(second.conflist, first.conflist);
    assert_eq!((second.links.len(), second.kept.len()), (0, 0));
    let text = fs::read_to_string(&second.conflist).unwrap();
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["name"], "lab");
    assert_eq!(list["plugins"][0]["subnets"], serde_json::json!(["10.7.0.0/24"]));
    // Nothing half-made stays beside it.
    assert_eq!(names(&dir.0.join("net.d")), ["05-moat.conflist"]);
}

#[test]
fn what_others_put_there_is_refused_unless_forced() {
    let dir = Dir::new("foreign");
    let request = dir.request(Caller::Containerd);
    let conflist = dir.0.join("net.d").join(Caller::Containerd.file("containerd"));
    let loopback = dir.0.join("bin/loopback");
    for (path, text) in [
        (&conflist, r#"{"name":"x","plugins":[{"type":"bridge"}]}"#),
        (&dir.0.join("bin/moat"), "another program"),
        (
            &dir.0.join("net.d/10-c.conf"),
            r#"{"name":"containerd","type":"ptp"}"#,
        ),
    ] {
        fs::write(path, text).unwrap();
        let e = install(&request, false).unwrap_err();
        assert!(e.to_string().contains(path.to_str().unwrap()), "{e}");
        assert!(e.hint().unwrap().contains("--force"), "{e}");
        assert_eq!(fs::read_to_string(path).unwrap(), text);
        assert!(!loopback.is_symlink());
        fs::remove_file(path).unwrap();
    }
    fs::write(&conflist, "{}").unwrap();
    fs::write(&loopback, "the reference's").unwrap();
    let forced = Request {
        force: true,
        ..request
    };
    assert_eq!(install(&forced, true).unwrap().conflist, conflist);
    assert_eq!(fs::read_to_string(&conflist).unwrap(), "{}", "a dry run");
    let done = install(&forced, false).unwrap();
    assert!(fs::read_to_string(&conflist).unwrap().contains("\"moat\""));
    // A program of others is never in the way of anything.
    assert_eq!(done.kept, std::slice::from_ref(&loopback));
    assert_eq!(fs::read_to_string(&loopback).unwrap(), "the reference's");
}

#[test]
fn two_subnets_of_a_family_are_refused() {
    let dir = Dir::new("families");
    let mut request = dir.request(Caller::Podman);
    request.subnets = vec!["10.7.0.0/24".parse().unwrap(), "10.8.0.0/24".parse().unwrap()];
    let e = install(&request, false).unwrap_err().to_string();
    assert!(e.contains("one subnet a family"), "{e}");
    assert_eq!(names(&dir.0.join("net.d")), [""; 0]);
}

#[test]
fn the_check_names_what_is_wrong_and_where() {
    let text = r#"{
  "cniVersion": "1.1.0", "cniVersions": ["9.9.9"],
  "name": "-x",
  "colour": "red",
  "plugins": [
    { "type": "portmap" },
    { "type": "moat",
      "ipMask": true,
      "defaultPolicy": "closed",
      "subnets": ["10.0.0.1/8", "10.1.0.0/16", "10.2.0.0/16"],
      "capabilities": { "portMappings": false,
        "infinibandGUID": true } },
    { "type": "absent" },
    { "type": "bridge", "hairpinMode": true, "promiscMode": true, "bridge": "a", "bridge": "b",
      "ipam": { "type": "host-local", "subnet": "10.3.0.0/16", "pool": 1,
        "ranges": [[{ "subnet": "10.3.9.0/24" }]] } },
    7, {}
  ]
}"#;
    let all = said(text);
    let expected = [
        "14 Warning `plugins[3].bridge` is there twice",
        "3 Error a network's name",
        "4 Warning nobody is known to read `colour`",
        "2 Error no plugin speaks CNI version `9.9.9`",
        "2 Warning podman 4 refuses 1.1.0",
        "6 Error `portmap` changes what another plugin made",
        "- Warning `portmap` without capability `portMappings`",
        "8 Warning `moat` does not read `ipMask`",
        "12 Warning `moat` makes no use of capability `infinibandGUID`",
        "11 Warning capability `portMappings` is off",
        "9 Error `defaultPolicy` is one of isolated, open, kubernetes, not `closed`",
        "10 Error `10.0.0.1/8` has host bits set",
        "10 Error a network has one subnet a family; `10.2.0.0/16`",
        "13 Error no program `absent`",
        "15 Warning `host-local` does not read `pool`",
        "15 Error the ranges",
        "14 Error `hairpinMode` and `promiscMode`",
        "5 Error `plugins[4]` is no object",
        "- Error `plugins[5]` has no `type`",
    ];
    for start in expected {
        assert!(
            all.iter().any(|f| f.starts_with(start)),
            "{start} is not among {all:#?}"
        );
    }
    assert_eq!(all.len(), expected.len(), "{all:#?}");
}

#[test]
fn the_check_reads_all_forms() {
    assert!(said("{\"name\":").first().unwrap().starts_with("1 Error no JSON"));
    assert!(said("[]")[0].contains("neither a list"));
    assert_eq!(said(r#"{"name":"x","type":"loopback"}"#), [""; 0]);
    assert_eq!(
        said(
            r#"{"cniVersion":"0.3.1","name":"x","plugins":[{"type":"other","whatever":1},{"type":"firewall"}]}"#
        ),
        ["1 Error `firewall` speaks 0.4.0 and later, not 0.3.1"]
    );
    assert!(said(r#"{"name":"x","plugins":[]}"#)[0].contains("at least one plugin"));
    assert_eq!(
        said(r#"{"name":"host","plugins":[{"type":"moat","mode":"policy"}]}"#).len(),
        1,
        "a word with a meaning of its own"
    );
}

#[test]
fn the_check_looks_at_the_neighbours() {
    let dir = Dir::new("neighbours");
    let done = install(&dir.request(Caller::Podman), false).unwrap();
    let other = dir.0.join("net.d/99-x.conf");
    let text = r#"{"name":"podman","type":"bridge","ipam":{"type":"host-local","subnet":"10.88.7.0/24"}}"#;
    fs::write(&other, text).unwrap();
    let found = check(&done.conflist, &[dir.0.join("bin")]).unwrap();
    let texts: Vec<_> = found.iter().map(|f| f.text.as_str()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].ends_with("has the same `name`"), "{texts:?}");
    assert!(
        texts[1].starts_with("10.88.0.0/16 overlaps with 10.88.7.0/24 of "),
        "{texts:?}"
    );
    assert!(found.iter().all(|f| f.level == Level::Error));
}
