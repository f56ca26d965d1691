//! The number of the layout.

use sha2::{Digest as _, Sha256};

use super::super::open::LAYOUT;
use super::Dir;
use crate::store::{Error, Store};

/// What the tables are, without comments and spacing.
fn tables() -> String {
    let lines = include_str!("../schema.sql").lines();
    let words = lines.flat_map(|l| l.split("--").next().unwrap_or_default().split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn another_layout_has_another_number() {
    let digest: String = Sha256::digest(tables())[..4]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(
        (LAYOUT, digest.as_str()),
        (4, "33243708"),
        "schema.sql changed: raise LAYOUT by one, and write both here"
    );
}

#[test]
fn only_the_layout_that_is_known_opens() {
    let dir = Dir::new();
    let store = dir.open();
    let becomes = |n: i64| store.db.pragma_update(None, "user_version", n).unwrap();
    becomes(LAYOUT + 1);
    assert!(matches!(Store::open(&dir.0, "boot"), Err(Error::Newer { .. })));
    becomes(LAYOUT - 1);
    let older = Store::open(&dir.0, "boot").err().unwrap();
    assert!(matches!(older, Error::Older { .. }) && older.is_broken());
    becomes(LAYOUT);
    assert!(!dir.open().fresh);
}
