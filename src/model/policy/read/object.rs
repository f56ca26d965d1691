//! What every object has: kind, version, metadata; and lists of objects.

use super::super::label::Labels;
use super::selector::labels;
use crate::model::yaml::{Fault, Fields, Node, Pos};

/// The keys of `metadata` (`ObjectMeta` of meta/v1) that no policy sees.
const METADATA: [&str; 12] = [
    "annotations",
    "clusterName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The head of an object.
#[derive(Clone, Debug)]
pub struct Head {
    pub name: String,
    /// `None` where the file has none.
    pub namespace: Option<String>,
    pub labels: Labels,
    /// Kind and name of those it belongs to.
    pub owners: Vec<(String, String)>,
    /// Of the name.
    pub pos: Pos,
}

impl Head {
    #[must_use]
    pub fn namespace(&self) -> String {
        self.namespace.clone().unwrap_or_else(|| "default".to_owned())
    }
}

/// Reads `metadata`; an unknown key in it is an error.
pub fn head(fields: &mut Fields<'_>, kind: &str) -> Result<Head, Fault> {
    let node = fields.need("metadata")?;
    let mut metadata = node.fields(format!("the metadata of a {kind}"))?;
    let named = metadata.take("name").or_else(|| metadata.take("generateName"));
    let Some(named) = named else {
        return Err(node.fault(format!("the metadata of a {kind} needs the key `name`")));
    };
    let head = Head {
        name: named.text("name")?.to_owned(),
        namespace: metadata
            .take("namespace")
            .map(|n| n.text("namespace"))
            .transpose()?
            .map(str::to_owned),
        labels: labels(metadata.take("labels"), "labels")?,
        owners: owners(metadata.take("ownerReferences"))?,
        pos: named.pos,
    };
    for key in METADATA {
        metadata.take(key);
    }
    metadata.finish()?;
    Ok(head)
}

fn owners(node: Option<&Node>) -> Result<Vec<(String, String)>, Fault> {
    let Some(node) = node else {
        return Ok(vec![]);
    };
    let owner = |n: &Node| {
        let text = |key| n.get(key).map(|v| v.text(key)).transpose();
        Ok(text("kind")?
            .zip(text("name")?)
            .map(|(k, n)| (k.to_owned(), n.to_owned())))
    };
    let all: Result<Vec<_>, Fault> = node.list("ownerReferences")?.iter().map(owner).collect();
    Ok(all?.into_iter().flatten().collect())
}
