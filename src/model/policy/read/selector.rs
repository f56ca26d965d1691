//! Selectors and labels.

use std::collections::BTreeSet;

use super::super::label::{Labels, Operator, Requirement, Selector};
use crate::model::yaml::{Fault, Node};

/// Labels, or another mapping of texts.
pub fn labels(node: Option<&Node>, what: &str) -> Result<Labels, Fault> {
    let Some(node) = node else {
        return Ok(Labels::new());
    };
    let entry = |(key, value): &(_, Node)| {
        let key: &crate::model::yaml::Key = key;
        let value = text(value, &key.text)?;
        Ok((key.text.clone(), value.to_owned()))
    };
    node.map(what)?.iter().map(entry).collect()
}

/// A label's value; nothing is the empty one, as for the API server.
fn text<'a>(node: &'a Node, key: &str) -> Result<&'a str, Fault> {
    if node.is_null() {
        return Ok("");
    }
    node.text(&format!("the value of `{key}`"))
}

/// A selector of labels (`LabelSelector` of meta/v1).
pub fn selector(node: &Node, what: &str) -> Result<Selector, Fault> {
    let mut fields = node.fields(what)?;
    let mut requirements = vec![];
    if let Some(wanted) = fields.take("matchLabels") {
        for (key, value) in wanted.map("matchLabels")? {
            let value = text(value, &key.text)?;
            requirements.push(Requirement {
                key: key.text.clone(),
                operator: Operator::In,
                values: BTreeSet::from([value.to_owned()]),
                pos: key.pos,
            });
        }
    }
    if let Some(expressions) = fields.take("matchExpressions") {
        for expression in expressions.list("matchExpressions")? {
            requirements.push(requirement(expression)?);
        }
    }
    fields.finish()?;
    let pos = node.pos;
    Ok(Selector { requirements, pos })
}

/// One of `matchExpressions`.
fn requirement(node: &Node) -> Result<Requirement, Fault> {
    let mut fields = node.fields("a selector's expression")?;
    let key = fields.need("key")?.text("key")?.to_owned();
    let word = fields.need("operator")?;
    let operator = match word.text("operator")? {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            let what = format!("operator is In, NotIn, Exists or DoesNotExist, not: `{other}`");
            return Err(word.fault(what));
        }
    };
    let values = fields.take("values");
    fields.finish()?;
    let at = values.unwrap_or(node);
    let values: BTreeSet<String> = match values {
        None => BTreeSet::new(),
        Some(list) => list
            .list("values")?
            .iter()
            .map(|v| Ok(text(v, "values")?.to_owned()))
            .collect::<Result<_, Fault>>()?,
    };
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            let what = format!("`{}` needs at least one value", word.text("operator")?);
            Err(at.fault(what))
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            let what = format!("`{}` takes no values", word.text("operator")?);
            Err(at.fault(what).hinting("In and NotIn compare values"))
        }
        _ => Ok(Requirement {
            key,
            operator,
            values,
            pos: node.pos,
        }),
    }
}
