//! `links` and `depends_on`: what a service may reach, and what must be before it starts.

use super::{Condition, Dependency, LinkWish, To};
use crate::model::yaml::{Fault, Node, Value};
use crate::model::{End, Name};

/// The links of a service, not yet compared with the names of services.
pub fn links(node: &Node) -> Result<Vec<LinkWish>, Fault> {
    node.list("`links`")?.iter().map(link).collect()
}

fn link(node: &Node) -> Result<LinkWish, Fault> {
    let text = node.text("a link")?;
    let (end, service) = End::with_service(text).map_err(|e| alias_or(node, text, &e.to_string()))?;
    let to = match end {
        End::Container(name) => To::Role(name),
        other => To::End(other),
    };
    Ok(LinkWish {
        pos: node.pos,
        to,
        service,
    })
}

/// `SERVICE:ALIAS` was a link of old: here a service is found by its own name.
fn alias_or(node: &Node, text: &str, why: &str) -> Fault {
    match text.split_once(':') {
        Some((service, alias)) if service.parse::<Name>().is_ok() && alias.parse::<Name>().is_ok() => {
            let what = format!("a link is `SERVICE[:PORT[/PROTO]]`; aliases are not supported: `{text}`");
            node.fault(what).hinting(format!(
                "the name `{service}` is known inside; another one is an entry of `networks.NETWORK.aliases` there"
            ))
        }
        _ => node.fault(format!("a link is `SERVICE[:PORT[/PROTO]]`; {why}")),
    }
}

/// `depends_on`, a list or a mapping.
pub fn depends_on(node: &Node) -> Result<Vec<Dependency>, Fault> {
    let name = |pos, text: &str| {
        let wrong = |e: crate::model::NameError| Fault::new(pos, e.to_string());
        text.parse::<Name>().map_err(wrong)
    };
    let Value::Map(entries) = &node.value else {
        let list = node.list("`depends_on`")?;
        let started = |n: &Node| {
            Ok(Dependency {
                pos: n.pos,
                role: name(n.pos, n.text("a dependency")?)?,
                condition: Condition::Started,
            })
        };
        return list.iter().map(started).collect();
    };
    let mut all = Vec::new();
    for (key, value) in entries {
        let mut fields = value.fields(format!("the dependency `{}`", key.text))?;
        let condition = match fields.take("condition") {
            Some(node) => condition(node)?,
            None => Condition::Started,
        };
        fields.finish_extensible()?;
        all.push(Dependency {
            pos: key.pos,
            role: name(key.pos, &key.text)?,
            condition,
        });
    }
    Ok(all)
}

fn condition(node: &Node) -> Result<Condition, Fault> {
    match node.text("`condition`")? {
        "service_started" => Ok(Condition::Started),
        "service_healthy" => Ok(Condition::Healthy),
        "service_completed_successfully" => Ok(Condition::Completed),
        other => Err(node.fault(format!(
            "a condition is service_started, service_healthy or service_completed_successfully, not: `{other}`"
        ))),
    }
}
