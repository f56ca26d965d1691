//! The arrows between the layers point inwards:
//! `cli, cni -> ops -> { sandbox, image -> beneath, store, kernel -> plan } -> model`.
//!
//! Reads every path that starts at the crate's root in `src/`, comments left out.
#![allow(
    clippy::pedantic,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};

/// What each layer may name. `main.rs` and `lib.rs` join everything and are free.
const LAYERS: [(&str, &[&str]); 10] = [
    ("beneath", &[]),
    ("model", &[]),
    ("plan", &["model"]),
    ("kernel", &["plan", "model"]),
    ("store", &["model"]),
    ("sandbox", &["beneath", "model"]),
    ("image", &["beneath", "model"]),
    ("ops", &["sandbox", "image", "store", "kernel", "plan", "model"]),
    ("cli", &["ops", "model"]),
    ("cni", &["ops", "model"]),
];

#[test]
fn arrows_point_inwards() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in sources(&root) {
        let inside: Vec<String> = modules(file.strip_prefix(&root).unwrap());
        let Some(layer) = inside.first() else {
            continue;
        };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| name == layer) else {
            wrong.push(format!("{}: `{layer}` is no layer", file.display()));
            continue;
        };
        let text = without_comments(&fs::read_to_string(&file).unwrap());
        for target in targets(&text, inside.len()) {
            let known = LAYERS.iter().any(|(name, _)| *name == target);
            if known && target != *layer && !allowed.contains(&target.as_str()) {
                wrong.push(format!("{}: `{layer}` must not use `{target}`", file.display()));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_form_of_a_path_is_read() {
    let read = |text: &str, depth| targets(&without_comments(text), depth);
    assert_eq!(read("use crate::plan::Plan;", 2), ["plan"]);
    assert_eq!(
        read("use crate::{\n  kernel::{self, Error},\n  model::Name,\n};", 2),
        ["kernel", "model"]
    );
    assert_eq!(read("let a = crate::store::Store::open(x);", 1), ["store"]);
    assert_eq!(read("use super::super::kernel;", 2), ["kernel"]);
    assert_eq!(read("use super::kernel; // crate::plan", 2), [""; 0]);
    assert_eq!(read("let s = \"https://x\"; crate::ops::x()", 1), ["ops"]);
}

/// The page of peers says nothing that no test shows: each name in its last column is one.
#[test]
fn the_page_of_peers_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/PEERS.md")).unwrap();
    let exists = known_tests(root);
    let mut named = 0;
    for row in page
        .lines()
        .filter(|l| l.starts_with("| ") && !l.ends_with("| shown by |"))
    {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty() || shown == "no", "no test and no `no`: {row}");
        for name in names.into_iter().filter(|n| !n.starts_with("make ")) {
            assert!(exists(name), "`{name}` in docs/PEERS.md is no test");
            named += 1;
        }
    }
    assert!(named > 20, "the page names {named} tests");
}

/// Tells whether a story or a test has a name.
fn known_tests(root: &Path) -> impl Fn(&str) -> bool {
    let files = [sources(&root.join("src")), sources(&root.join("netns-tests"))].concat();
    let code: String = files.iter().map(|f| fs::read_to_string(f).unwrap()).collect();
    move |name| match name.contains("::") {
        true => code.contains(&format!("\"{name}\"")),
        false => code.contains(&format!("fn {name}(")),
    }
}

/// The page of security claims nothing without a test, and leaves no attack of the lists out.
#[test]
fn the_page_of_security_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/SECURITY.md")).unwrap();
    let exists = known_tests(root);
    let is_test = |n: &&str| (n.contains("::") || n.matches('_').count() > 3) && !n.contains(['/', ' ']);
    let quoted = || page.split('`').skip(1).step_by(2);
    for name in quoted().filter(is_test) {
        assert!(exists(name), "`{name}` in docs/SECURITY.md is no test");
    }
    let numbers = (1..=16)
        .map(|n| format!("A{n}"))
        .chain((1..=9).map(|n| format!("B{n}")));
    for number in numbers {
        let row = page.lines().find(|l| l.starts_with(&format!("| {number} |")));
        let row = row.unwrap_or_else(|| panic!("docs/SECURITY.md has no row {number}"));
        assert!(row.rsplit(" | ").next().unwrap().contains("::"), "no test: {row}");
    }
    // What attacks are sent, the attacker's own files say.
    let attacks = root.join("netns-tests/attacks");
    let sent: String = [
        "link",
        "source",
        "discovery",
        "groups",
        "fragments",
        "flows",
        "routes",
        "machine",
        "windows",
    ]
    .iter()
    .map(|f| fs::read_to_string(attacks.join(f).with_extension("py")).unwrap())
    .collect();
    for number in [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 16] {
        assert!(sent.contains(&format!("'A{number}'")), "no attack A{number}");
    }
}

