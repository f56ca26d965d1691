#![allow(clippy::format_push_string)] // texts of tests are short

use super::{Node, Value, load};

fn one(text: &str) -> Node {
    load(text).unwrap().remove(0)
}

fn wrong(text: &str) -> String {
    let fault = load(text).unwrap_err();
    format!("{} {}", fault.pos, fault.what)
}

#[test]
fn every_value_knows_its_place() {
    let node = one("a: 1\nb:\n  - x\n  - {c: 'd'}\n");
    let entries = node.map("").unwrap();
    assert_eq!(entries[1].0.pos.to_string(), "2:1");
    let list = entries[1].1.list("").unwrap();
    assert_eq!(list[0].pos.to_string(), "3:5");
    assert_eq!(list[1].map("").unwrap()[0].0.pos.to_string(), "4:6");
    assert_eq!(list[1].map("").unwrap()[0].1.pos.to_string(), "4:9");
}

#[test]
fn documents_and_nothing() {
    assert_eq!(load("a: 1\n---\n---\nb: 2\n").unwrap().len(), 2);
    assert!(load("# only a comment\n").unwrap().is_empty());
    let node = one("a:\nb: ~\nc: ''\nd: !!str\n");
    let kinds: Vec<_> = node.map("").unwrap().iter().map(|(_, n)| n.kind()).collect();
    assert_eq!(kinds, ["nothing", "nothing", "a single value", "a single value"]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert_eq!(wrong("a: 1\nb: 2\na: 3\n"), "3:1 the key `a` stands here twice");
    assert_eq!(
        wrong("a:\n  b: {c: 1, c: 2}\n"),
        "2:13 the key `c` stands here twice"
    );
    assert_eq!(wrong("a: !reset null\n"), "1:4 the tag `!reset` is not supported");
    assert!(
        wrong("a: [1, 2\nb: 3\n").contains("no YAML"),
        "{}",
        wrong("a: [1, 2\nb: 3\n")
    );
    assert!(wrong("? [a]\n: b\n").contains("a key is a single value"));
    assert!(load("a: &x [*x]\n").is_err());
    assert!(load("a: *nobody\n").is_err());
    assert!(load("a: \"x\0y\"").is_err());
}

#[test]
fn merge_keys_bring_what_is_not_there() {
    let node = one("d: &d {a: 1, b: 2}\ne: &e {c: 3}\nx:\n  <<: [*d, *e]\n  b: 9\n");
    let x = node.map("").unwrap()[2].1.map("").unwrap();
    let text: Vec<_> = x
        .iter()
        .map(|(k, n)| format!("{}={}", k.text, n.text("").unwrap()))
        .collect();
    assert_eq!(text, ["b=9", "a=1", "c=3"]);
}

#[test]
fn a_billion_laughs_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let before = format!("*a{}", n - 1);
        text += &format!("a{n}: &a{n} [{}]\n", vec![before; 10].join(", "));
    }
    assert!(
        wrong(&text).contains("more than 200000 values"),
        "{}",
        wrong(&text)
    );
}

#[test]
fn deep_nesting_is_refused() {
    assert!(load(&"[".repeat(100_000)).is_err());
    let mut deep = String::new();
    for n in 0..5000 {
        deep += &format!("{}a:\n", " ".repeat(n % 200));
    }
    let _ = load(&deep);
    // Each alias alone is shallow.
    let mut text = format!("a0: &a0 {}x{}\n", "[".repeat(30), "]".repeat(30));
    for n in 1..9 {
        text += &format!("a{n}: &a{n} {}*a{}{}\n", "[".repeat(30), n - 1, "]".repeat(30));
    }
    assert!(wrong(&text).contains("nested deeper"), "{}", wrong(&text));
}

#[test]
fn unknown_keys_are_named() {
    let node = one("image: x\nimag: y\nx-mine: z\n");
    let mut fields = node.fields("service `web`").unwrap();
    fields.take("image");
    let fault = fields.finish_extensible().unwrap_err();
    assert_eq!(fault.pos.to_string(), "2:1");
    assert_eq!(fault.what, "unknown or unsupported key `imag` of service `web`");
    assert_eq!(fault.hint.as_deref(), Some("did you mean `image`?"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-c:\\-\\[\\]{}&*<!|>'\"#? \n\t,]{0,60}") {
        if let Ok(nodes) = load(&text) {
            for node in nodes {
                proptest::prop_assert!(node.value != Value::Null);
            }
        }
    }
}
