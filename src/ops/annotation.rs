//! What a container's annotations say to moat: one form for CNI and for the OCI hook.

use std::collections::BTreeMap;

use crate::model::{End, EndError, Service};

/// What the keys of all of them begin with.
pub const PREFIX: &str = "moat.dev/";
pub const LABELS: &str = "moat.dev/labels";
pub const LINKS: &str = "moat.dev/links";

/// The form of labels, for people.
pub const LABELS_FORM: &str = "`a=b,c=d`, or a JSON object of texts";

/// Labels: `a=b,c=d`, or an object as JSON. `None` when it is neither.
#[must_use]
pub fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).ok();
    }
    let pair = |p: &str| {
        let (key, value) = p.split_once('=')?;
        let key = key.trim();
        (!key.is_empty()).then(|| (key.to_owned(), value.trim().to_owned()))
    };
    words(text).map(pair).collect()
}

/// Links from the container: `db:5432/tcp,label:app=x:80`.
///
/// # Errors
/// The first target that cannot be read.
pub fn links(text: &str) -> Result<Vec<(End, Service)>, EndError> {
    words(text).map(End::with_service).collect()
}

/// What stands between commas.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|w| !w.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_two_forms() {
        let pairs = |text| labels(text).map(|l| l.into_iter().collect::<Vec<_>>());
        let both = vec![
            ("a".to_owned(), "b".to_owned()),
            ("c".to_owned(), "d=e".to_owned()),
        ];
        assert_eq!(pairs("a=b, c = d=e,"), Some(both.clone()));
        assert_eq!(pairs(r#" {"a": "b", "c": "d=e"}"#), Some(both));
        assert_eq!(pairs(""), Some(vec![]));
        for bad in ["a", "=b", "a=b,c", r#"{"a": 1}"#, "{"] {
            assert_eq!(pairs(bad), None, "{bad}");
        }
    }

    #[test]
    fn links_are_targets() {
        let read = |text| links(text).map(|l| l.len());
        assert_eq!(read("db:5432/tcp, label:app=x:80,,world"), Ok(3));
        assert!(read("db:0").is_err());
    }
}