/// So does the count of lines, to a sixth.
#[test]
fn the_page_of_peers_counts_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/PEERS.md")).unwrap();
    let (before, _) = page.split_once(" Rust for launching").expect("the cell");
    let said: usize = before
        .rsplit(' ')
        .next()
        .unwrap()
        .replace(',', "")
        .parse()
        .unwrap();
    let files = ["sandbox", "image"].map(|layer| sources(&root.join("src").join(layer)));
    let lines: usize = files
        .concat()
        .iter()
        .map(|f| fs::read_to_string(f).unwrap().lines().count())
        .sum();
    assert!(
        lines.abs_diff(said) * 6 < said,
        "{lines} lines, and the page says {said}"
    );
}

/// The compiler refuses `unsafe` elsewhere (`lib.rs`) and clippy `unwrap` and blocks without a reason
/// (`Cargo.toml`). Here: nobody allows it again, file by file.
#[test]
fn nobody_allows_what_is_forbidden() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut blocks = 0;
    for file in sources(&root) {
        let path = file.strip_prefix(&root).unwrap().display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        let may = path.starts_with("kernel/") || path.starts_with("sandbox/");
        let lines: Vec<&str> = text.lines().collect();
        // Tests come last in a file, and may stop at what they do not expect.
        let product = lines
            .iter()
            .position(|l| l.trim() == "#[cfg(test)]")
            .unwrap_or(lines.len());
        let is_test = path.contains("tests")
            || path.ends_with("oracle.rs")
            || path.contains("/oracle/")
            || path.contains("broken.rs")
            || path.contains("golden");
        for (n, line) in lines.iter().enumerate() {
            let code = without_comments(line);
            let at = format!("{path}:{}", n + 1);
            if code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl") {
                blocks += 1;
                if !may {
                    wrong.push(format!("{at}: unsafe code belongs into kernel or sandbox"));
                }
                let reason = (n.saturating_sub(12)..=n)
                    .any(|i| lines[i].contains("SAFETY") || lines[i].contains("# Safety"));
                if !reason {
                    wrong.push(format!("{at}: no SAFETY reason"));
                }
            }
            let allows = [
                "unwrap_used",
                "expect_used",
                "undocumented_unsafe_blocks",
                "unsafe_code",
            ];
            let allowed = path == "lib.rs" && code.contains("allow(unsafe_code)");
            if code.contains("allow(") && allows.iter().any(|a| code.contains(a)) && !allowed {
                wrong.push(format!("{at}: allows what the house forbids"));
            }
            let stops = [".unwrap()", ".expect(", "todo!(", "unimplemented!("];
            if !is_test && n < product && stops.iter().any(|s| code.contains(s)) {
                wrong.push(format!("{at}: stops the program where an error should be told"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(blocks > 20, "{blocks} unsafe blocks are read");
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The module a file is: none for the two roots of the crate.
fn modules(file: &Path) -> Vec<String> {
    let text = file.with_extension("").to_string_lossy().into_owned();
    let parts = text.split('/').filter(|p| *p != "mod").map(str::to_owned);
    match text.as_str() {
        "main" | "lib" => vec![],
        _ => parts.collect(),
    }
}

fn without_comments(text: &str) -> String {
    // `://` is part of a text, not the start of a comment.
    let code = |l: &str| match l.match_indices("//").find(|(at, _)| !l[..*at].ends_with(':')) {
        Some((at, _)) => l[..at].to_owned(),
        None => l.to_owned(),
    };
    text.lines().map(|l| code(l) + "\n").collect()
}

/// The first segment of every path from the crate's root, in a module this deep.
fn targets(text: &str, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for prefix in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in text.match_indices(&prefix) {
            let longer = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            let rest = &text[at + prefix.len()..];
            if !longer {
                found.extend(first_segments(rest));
            }
        }
    }
    found
}

/// `a::b` gives `a`; `{a::{b, c}, d}` gives `a` and `d`.
fn first_segments(rest: &str) -> Vec<String> {
    let word = |s: &str| -> String {
        s.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![word(rest)].into_iter().filter(|w| !w.is_empty()).collect();
    };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(word(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(word(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|w| !w.is_empty());
    found
}
